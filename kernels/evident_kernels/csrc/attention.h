// Softmax attention of up to four queries over one sequence's paged keys and values.
//
// Scores first, then weights, then the weighted sum of values position by position: each query's sums run over its own
// positions in their order, whichever queries it shares a call with and however the cache is paged. Included into one
// namespace per instruction set.
#pragma once

#include <type_traits>

#include "isa.h"
#include "lanes.h"

namespace EVIDENT_ISA {

template <bool Half>
struct Cache {
    const void* base;
    const void* other;
    const Pages& pages;

    using Element = std::conditional_t<Half, uint16_t, float>;
    EV_INLINE const Element* elements(const char* row) { return reinterpret_cast<const Element*>(row); }
    static constexpr int64_t kBytes = Half ? 2 : 4;
    inline __attribute__((always_inline)) int64_t row_bytes() const { return pages.stride * kBytes; }

    static inline __attribute__((always_inline)) void fetch(const char* row, int64_t rows, int64_t apart, int64_t bytes) {
        for (int64_t r = 0; r < rows; r++, row += apart)
            for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + i, 0, 2);
    }

    // Calls f(first position, row of it, how many rows follow one another from it), block by block.
    template <bool Fetch, class F>
    inline __attribute__((always_inline)) void runs(int64_t low, int64_t high, F f) const {
        const int64_t size = pages.block_size, bytes = row_bytes();
        const auto block_at = [&](const void* from, const int32_t* table, int64_t block) {
            return static_cast<const char*>(from) + table[block] * size * bytes;
        };
        int64_t block = low / size, offset = low % size;
        for (int64_t run = 0; low < high; run++) {
            const int64_t left = size - offset, n = high - low < left ? high - low : left;
            if (Fetch && pages.fetch && low + n < high) {
                const int64_t more = high - low - n;
                fetch(block_at(base, pages.table, block + 1), more < size ? more : size, bytes, pages.fetch * kBytes);
            }
            if (Fetch && other && run < pages.other_blocks)
                fetch(block_at(other, pages.other_table, run), 1, 0, size * bytes);
            f(low, block_at(base, pages.table, block++) + offset * bytes, n);
            low += n;
            offset = 0;
        }
    }
};

// The products of M queries with P consecutive rows: sums[m][p], in sixteen lanes and then folded.
template <bool Half, int M, int P>
EV_INLINE void dots(const char* row, int64_t bytes, const float* const* qs, int64_t dim, V8 (&sums)[M][P]) {
    V16 acc[M][P];
    for (int m = 0; m < M; m++)
        for (int j = 0; j < P; j++) acc[m][j] = splat16(0.0f);
    int64_t d = 0;
    for (; d + 16 <= dim; d += 16) {
        V16 k[P];
        for (int j = 0; j < P; j++) k[j] = load16(Cache<Half>::elements(row + j * bytes) + d);
        for (int m = 0; m < M; m++) {
            const V16 q = load16(qs[m] + d);
            for (int j = 0; j < P; j++) acc[m][j] = fma(q, k[j], acc[m][j]);
        }
    }
    if (d < dim)
        for (int j = 0; j < P; j++) {
            const V16 k = widen(load8(Cache<Half>::elements(row + j * bytes) + d));
            for (int m = 0; m < M; m++) acc[m][j] = fma(widen(load(qs[m] + d)), k, acc[m][j]);
        }
    for (int m = 0; m < M; m++)
        for (int j = 0; j < P; j++) sums[m][j] = fold(acc[m][j]);
}

// Scores of M queries against `n` consecutive rows, as many at a time as there are registers for.
template <bool Half, int M>
EV_INLINE void score_run(const char* row, int64_t bytes, int64_t n, const float* const* qs, int64_t dim,
                         float* const* to) {
    constexpr int P = kWide || M == 1 ? 4 : 2;
    int64_t p = 0;
    for (; p + P <= n; p += P, row += P * bytes) {
        V8 sums[M][P];
        dots<Half, M, P>(row, bytes, qs, dim, sums);
        if constexpr (P == 4) {
            for (int m = 0; m < M; m++) store4(to[m] + p, sum4(sums[m][0], sums[m][1], sums[m][2], sums[m][3]));
        } else {
            float four[4];
            store4(four, sum4(sums[0][0], sums[0][1], sums[1][0], sums[1][1]));
            for (int m = 0; m < M; m++) std::memcpy(to[m] + p, four + 2 * m, 8);
        }
    }
    for (; p < n; p++, row += bytes) {
        V8 sums[M][1];
        dots<Half, M, 1>(row, bytes, qs, dim, sums);
        for (int m = 0; m < M; m++) to[m][p] = sum(sums[m][0]);
    }
}

// out[m][d..d + 16 W) += sum of weight times value over positions low..high - 1. W = 0: eight dims.
template <bool Half, int M, int W, bool Fetch>
EV_INLINE void gather_dims(const Cache<Half>& values, int64_t low, int64_t high, const float* const* weights,
                           float* const* outs, int64_t d) {
    constexpr int N = W ? W : 1;
    V16 acc[M][N];
    for (int m = 0; m < M; m++)
        for (int w = 0; w < N; w++) acc[m][w] = W ? load16(outs[m] + d + 16 * w) : widen(load(outs[m] + d));
    const int64_t bytes = values.row_bytes();
    values.template runs<Fetch>(low, high, [&](int64_t p, const char* row, int64_t n) {
        for (int64_t i = 0; i < n; i++, row += bytes) {
            const auto* from = Cache<Half>::elements(row) + d;
            V16 v[N];
            for (int w = 0; w < N; w++) v[w] = W ? load16(from + 16 * w) : widen(load8(from));
            for (int m = 0; m < M; m++) {
                const V16 weight = splat16(weights[m][p + i]);
                for (int w = 0; w < N; w++) acc[m][w] = fma(weight, v[w], acc[m][w]);
            }
        }
    });
    for (int m = 0; m < M; m++)
        for (int w = 0; w < N; w++)
            if constexpr (W != 0)
                store16(outs[m] + d + 16 * w, acc[m][w]);
            else
                store(outs[m] + d, fold(acc[m][w]));
}

template <bool Half, int M>
EV_INLINE void gather(const Cache<Half>& values, int64_t low, int64_t high, const float* const* weights,
                      float* const* outs, int64_t dim) {
    constexpr int W = (kWide ? 8 : 4) / M;  // eight registers of sums, the least that hides how long a sum takes
    if (low >= high) return;
    int64_t d = 0;
    for (; d + 16 * W <= dim; d += 16 * W)
        if (d == 0)
            gather_dims<Half, M, W, true>(values, low, high, weights, outs, d);
        else
            gather_dims<Half, M, W, false>(values, low, high, weights, outs, d);
    for (; d + 16 <= dim; d += 16) gather_dims<Half, M, 1, false>(values, low, high, weights, outs, d);
    if (d < dim) gather_dims<Half, M, 0, false>(values, low, high, weights, outs, d);
}

// Scores to weights: exp(score - largest) over their sum. The padding up to whole eights becomes 0.
EV_INLINE void soften(float* scores, int64_t n) {
    const int64_t room = (n + 7) & ~int64_t{7};
    for (int64_t i = n; i < room; i++) scores[i] = -INFINITY;
    V8 top = splat(-INFINITY), total = splat(0.0f);
    for (int64_t i = 0; i < room; i += 8) top = max(top, load(scores + i));
    const V8 largest_score = splat(largest(top));
    for (int64_t i = 0; i < room; i += 8) {
        const V8 e = exp(load(scores + i) - largest_score);
        store(scores + i, e);
        total = total + e;
    }
    const V8 by = splat(1.0f / sum(total));
    for (int64_t i = 0; i < room; i += 8) store(scores + i, load(scores + i) * by);
}

// Dim: the size of a head where it is a common one, so that the loops over it are unrolled; 0: any.
template <bool Half, int M, int Dim>
static void attend_together(const Pages& pages, const Query* queries, int64_t any_dim, float* scores, int64_t room) {
    const int64_t dim = Dim ? Dim : any_dim;
    const Cache<Half> keys{pages.k, pages.other_k, pages}, values{pages.v, pages.other_v, pages};
    const float* qs[M];
    const float* weights[M];  // indexed by position
    float *rows[M], *outs[M];
    int64_t low = queries[0].low, high = queries[0].high, inner_low = low, inner_high = high;
    for (int m = 0; m < M; m++) {
        const Query& each = queries[m];
        qs[m] = each.q;
        outs[m] = each.out;
        rows[m] = scores + m * room;
        weights[m] = rows[m] - each.low;
        low = each.low < low ? each.low : low;
        high = each.high > high ? each.high : high;
        inner_low = each.low > inner_low ? each.low : inner_low;
        inner_high = each.high < inner_high ? each.high : inner_high;
        std::memset(outs[m], 0, static_cast<size_t>(dim) * 4);
    }
    // Positions that only some of the queries see are scored and summed for those alone, before and after the rest.
    const auto alone = [&](int64_t from, int64_t to, auto f) {
        for (int m = 0; m < M; m++) {
            const int64_t a = queries[m].low > from ? queries[m].low : from, b = queries[m].high < to ? queries[m].high : to;
            if (a < b) f(m, a, b);
        }
    };
    const auto score_alone = [&](int m, int64_t a, int64_t b) {
        keys.template runs<true>(a, b, [&](int64_t p, const char* row, int64_t n) {
            float* to = rows[m] + (p - queries[m].low);
            score_run<Half, 1>(row, keys.row_bytes(), n, &qs[m], dim, &to);
        });
    };
    const auto gather_alone = [&](int m, int64_t a, int64_t b) {
        gather<Half, 1>(values, a, b, &weights[m], &outs[m], dim);
    };
    const bool shared = inner_low < inner_high;
    alone(low, shared ? inner_low : high, score_alone);
    if (shared) {
        keys.template runs<true>(inner_low, inner_high, [&](int64_t p, const char* row, int64_t n) {
            float* to[M];
            for (int m = 0; m < M; m++) to[m] = rows[m] + (p - queries[m].low);
            constexpr int Two = M > 2 ? 2 : M;
            for (int m = 0; m < M; m += Two) score_run<Half, Two>(row, keys.row_bytes(), n, qs + m, dim, to + m);
        });
        alone(inner_high, high, score_alone);
    }
    for (int m = 0; m < M; m++) soften(rows[m], queries[m].high - queries[m].low);
    alone(low, shared ? inner_low : high, gather_alone);
    if (shared) {
        gather<Half, M>(values, inner_low, inner_high, weights, outs, dim);
        alone(inner_high, high, gather_alone);
    }
}

template <bool Half, int Dim>
static void attend_some(const Pages& pages, const Query* queries, int64_t count, int64_t dim, float* scores,
                        int64_t room) {
    if (count == 4) return attend_together<Half, 4, Dim>(pages, queries, dim, scores, room);
    for (int64_t i = 0; i < count; i += 2)
        if (count - i >= 2)
            attend_together<Half, 2, Dim>(pages, queries + i, dim, scores, room);
        else
            attend_together<Half, 1, Dim>(pages, queries + i, dim, scores, room);
}

template <int Dim>
static void attend_with(const Pages& pages, const Query* queries, int64_t count, int64_t dim, float* scores,
                        int64_t room) {
    if (pages.half)
        attend_some<true, Dim>(pages, queries, count, dim, scores, room);
    else
        attend_some<false, Dim>(pages, queries, count, dim, scores, room);
}

static void attend(const Pages& pages, const Query* queries, int64_t count, int64_t dim, float* scores, int64_t room) {
    if (dim == 64)
        attend_with<64>(pages, queries, count, dim, scores, room);
    else if (dim == 128)
        attend_with<128>(pages, queries, count, dim, scores, room);
    else
        attend_with<0>(pages, queries, count, dim, scores, room);
}

}  // namespace EVIDENT_ISA
