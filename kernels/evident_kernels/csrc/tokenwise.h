// What is done to one token at a time: quantise, RMSNorm, SwiGLU, rotary embedding, exponentials, writing the cache.
//
// Included into one namespace per instruction set. EVIDENT_INT8_OFFSET (128 or 0) is added to stored int8 activations.
// For int4, blocks of EVIDENT_INT4_BLOCK inputs are stored as their even ones, their odd ones, and sums of each eight.
#pragma once

#include "isa.h"
#include "lanes.h"

namespace EVIDENT_ISA {

EV_INLINE int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

static int64_t prepared_bytes(int32_t kind, int64_t cols) {
    if (kind == EV_F32) return round_up(cols, 16) * 4;
    if (kind == EV_INT8) return round_up(cols, 64);
    return round_up(cols, EVIDENT_INT4_BLOCK) / 2 * 3;
}

// max |x| / 127, and not a number where some x is none, or infinite: what is computed from it is then none either. As
// whole numbers, the bits of floats without their sign are in the floats' order, and those of infinity come after all.
EV_INLINE float scale_of(const float* x, int64_t n) {
    int32_t top = 0;
    const int64_t whole = n & ~int64_t{7};
#if defined(__AVX2__)
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i tops = _mm256_setzero_si256();
    for (int64_t i = 0; i < whole; i += 8)
        tops = _mm256_max_epi32(tops, _mm256_and_si256(_mm256_castps_si256(load(x + i)), magnitude));
    int32_t lanes[8];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), tops);
#else
    int32_t lanes[8] = {};
    for (int64_t i = 0; i < whole; i += 8)
        for (int64_t j = 0; j < 8; j++) {
            int32_t bits;
            std::memcpy(&bits, x + i + j, 4);
            bits &= 0x7fffffff;
            lanes[j] = bits > lanes[j] ? bits : lanes[j];
        }
#endif
    for (int64_t i = whole; i < n; i++) {
        int32_t bits;
        std::memcpy(&bits, x + i, 4);
        bits &= 0x7fffffff;
        top = bits > top ? bits : top;
    }
    for (const int32_t lane : lanes) top = lane > top ? lane : top;
    if (top >= 0x7f800000) return NAN;
    float largest_x;
    std::memcpy(&largest_x, &top, 4);
    return largest_x / 127.0f;
}

// x / scale rounded half to even, n of them, and zeros up to `room`.
EV_INLINE void round_by(const float* x, int64_t n, float scale, int8_t* q, int64_t room) {
    int64_t i = 0;
#if defined(__AVX2__)
    // A product with the reciprocal is within 2e-5 of the quotient; only where it is that near to a half can the two
    // round apart, and there the quotient is taken.
    const V8 by = splat(1.0f / scale), near_half = splat(0.4999f);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (; i + 32 <= n; i += 32) {
        __m256i whole[4];
        V8 doubt = splat(0.0f);
        for (int j = 0; j < 4; j++) {
            const V8 product = load(x + i + 8 * j) * by, rounded = round_even(product);
            doubt = _mm256_or_ps(doubt, _mm256_cmp_ps(absolute(product - rounded), near_half, _CMP_NLE_UQ));
            whole[j] = _mm256_cvtps_epi32(rounded);
        }
        if (_mm256_movemask_ps(doubt))
            for (int j = 0; j < 4; j++) whole[j] = _mm256_cvtps_epi32(round_even(load(x + i + 8 * j) / splat(scale)));
        const __m256i bytes =
            _mm256_packs_epi16(_mm256_packs_epi32(whole[0], whole[1]), _mm256_packs_epi32(whole[2], whole[3]));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + i), _mm256_permutevar8x32_epi32(bytes, order));
    }
#endif
    for (; i < n; i += 8) {
        float rounded[8];
        store(rounded, round_even((n - i >= 8 ? load(x + i) : load_part(x + i, n - i, 0.0f)) / splat(scale)));
        for (int64_t j = 0; j < 8 && i + j < n; j++) q[i + j] = static_cast<int8_t>(rounded[j]);
    }
    std::memset(q + n, 0, static_cast<size_t>(room - n));
}

// 64 values into 32 even ones, 32 odd ones, and for each 8 of them -8 times their sum.
EV_INLINE void split_64(const int8_t* q, int8_t* evens, int8_t* odds, int32_t* sums) {
#if defined(__AVX2__)
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q + 32));
    const auto low = [](__m256i pairs) { return _mm256_srai_epi16(_mm256_slli_epi16(pairs, 8), 8); };
    const auto high = [](__m256i pairs) { return _mm256_srai_epi16(pairs, 8); };
    const auto in_order = [](__m256i halves) { return _mm256_permute4x64_epi64(halves, 0xd8); };
    const auto fours = [](__m256i bytes) {
        return _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes), _mm256_set1_epi16(-8));
    };
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(evens), in_order(_mm256_packs_epi16(low(a), low(b))));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(odds), in_order(_mm256_packs_epi16(high(a), high(b))));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums), in_order(_mm256_hadd_epi32(fours(a), fours(b))));
#else
    for (int i = 0; i < 32; i++) {
        evens[i] = q[2 * i];
        odds[i] = q[2 * i + 1];
    }
    for (int i = 0; i < 8; i++) {
        sums[i] = 0;
        for (int j = 0; j < 8; j++) sums[i] -= 8 * q[8 * i + j];
    }
#endif
}

// Symmetric int8: scale = max |x| / 127, q = x / scale rounded half to even.
static void prepare(int32_t kind, const float* x, int64_t n, uint8_t* out, float* scale) {
    if (kind == EV_F32) {
        std::memcpy(out, x, static_cast<size_t>(n) * 4);
        return;
    }
    const float by = *scale = scale_of(x, n);
    int8_t* q = reinterpret_cast<int8_t*>(out);
    if (kind == EV_INT8) {
        const int64_t room = round_up(n, 64);
        if (by > 0.0f)
            round_by(x, n, by, q, room);
        else
            std::memset(q, 0, static_cast<size_t>(room));
        if (EVIDENT_INT8_OFFSET)
            for (int64_t i = 0; i < room; i++) out[i] ^= 128;
        return;
    }
    constexpr int64_t kBlock = EVIDENT_INT4_BLOCK;
    alignas(64) int8_t some[kBlock];
    for (int64_t i = 0; i < n; i += kBlock, q += kBlock / 2 * 3) {
        if (by > 0.0f)
            round_by(x + i, n - i < kBlock ? n - i : kBlock, by, some, kBlock);
        else
            std::memset(some, 0, sizeof some);
        for (int64_t j = 0; j < kBlock; j += 64) {
            int32_t sums[8];
            split_64(some + j, q + j / 2, q + (kBlock + j) / 2, sums);
            std::memcpy(q + kBlock + j / 2, sums, sizeof sums);
        }
    }
}

static void rms_norm(const float* x, const float* weight, int64_t n, float eps, float* out) {
    V8 squares[4] = {splat(0.0f), splat(0.0f), splat(0.0f), splat(0.0f)};  // four, as each waits for its last sum
    for (int64_t i = 0; i < n; i += 8) {
        const V8 values = n - i >= 8 ? load(x + i) : load_part(x + i, n - i, 0.0f);
        squares[i / 8 % 4] = fma(values, values, squares[i / 8 % 4]);
    }
    const float total = sum((squares[0] + squares[1]) + (squares[2] + squares[3]));
    const float factor = 1.0f / __builtin_sqrtf(total / static_cast<float>(n) + eps);
    for (int64_t i = 0; i < n; i++) out[i] = x[i] * factor * weight[i];
}

static void swiglu(float* gate, const float* up, int64_t n) {
    for (int64_t i = 0; i < n; i += 8) {
        const bool whole = n - i >= 8;
        const V8 g = whole ? load(gate + i) : load_part(gate + i, n - i, 0.0f);
        const V8 u = whole ? load(up + i) : load_part(up + i, n - i, 0.0f);
        const V8 r = g / (splat(1.0f) + exp(splat(0.0f) - g)) * u;
        if (whole)
            store(gate + i, r);
        else
            store_part(gate + i, r, n - i);
    }
}

static void rotate(float* x, int64_t heads, int64_t dim, int64_t half, const float* cos, const float* sin,
                   bool interleaved) {
    for (int64_t h = 0; h < heads; h++, x += dim) {
        int64_t i = 0;
        if (interleaved) {
            for (; i < half; i++) {
                const float a = x[2 * i], b = x[2 * i + 1];
                x[2 * i] = a * cos[i] - b * sin[i];
                x[2 * i + 1] = b * cos[i] + a * sin[i];
            }
            continue;
        }
        for (; i + 8 <= half; i += 8) {
            const V8 a = load(x + i), b = load(x + half + i), c = load(cos + i), s = load(sin + i);
            store(x + i, a * c - b * s);
            store(x + half + i, b * c + a * s);
        }
        for (; i < half; i++) {
            const float a = x[i], b = x[half + i];
            x[i] = a * cos[i] - b * sin[i];
            x[half + i] = b * cos[i] + a * sin[i];
        }
    }
}

static void store_cache(const float* x, int64_t n, void* out, int64_t offset, int32_t half) {
    if (!half) {
        std::memcpy(static_cast<float*>(out) + offset, x, static_cast<size_t>(n) * 4);
        return;
    }
    uint16_t* to = static_cast<uint16_t*>(out) + offset;
    for (int64_t i = 0; i < n; i += 8) store_half(to + i, load(x + i));
}

static float largest_of(const float* x, int64_t n) {
    V8 tops[4] = {splat(-INFINITY), splat(-INFINITY), splat(-INFINITY), splat(-INFINITY)};
    int64_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int j = 0; j < 4; j++) tops[j] = max(load(x + i + 8 * j), tops[j]);  // of no number, max takes the second
    for (; i < n; i += 8) tops[0] = max(n - i >= 8 ? load(x + i) : load_part(x + i, n - i, -INFINITY), tops[0]);
    return largest(max(max(tops[0], tops[1]), max(tops[2], tops[3])));
}

static void exponentials(const float* x, int64_t n, float top, float factor, float* out) {
    for (int64_t i = 0; i < n; i += 8) {
        const bool whole = n - i >= 8;
        const V8 a = whole ? load(x + i) : load_part(x + i, n - i, -INFINITY);
        const V8 r = exp((a - splat(top)) * splat(factor));
        if (whole)
            store(out + i, r);
        else
            store_part(out + i, r, n - i);
    }
}

}  // namespace EVIDENT_ISA
