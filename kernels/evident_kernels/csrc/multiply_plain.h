// int8 and int4 weights in plain C++, written so that a compiler turns the inner loops into whatever vectors it has.
#pragma once

#include "multiply.h"

namespace EVIDENT_ISA {

EV_INLINE int32_t dot(const int8_t* a, const int8_t* b, int64_t n) {
    int32_t sum = 0;
    for (int64_t i = 0; i < n; i++) sum += static_cast<int16_t>(a[i]) * static_cast<int16_t>(b[i]);
    return sum;
}

struct Int8Kernel {
    static constexpr int kTokens = 2;
    static constexpr bool kScaled = true;

    template <int T, bool InOrder>
    EV_INLINE void run(const Matrix& m, const FourRows& four, const uint8_t* const* xs, const float* scales, V4* sums) {
        for (int r = 0; r < 4; r++) {
            const float w_scale = m.scales[four.index[r]];
            for (int t = 0; t < T; t++) {
                const int32_t total = dot(reinterpret_cast<const int8_t*>(four.data[r]),
                                          reinterpret_cast<const int8_t*>(xs[t]), m.cols);
                sums[t][r] = static_cast<float>(total) * w_scale * scales[t];
            }
        }
    }
};

EV_INLINE void multiply_int8(const Matrix& m, const Rows& rows, const Activations& x, const int32_t* tokens,
                             int64_t count, float* out, int64_t ld) {
    multiply_with<Int8Kernel>(m, rows, x, tokens, count, out, ld);
}

// A prepared token: per 64 inputs, 32 even ones, 32 odd ones, and 8 sums that this kernel has no use for: it takes the
// eight off the nibbles, once for all tokens of a tile.
struct Int4Kernel {
    static constexpr int kTokens = 2;
    static constexpr bool kScaled = true;

    template <int T, bool InOrder>
    EV_INLINE void run(const Matrix& m, const FourRows& four, const uint8_t* const* xs, const float* scales, V4* sums) {
        const int64_t groups = m.groups(), step = m.group < 64 ? 16 : 32;  // packed bytes
        for (int r = 0; r < 4; r++) {
            float acc[T] = {};
            const float* w_scales = m.scales + four.index[r] * groups;
            for (int64_t g = 0; g < groups; g++) {
                int32_t dots[T] = {};
                for (int64_t at = g * m.group / 2; at < (g + 1) * m.group / 2; at += step) {
                    int8_t low[32], high[32];
                    for (int64_t i = 0; i < step; i++) {
                        const uint8_t packed = four.data[r][at + i];
                        low[i] = static_cast<int8_t>((packed & 15) - 8);
                        high[i] = static_cast<int8_t>((packed >> 4) - 8);
                    }
                    for (int t = 0; t < T; t++) {
                        const int8_t* x = reinterpret_cast<const int8_t*>(xs[t]) + at / 32 * 96 + at % 32;
                        dots[t] += dot(low, x, step) + dot(high, x + 32, step);
                    }
                }
                for (int t = 0; t < T; t++) acc[t] += static_cast<float>(dots[t]) * w_scales[g];
            }
            for (int t = 0; t < T; t++) sums[t][r] = acc[t] * scales[t];
        }
    }
};

}  // namespace EVIDENT_ISA
