// Matrix times tokens, in tiles of four rows by up to six tokens.
//
// A kernel gives `kTokens`, its widest tile, and `run<T>`; the value of a (row, token) pair depends on that pair alone.
// Included into one namespace per instruction set.
#pragma once

#include <type_traits>

#include "isa.h"
#include "lanes.h"

namespace EVIDENT_ISA {

// Up to this many tokens, memory is what a product waits for: rows are read one after the other, as the processor's own
// prefetching expects, unless they are so short (in bytes) that four side by side are nearly that. More tokens always
// take four rows side by side, which needs fewer loads.
constexpr int kInOrder = 1;
constexpr int64_t kShort = 256;

// Four rows of a matrix. Missing ones repeat the last; `together`: they are four, one after the other.
struct FourRows {
    const uint8_t* data[4];
    int64_t index[4];
    bool together;
};

// T tokens, prepared.
template <int T>
struct Tokens {
    const uint8_t* data[T];
    float scales[T];
    float* out[T];
};

// Rows that follow one another, whole fours of them; `ahead` bytes further on, the next ones are fetched meanwhile (0:
// they are not). Never inlined: the pointers of one strip fill the registers.
template <class Kernel, int T, bool InOrder>
static __attribute__((noinline)) void strip(const Matrix& m, int64_t first, int64_t count, const Tokens<T>& tokens,
                                            int64_t ahead) {
    const int64_t bytes = m.row_bytes();
    const Tokens<T> own = tokens;
    const uint8_t* data = m.data + first * bytes;
    for (int64_t r = 0; r < count; r += 4, data += 4 * bytes) {
        if (!InOrder && ahead)
            for (int64_t i = 0; i < 4 * bytes; i += 64) __builtin_prefetch(data + ahead + i, 0, 2);
        const FourRows four{{data, data + bytes, data + 2 * bytes, data + 3 * bytes},
                            {first + r, first + r + 1, first + r + 2, first + r + 3},
                            true};
        V4 sums[T];
        Kernel::template run<T, InOrder>(m, four, own.data, own.scales, sums);
        for (int t = 0; t < T; t++) store4(own.out[t] + r, sums[t]);
    }
}

// Rows anywhere, and fewer than four.
template <class Kernel, int T>
static __attribute__((noinline)) void scatter(const Matrix& m, const Rows& rows, int64_t from, const Tokens<T>& tokens) {
    for (int64_t r = from; r < rows.count; r += 4) {
        const int64_t n = rows.count - r < 4 ? rows.count - r : 4;
        FourRows four;
        four.together = false;
        for (int64_t i = 0; i < 4; i++) {
            const int64_t j = r + (i < n ? i : n - 1);
            four.index[i] = rows.list ? rows.list[j] : rows.first + j;
            four.data[i] = m.data + four.index[i] * m.row_bytes();
        }
        V4 sums[T];
        Kernel::template run<T, false>(m, four, tokens.data, tokens.scales, sums);
        for (int t = 0; t < T; t++) {
            float values[4];
            store4(values, sums[t]);
            for (int64_t i = 0; i < n; i++) tokens.out[t][r + i] = values[i];
        }
    }
}

template <class Kernel, int T>
EV_INLINE void multiply_some(const Matrix& m, const Rows& rows, const Activations& x, const int32_t* which, int64_t at,
                             float* out, int64_t ld, int64_t ahead) {
    Tokens<T> tokens;
    for (int t = 0; t < T; t++) {
        const int64_t token = which ? which[at + t] : at + t;
        tokens.data[t] = x.data + token * x.stride;
        tokens.scales[t] = Kernel::kScaled ? x.scales[token] : 1.0f;
        tokens.out[t] = out + (at + t) * ld;
    }
    if (rows.list || rows.count < 4) return scatter<Kernel, T>(m, rows, 0, tokens);
    if constexpr (T <= kInOrder)
        if (m.row_bytes() > kShort) return strip<Kernel, T, true>(m, rows.first, rows.count, tokens, 0);
    strip<Kernel, T, false>(m, rows.first, rows.count, tokens, ahead);
}

template <class Kernel>
EV_INLINE void multiply_block(const Matrix& m, const Rows& rows, const Activations& x, const int32_t* tokens,
                              int64_t count, float* out, int64_t ld, int64_t ahead) {
    int64_t t = 0;
    const auto some = [&](auto width) {
        multiply_some<Kernel, decltype(width)::value>(m, rows, x, tokens, t, out, ld, t ? 0 : ahead);
        t += decltype(width)::value;
    };
    if constexpr (Kernel::kTokens >= 6)
        while (t + 6 <= count) some(std::integral_constant<int, 6>());
    if constexpr (Kernel::kTokens >= 4) {
        while (t + 4 <= count) some(std::integral_constant<int, 4>());
        if (t + 3 == count) return some(std::integral_constant<int, 3>());
    }
    while (t + 2 <= count) some(std::integral_constant<int, 2>());
    if (t < count) some(std::integral_constant<int, 1>());
}

constexpr int64_t kBlockBytes = 8192;

// Rows go by in blocks that stay in the first-level cache while all tokens use them; the first tokens fetch the next
// block, so that memory is read while the others are multiplied.
template <class Kernel>
void multiply_with(const Matrix& m, const Rows& rows, const Activations& x, const int32_t* tokens, int64_t count,
                   float* out, int64_t ld) {
    if (rows.list) return multiply_block<Kernel>(m, rows, x, tokens, count, out, ld, 0);
    const int64_t bytes = m.row_bytes(), whole = rows.count & ~int64_t{3};
    int64_t block = (kBlockBytes / bytes) & ~int64_t{3};
    block = block < 4 ? 4 : block;
    for (int64_t r = 0; r < whole; r += block) {
        const int64_t n = whole - r < block ? whole - r : block;
        const int64_t ahead = rows.first + r + 2 * n <= m.rows ? n * bytes : 0;
        multiply_block<Kernel>(m, {nullptr, rows.first + r, n}, x, tokens, count, out + r, ld, ahead);
    }
    if (whole < rows.count)
        multiply_block<Kernel>(m, {nullptr, rows.first + whole, rows.count - whole}, x, tokens, count, out + whole, ld, 0);
}

// One value of each row of a tile.
EV_INLINE V4 of_rows(const float* values, const FourRows& four) {
    V4 r;
    if (four.together) {
        std::memcpy(&r, values + four.index[0], sizeof r);
    } else {
        const float some[4] = {values[four.index[0]], values[four.index[1]], values[four.index[2]], values[four.index[3]]};
        std::memcpy(&r, some, sizeof r);
    }
    return r;
}

EV_INLINE V4 splat4(float a) {
#if defined(__AVX2__)
    return _mm_set1_ps(a);
#else
    return V4{a, a, a, a};
#endif
}

// float32 weights: the activations are the floats themselves.
struct FloatKernel {
    static constexpr int kTokens = 2;
    static constexpr bool kScaled = false;

    template <int T, bool InOrder>
    EV_INLINE void run(const Matrix& m, const FourRows& four, const uint8_t* const* xs, const float*, V4* sums) {
        V8 acc[4][T];
        for (int r = 0; r < 4; r++)
            for (int t = 0; t < T; t++) acc[r][t] = splat(0.0f);
        const int64_t whole = m.cols & ~int64_t{7};
        for (int64_t k = 0; k < whole; k += 8) {
            V8 x[T];
            for (int t = 0; t < T; t++) x[t] = load(reinterpret_cast<const float*>(xs[t]) + k);
            for (int r = 0; r < 4; r++) {
                const V8 w = load(reinterpret_cast<const float*>(four.data[r]) + k);
                for (int t = 0; t < T; t++) acc[r][t] = fma(w, x[t], acc[r][t]);
            }
        }
        if (whole < m.cols)
            for (int r = 0; r < 4; r++) {
                const V8 w = load_part(reinterpret_cast<const float*>(four.data[r]) + whole, m.cols - whole, 0.0f);
                for (int t = 0; t < T; t++) {
                    const float* x = reinterpret_cast<const float*>(xs[t]) + whole;
                    acc[r][t] = fma(w, load_part(x, m.cols - whole, 0.0f), acc[r][t]);
                }
            }
        for (int t = 0; t < T; t++) sums[t] = sum4(acc[0][t], acc[1][t], acc[2][t], acc[3][t]);
    }
};

}  // namespace EVIDENT_ISA
