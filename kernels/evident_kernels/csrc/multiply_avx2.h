// int8 and int4 weights with AVX2: unsigned by signed bytes summed in pairs to 16 bits, then in fours to 32.
//
// int8: |x| is the unsigned side and the weight takes x's sign; 2 * 127 * 127 fits 16 bits, so nothing saturates.
// int4: nibbles are the unsigned side (value + 8), and 8 times the activations' sums, stored beside them lane by lane,
// are taken away; 4 * 15 * 127 fits as well.
#pragma once

#include "multiply.h"

namespace EVIDENT_ISA {

EV_INLINE __m128i whole_sums(__m256i a, __m256i b, __m256i c, __m256i d) {
    const __m256i folded = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_add_epi32(_mm256_castsi256_si128(folded), _mm256_extracti128_si256(folded, 1));
}

EV_INLINE __m256i load_bytes(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

EV_INLINE __m256i load_some_bytes(const uint8_t* p, int64_t n) {
    uint8_t bytes[32] = {};
    std::memcpy(bytes, p, static_cast<size_t>(n));
    return load_bytes(bytes);
}

struct Int8Kernel {
    static constexpr int kTokens = 2;
    static constexpr bool kScaled = true;

    // What the weights are multiplied by.
    struct Side {
        __m256i x, size;

        explicit __attribute__((always_inline)) inline Side(const uint8_t* from)
            : x(load_bytes(from)), size(_mm256_abs_epi8(x)) {}
        __attribute__((always_inline)) inline void times(__m256i w, __m256i& acc) const {
            const __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(w, x));
            acc = _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        }
    };

    // One row, from its first byte to its last.
    template <int T>
    EV_INLINE void row(const uint8_t* w, const uint8_t* const* xs, int64_t n, __m256i (&sums)[T]) {
        constexpr int kApart = T == 1 ? 4 : 2;
        __m256i acc[T][kApart];
        for (int t = 0; t < T; t++)
            for (int j = 0; j < kApart; j++) acc[t][j] = _mm256_setzero_si256();
        const auto add = [&](int64_t k, int j) __attribute__((always_inline)) {
            const __m256i bytes = load_bytes(w + k);
            for (int t = 0; t < T; t++) Side(xs[t] + k).times(bytes, acc[t][j % kApart]);
        };
        int64_t k = 0;
        for (; k + 128 <= n; k += 128)
            for (int j = 0; j < 4; j++) add(k + 32 * j, j);
        for (; k < n; k += 32) add(k, 0);
        for (int t = 0; t < T; t++) {
            sums[t] = _mm256_add_epi32(acc[t][0], acc[t][1]);
            if constexpr (T == 1) sums[t] = _mm256_add_epi32(sums[t], _mm256_add_epi32(acc[t][2], acc[t][3]));
        }
    }

    template <int T, bool InOrder>
    EV_INLINE void run(const Matrix& m, const FourRows& four, const uint8_t* const* xs, const float* scales, V4* sums) {
        __m256i acc[4][T];
        for (int r = 0; r < 4; r++)
            for (int t = 0; t < T; t++) acc[r][t] = _mm256_setzero_si256();
        const int64_t whole = m.cols & ~int64_t{31};
        if constexpr (InOrder) {
            for (int r = 0; r < 4; r++) row<T>(four.data[r], xs, whole, acc[r]);
        } else {
            for (int64_t k = 0; k < whole; k += 32) {
                __m256i w[4];
                for (int r = 0; r < 4; r++) w[r] = load_bytes(four.data[r] + k);
                for (int t = 0; t < T; t++) {
                    const Side x(xs[t] + k);
                    for (int r = 0; r < 4; r++) x.times(w[r], acc[r][t]);
                }
            }
        }
        if (whole < m.cols)
            for (int t = 0; t < T; t++) {
                const Side x(xs[t] + whole);
                for (int r = 0; r < 4; r++)
                    x.times(load_some_bytes(four.data[r] + whole, m.cols - whole), acc[r][t]);
            }
        const V4 w_scales = of_rows(m.scales, four);
        for (int t = 0; t < T; t++) {
            const __m128i dots = whole_sums(acc[0][t], acc[1][t], acc[2][t], acc[3][t]);
            sums[t] = _mm_mul_ps(_mm_mul_ps(_mm_cvtepi32_ps(dots), w_scales), splat4(scales[t]));
        }
    }
};

EV_INLINE void multiply_int8(const Matrix& m, const Rows& rows, const Activations& x, const int32_t* tokens,
                             int64_t count, float* out, int64_t ld) {
    multiply_with<Int8Kernel>(m, rows, x, tokens, count, out, ld);
}

// A prepared token: per 64 inputs, 32 even ones, 32 odd ones, and for each lane of 8 inputs -8 times their sum.
struct Int4Kernel {
    static constexpr int kTokens = 2;
    static constexpr bool kScaled = true;

    template <int T>
    EV_INLINE void step(__m256i packed, V8 scale, const uint8_t* const* xs, int64_t block, V8 (&acc)[T]) {
        const __m256i nibble = _mm256_set1_epi8(15);
        const __m256i low = _mm256_and_si256(packed, nibble);
        const __m256i high = _mm256_and_si256(_mm256_srli_epi16(packed, 4), nibble);
        for (int t = 0; t < T; t++) {
            const uint8_t* x = xs[t] + block * 96;
            const __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(low, load_bytes(x)),
                                                   _mm256_maddubs_epi16(high, load_bytes(x + 32)));
            const __m256i dots = _mm256_add_epi32(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)), load_bytes(x + 64));
            acc[t] = fma(_mm256_cvtepi32_ps(dots), scale, acc[t]);
        }
    }

    template <int T, bool InOrder>
    EV_INLINE void run(const Matrix& m, const FourRows& four, const uint8_t* const* xs, const float* scales, V4* sums) {
        const int64_t groups = m.groups(), blocks = m.cols / 64;
        V8 acc[4][T];
        for (int r = 0; r < 4; r++) {
            for (int t = 0; t < T; t++) acc[r][t] = splat(0.0f);
            const float* at = m.scales + four.index[r] * groups;
            const uint8_t* data = four.data[r];
            if (m.group == 32) {
                for (int64_t b = 0; b < blocks; b++)
                    step<T>(load_bytes(data + b * 32), _mm256_set_m128(splat4(at[2 * b + 1]), splat4(at[2 * b])), xs, b,
                            acc[r]);
            } else {
                const int64_t a_group = m.group / 64;
                for (int64_t b = 0, left = a_group; b < blocks; b++) {
                    step<T>(load_bytes(data + b * 32), splat(*at), xs, b, acc[r]);
                    if (--left == 0) {
                        left = a_group;
                        at++;
                    }
                }
            }
            if (blocks * 64 < m.cols)  // half a block: only with groups of 32
                step<T>(load_some_bytes(data + blocks * 32, 16), splat(at[2 * blocks]), xs, blocks, acc[r]);
        }
        for (int t = 0; t < T; t++)
            sums[t] = _mm_mul_ps(sum4(acc[0][t], acc[1][t], acc[2][t], acc[3][t]), splat4(scales[t]));
    }
};

}  // namespace EVIDENT_ISA
