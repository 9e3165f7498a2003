// int8 and int4 weights with AVX-512 VNNI: 64 products an instruction, unsigned by signed bytes, no saturation.
//
// int8: activations are stored as q + 128, and 128 times the row's sum is taken away. int4: nibbles are the unsigned
// side (value + 8), and 8 times the activations' sums, stored beside them lane by lane, are taken away.
#pragma once

#include "multiply.h"

namespace EVIDENT_ISA {

// acc += four unsigned bytes of u times four signed bytes of s. In assembly because compilers (GCC 12) copy each sum
// before and after the intrinsic and read operands from memory again, which takes longer than the products.
EV_INLINE void add_products(__m512i& acc, __m512i u, __m512i s) {
    asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(u), "v"(s));
}

EV_INLINE __m512i pair_sums(__m512i a, __m512i b) {  // 128-bit lanes: a01 b01 a23 b23
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}

EV_INLINE __m128i whole_sums(__m512i a, __m512i b, __m512i c, __m512i d) {
    const __m512i ab = pair_sums(a, b), cd = pair_sums(c, d);
    const __m512i lanes = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64(lanes, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

// Summed: the rows' sums are known. Otherwise |x| is the unsigned side and the weight takes x's sign, which is one more
// operation for each product, and spares a caller with a single product to make the pass over all weights.
template <bool Summed>
struct Int8Kernel {
    static constexpr int kTokens = Summed ? 6 : 4;
    static constexpr bool kScaled = true;

    // What the weights are multiplied by.
    struct Side {
        __m512i size;
        __mmask64 negative;

        explicit __attribute__((always_inline)) inline Side(const uint8_t* x) : size(_mm512_loadu_si512(x)), negative(0) {
            if constexpr (!Summed) {
                size = _mm512_xor_si512(size, _mm512_set1_epi8(-128));
                negative = _mm512_movepi8_mask(size);
                size = _mm512_abs_epi8(size);
            }
        }
        __attribute__((always_inline)) inline void times(__m512i w, __m512i& acc) const {
            add_products(acc, size, Summed ? w : _mm512_mask_sub_epi8(w, negative, _mm512_setzero_si512(), w));
        }
    };

    // One row, from its first byte to its last.
    template <int T>
    EV_INLINE void row(const uint8_t* w, const uint8_t* const* xs, int64_t n, __m512i (&sums)[T]) {
        constexpr int kApart = T == 1 ? 4 : 2;
        __m512i acc[T][kApart];
        for (int t = 0; t < T; t++)
            for (int j = 0; j < kApart; j++) acc[t][j] = _mm512_setzero_si512();
        const auto add = [&](int64_t k, int j) __attribute__((always_inline)) {
            const __m512i bytes = _mm512_loadu_si512(w + k);
            for (int t = 0; t < T; t++) Side(xs[t] + k).times(bytes, acc[t][j % kApart]);
        };
        int64_t k = 0;
        for (; k + 256 <= n; k += 256)
            for (int j = 0; j < 4; j++) add(k + 64 * j, j);
        if (k + 128 <= n) {
            add(k, 0);
            add(k + 64, 1);
            k += 128;
        }
        if (k < n) add(k, 0);
        for (int t = 0; t < T; t++) {
            sums[t] = _mm512_add_epi32(acc[t][0], acc[t][1]);
            if constexpr (T == 1) sums[t] = _mm512_add_epi32(sums[t], _mm512_add_epi32(acc[t][2], acc[t][3]));
        }
    }

    template <int T, bool InOrder>
    EV_INLINE void run(const Matrix& m, const FourRows& four, const uint8_t* const* xs, const float* scales, V4* sums) {
        __m512i acc[4][T];
        for (int r = 0; r < 4; r++)
            for (int t = 0; t < T; t++) acc[r][t] = _mm512_setzero_si512();
        const int64_t whole = m.cols & ~int64_t{63};
        if constexpr (InOrder) {
            for (int r = 0; r < 4; r++) row<T>(four.data[r], xs, whole, acc[r]);
        } else {
            for (int64_t k = 0; k < whole; k += 64) {
                __m512i w[4];
                for (int r = 0; r < 4; r++) w[r] = _mm512_loadu_si512(four.data[r] + k);
                for (int t = 0; t < T; t++) {
                    const Side x(xs[t] + k);
                    for (int r = 0; r < 4; r++) x.times(w[r], acc[r][t]);
                }
            }
        }
        if (whole < m.cols) {
            const __mmask64 mask = (~uint64_t{0}) >> (64 - (m.cols - whole));
            for (int t = 0; t < T; t++) {
                const Side x(xs[t] + whole);
                for (int r = 0; r < 4; r++) x.times(_mm512_maskz_loadu_epi8(mask, four.data[r] + whole), acc[r][t]);
            }
        }
        __m128i offsets = _mm_setzero_si128();
        if constexpr (Summed)
            offsets = _mm_slli_epi32(_mm_castps_si128(of_rows(reinterpret_cast<const float*>(m.sums), four)), 7);
        const V4 w_scales = of_rows(m.scales, four);
        for (int t = 0; t < T; t++) {
            const __m128i dots = _mm_sub_epi32(whole_sums(acc[0][t], acc[1][t], acc[2][t], acc[3][t]), offsets);
            sums[t] = _mm_mul_ps(_mm_mul_ps(_mm_cvtepi32_ps(dots), w_scales), splat4(scales[t]));
        }
    }
};

EV_INLINE void multiply_int8(const Matrix& m, const Rows& rows, const Activations& x, const int32_t* tokens,
                             int64_t count, float* out, int64_t ld) {
    if (m.sums)
        multiply_with<Int8Kernel<true>>(m, rows, x, tokens, count, out, ld);
    else
        multiply_with<Int8Kernel<false>>(m, rows, x, tokens, count, out, ld);
}

// A prepared token: per 128 inputs, 64 even ones, 64 odd ones, and for each lane of 8 inputs -8 times their sum.
struct Int4Kernel {
    static constexpr int kTokens = 4;
    static constexpr bool kScaled = true;

    // Tokens' even inputs, odd inputs and sums of one block, held in registers while the rows go by.
    template <int T>
    struct Block {
        __m512i evens[T], odds[T], sums[T];

        __attribute__((always_inline)) inline Block(const uint8_t* const* xs, int64_t at) {
            for (int t = 0; t < T; t++) {
                evens[t] = _mm512_loadu_si512(xs[t] + at);
                odds[t] = _mm512_loadu_si512(xs[t] + at + 64);
                sums[t] = _mm512_loadu_si512(xs[t] + at + 128);
            }
        }
        __attribute__((always_inline)) inline void add(__m512i packed, __m512 scale, __m512 (&acc)[T]) const {
            const __m512i nibble = _mm512_set1_epi8(15);
            const __m512i low = _mm512_and_si512(packed, nibble);
            const __m512i high = _mm512_and_si512(_mm512_srli_epi16(packed, 4), nibble);
            for (int t = 0; t < T; t++) {
                __m512i dots = sums[t];
                add_products(dots, low, evens[t]);
                add_products(dots, high, odds[t]);
                acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), scale, acc[t]);
            }
        }
    };

    template <int T, bool InOrder>
    EV_INLINE void run(const Matrix& m, const FourRows& four, const uint8_t* const* xs, const float* scales, V4* sums) {
        const int64_t groups = m.groups(), whole = m.cols / 128, rest = m.cols % 128;
        __m512 acc[4][T];
        const float* at[4];
        for (int r = 0; r < 4; r++) {
            for (int t = 0; t < T; t++) acc[r][t] = _mm512_setzero_ps();
            at[r] = m.scales + four.index[r] * groups;
        }
        if (InOrder && m.group >= 128) {
            const int64_t a_group = m.group / 128;
            for (int r = 0; r < 4; r++)
                for (int64_t b = 0, group = 0, left = a_group; b < whole; b++) {
                    const Block<T> block(xs, b * 192);
                    block.add(_mm512_loadu_si512(four.data[r] + b * 64), _mm512_set1_ps(at[r][group]), acc[r]);
                    if (--left == 0) {
                        left = a_group;
                        group++;
                    }
                }
        } else if (m.group >= 128) {
            const int64_t a_group = m.group / 128;
            for (int64_t b = 0, group = 0, left = a_group; b < whole; b++) {
                const Block<T> block(xs, b * 192);
                for (int r = 0; r < 4; r++)
                    block.add(_mm512_loadu_si512(four.data[r] + b * 64), _mm512_set1_ps(at[r][group]), acc[r]);
                if (--left == 0) {
                    left = a_group;
                    group++;
                }
            }
        } else {
            // A block has two or four groups; which of them each lane of 8 inputs belongs to.
            const int64_t a_block = 128 / m.group;
            const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            const __m512i which = a_block == 4 ? _mm512_srli_epi32(lane, 2) : _mm512_srli_epi32(lane, 3);
            for (int64_t b = 0; b < whole + (rest > 0); b++) {
                const Block<T> block(xs, b * 192);
                const int64_t left = groups - b * a_block, n = left < a_block ? left : a_block;
                const __mmask64 mask = b < whole ? ~uint64_t{0} : (~uint64_t{0}) >> (64 - rest / 2);
                const __mmask16 some = static_cast<__mmask16>((1 << n) - 1);
                for (int r = 0; r < 4; r++)
                    block.add(_mm512_maskz_loadu_epi8(mask, four.data[r] + b * 64),
                              _mm512_permutexvar_ps(which, _mm512_maskz_loadu_ps(some, at[r] + b * a_block)), acc[r]);
            }
        }
        for (int t = 0; t < T; t++) {
            V8 folded[4];
            for (int r = 0; r < 4; r++)
                folded[r] = _mm256_add_ps(_mm512_castps512_ps256(acc[r][t]), _mm512_extractf32x8_ps(acc[r][t], 1));
            sums[t] = _mm_mul_ps(sum4(folded[0], folded[1], folded[2], folded[3]), splat4(scales[t]));
        }
    }
};

}  // namespace EVIDENT_ISA
