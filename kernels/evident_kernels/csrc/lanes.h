// Eight floats at a time, the same operations in the same order on every instruction set.
//
// A sum over a row is always kept in eight lanes (element i in lane i % 8) and folded by the same tree, so that how many
// rows or tokens a tile holds never changes a bit of a result. AVX2 and AVX-512 code fuse multiply and add, plain code
// on x86 does not: between those two, results differ by rounding. Included into one namespace per instruction set.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace EVIDENT_ISA {

#define EV_INLINE static inline __attribute__((always_inline))

#if defined(__AVX2__)

typedef __m256 V8;
typedef __m128 V4;

EV_INLINE V8 load(const float* p) { return _mm256_loadu_ps(p); }
EV_INLINE void store(float* p, V8 a) { _mm256_storeu_ps(p, a); }
EV_INLINE void store4(float* p, V4 a) { _mm_storeu_ps(p, a); }
EV_INLINE V8 splat(float a) { return _mm256_set1_ps(a); }
EV_INLINE V8 fma(V8 a, V8 b, V8 c) { return _mm256_fmadd_ps(a, b, c); }
EV_INLINE V8 max(V8 a, V8 b) { return _mm256_max_ps(a, b); }
EV_INLINE V8 min(V8 a, V8 b) { return _mm256_min_ps(a, b); }
EV_INLINE V8 round_even(V8 a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
EV_INLINE V8 absolute(V8 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
// 2 to the power of a whole number between -126 and 127.
EV_INLINE V8 exp2_whole(V8 a) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127)), 23));
}
EV_INLINE V8 load_half(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
EV_INLINE void store_half(uint16_t* p, V8 a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
EV_INLINE float sum(V8 a) {
    V4 folded = _mm_hadd_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));  // pairs
    folded = _mm_hadd_ps(folded, folded);                                             // fours
    return _mm_cvtss_f32(folded) + _mm_cvtss_f32(_mm_movehdup_ps(folded));
}
EV_INLINE V4 sum4(V8 a, V8 b, V8 c, V8 d) {
    const V8 folded = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(folded), _mm256_extractf128_ps(folded, 1));
}
EV_INLINE float largest(V8 a) {
    V4 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

#else

typedef float V8 __attribute__((vector_size(32)));
typedef float V4 __attribute__((vector_size(16)));
typedef int32_t I8 __attribute__((vector_size(32)));

EV_INLINE V8 load(const float* p) {
    V8 a;
    std::memcpy(&a, p, sizeof a);
    return a;
}
EV_INLINE void store(float* p, V8 a) { std::memcpy(p, &a, sizeof a); }
EV_INLINE void store4(float* p, V4 a) { std::memcpy(p, &a, sizeof a); }
EV_INLINE V8 splat(float a) { return V8{a, a, a, a, a, a, a, a}; }
EV_INLINE V8 fma(V8 a, V8 b, V8 c) {
#if defined(__ARM_FEATURE_FMA)
    V8 r;
    for (int i = 0; i < 8; i++) r[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return r;
#else
    return a * b + c;
#endif
}
EV_INLINE V8 max(V8 a, V8 b) { return a > b ? a : b; }
EV_INLINE V8 min(V8 a, V8 b) { return a < b ? a : b; }
// Adding and taking away 1.5 * 2^23 rounds half to even for magnitudes below 2^22, which is all that is asked of it.
EV_INLINE V8 round_even(V8 a) {
    const V8 magic = splat(12582912.0f);
    return (a + magic) - magic;
}
EV_INLINE V8 absolute(V8 a) { return a < 0 ? -a : a; }
EV_INLINE V8 exp2_whole(V8 a) {
    const I8 bits = (__builtin_convertvector(a, I8) + 127) << 23;
    V8 r;
    std::memcpy(&r, &bits, sizeof r);
    return r;
}
EV_INLINE uint16_t float_to_half(float f) {
    uint32_t bits;
    std::memcpy(&bits, &f, 4);
    const uint32_t sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);  // not a number
    if (rest >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds to 65536 or more
    if (rest < 0x38800000u) {  // below 2^-14: adding 0.5 leaves the subnormal's bits, rounded, at the end
        float a;
        std::memcpy(&a, &rest, 4);
        a += 0.5f;
        uint32_t r;
        std::memcpy(&r, &a, 4);
        return static_cast<uint16_t>(sign | (r - 0x3f000000u));
    }
    return static_cast<uint16_t>(sign | ((rest - 0x38000000u + 0xfffu + (rest >> 13 & 1u)) >> 13));
}
EV_INLINE V8 load_half(const uint16_t* p) {
    float values[8];
#if defined(__ARM_FP16_FORMAT_IEEE)
    __fp16 halves[8];
    std::memcpy(halves, p, sizeof halves);
    for (int i = 0; i < 8; i++) values[i] = halves[i];
#else
    // Exponent and fraction moved to where a float has them are the number times 2^-112, subnormal ones included.
    uint32_t bits[8];
    for (int i = 0; i < 8; i++) bits[i] = static_cast<uint32_t>(p[i] & 0x7fff) << 13;
    std::memcpy(values, bits, sizeof values);
    for (float& value : values) value *= 5.192296858534828e33f;
    uint32_t result[8];
    std::memcpy(result, values, sizeof result);
    for (int i = 0; i < 8; i++) {
        const uint32_t special = 0u - static_cast<uint32_t>(bits[i] >= 0x7c00u << 13);  // infinity, or not a number
        result[i] |= (special & 0x7f800000u) | static_cast<uint32_t>(p[i] & 0x8000) << 16;
    }
    std::memcpy(values, result, sizeof values);
#endif
    return load(values);
}
EV_INLINE void store_half(uint16_t* p, V8 a) {
    for (int i = 0; i < 8; i++) p[i] = float_to_half(a[i]);
}
EV_INLINE float sum(V8 a) { return ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7])); }
EV_INLINE V4 sum4(V8 a, V8 b, V8 c, V8 d) { return V4{sum(a), sum(b), sum(c), sum(d)}; }
EV_INLINE float largest(V8 a) {
    float r = a[0];
    for (int i = 1; i < 8; i++) r = a[i] > r ? a[i] : r;
    return r;
}

#endif

// Sixteen floats: one register or two. `fold` adds lane i and lane i + 8.
#if defined(__AVX512F__)
typedef __m512 V16;
constexpr bool kWide = true;
EV_INLINE V16 load16(const float* p) { return _mm512_loadu_ps(p); }
EV_INLINE V16 load16(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
EV_INLINE void store16(float* p, V16 a) { _mm512_storeu_ps(p, a); }
EV_INLINE V16 splat16(float a) { return _mm512_set1_ps(a); }
EV_INLINE V16 fma(V16 a, V16 b, V16 c) { return _mm512_fmadd_ps(a, b, c); }
EV_INLINE V16 widen(V8 a) { return _mm512_zextps256_ps512(a); }
EV_INLINE V8 fold(V16 a) { return _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)); }
#else
struct V16 {
    V8 low, high;
};
constexpr bool kWide = false;
EV_INLINE V16 load16(const float* p) { return {load(p), load(p + 8)}; }
EV_INLINE V16 load16(const uint16_t* p) { return {load_half(p), load_half(p + 8)}; }
EV_INLINE void store16(float* p, V16 a) {
    store(p, a.low);
    store(p + 8, a.high);
}
EV_INLINE V16 splat16(float a) { return {splat(a), splat(a)}; }
EV_INLINE V16 fma(V16 a, V16 b, V16 c) { return {fma(a.low, b.low, c.low), fma(a.high, b.high, c.high)}; }
EV_INLINE V16 widen(V8 a) { return {a, splat(0.0f)}; }
EV_INLINE V8 fold(V16 a) { return a.low + a.high; }
#endif
EV_INLINE V8 load8(const float* p) { return load(p); }
EV_INLINE V8 load8(const uint16_t* p) { return load_half(p); }

// The first n < 8 floats, the other lanes filled.
EV_INLINE V8 load_part(const float* p, int64_t n, float fill) {
    float a[8];
    for (int i = 0; i < 8; i++) a[i] = i < n ? p[i] : fill;
    return load(a);
}
EV_INLINE void store_part(float* p, V8 a, int64_t n) {
    float b[8];
    store(b, a);
    for (int64_t i = 0; i < n; i++) p[i] = b[i];
}

// e to the power of a, to about one unit in the last place; 0 below -87.3. a = n ln 2 + r with |r| <= ln 2 / 2, ln 2 in
// two parts (Cody and Waite), and e^r by its Taylor series to r^7.
EV_INLINE V8 exp(V8 a) {
    const V8 clamped = min(max(a, splat(-87.33654f)), splat(88.37f));
    const V8 n = round_even(clamped * splat(1.44269504088896341f));
    V8 r = fma(n, splat(-0.693359375f), clamped);
    r = fma(n, splat(2.12194440e-4f), r);
    V8 p = splat(1.0f / 5040.0f);
    p = fma(p, r, splat(1.0f / 720.0f));
    p = fma(p, r, splat(1.0f / 120.0f));
    p = fma(p, r, splat(1.0f / 24.0f));
    p = fma(p, r, splat(1.0f / 6.0f));
    p = fma(p, r, splat(0.5f));
    p = fma(p, r, splat(1.0f));
    p = fma(p, r, splat(1.0f));
    p = p * exp2_whole(n);
#if defined(__AVX2__)
    return _mm256_and_ps(p, _mm256_cmp_ps(a, splat(-87.33654f), _CMP_GE_OQ));
#else
    return a >= splat(-87.33654f) ? p : splat(0.0f);
#endif
}

}  // namespace EVIDENT_ISA
