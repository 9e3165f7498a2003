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

// Keys or values of a sequence.
template <bool Half>
struct Cache {
    using Element = std::conditional_t<Half, uint16_t, float>;

    const void* base;
    const Pages& pages;

    EV_INLINE const Element* elements(const char* row) { return reinterpret_cast<const Element*>(row); }
    inline __attribute__((always_inline)) int64_t row_bytes() const {
        return pages.stride * static_cast<int64_t>(sizeof(Element));
    }

    // Calls f(first position, row of it, how many rows follow one another from it), block by block, and meanwhile
    // fetches `bytes` of each row of the block that comes next, or a block's bytes from `last` on where none does.
    template <class F>
    inline __attribute__((always_inline)) void runs(int64_t low, int64_t high, int64_t bytes, const char* last, F f) const {
        const int64_t size = pages.block_size, apart = row_bytes();
        const auto block_at = [&](int64_t block) {
            return static_cast<const char*>(base) + pages.table[block] * size * apart;
        };
        int64_t block = low / size, offset = low % size;
        while (low < high) {
            const int64_t left = size - offset, n = high - low < left ? high - low : left;
            const bool more = low + n < high;
            const char* next = more ? block_at(block + 1) : last;
            if (next)
                for (int64_t r = 0; r < size; r++, next += apart)
                    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(next + i, 0, 2);
            f(low, block_at(block++) + offset * apart, n);
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

// out[m][d..d + 16 W) += sum of weight times value over `n` consecutive rows. W = 0: eight dims.
template <bool Half, int M, int W>
EV_INLINE void gather_dims(const char* row, int64_t bytes, int64_t n, const float* const* weights, float* const* outs,
                           int64_t d) {
    constexpr int N = W ? W : 1;
    V16 acc[M][N];
    for (int m = 0; m < M; m++)
        for (int w = 0; w < N; w++) acc[m][w] = W ? load16(outs[m] + d + 16 * w) : widen(load(outs[m] + d));
    for (int64_t i = 0; i < n; i++, row += bytes) {
        const auto* from = Cache<Half>::elements(row) + d;
        V16 v[N];
        for (int w = 0; w < N; w++) v[w] = W ? load16(from + 16 * w) : widen(load8(from));
        for (int m = 0; m < M; m++) {
            const V16 weight = splat16(weights[m][i]);
            for (int w = 0; w < N; w++) acc[m][w] = fma(weight, v[w], acc[m][w]);
        }
    }
    for (int m = 0; m < M; m++)
        for (int w = 0; w < N; w++)
            if constexpr (W != 0)
                store16(outs[m] + d + 16 * w, acc[m][w]);
            else
                store(outs[m] + d, fold(acc[m][w]));
}

template <bool Half, int M>
EV_INLINE void gather_run(const char* row, int64_t bytes, int64_t n, const float* const* weights, float* const* outs,
                          int64_t dim) {
    constexpr int W = (kWide ? 8 : 4) / M;  // eight registers of sums, the least that hides how long a sum takes
    int64_t d = 0;
    for (; d + 16 * W <= dim; d += 16 * W) gather_dims<Half, M, W>(row, bytes, n, weights, outs, d);
    for (; d + 16 <= dim; d += 16) gather_dims<Half, M, 1>(row, bytes, n, weights, outs, d);
    if (d < dim) gather_dims<Half, M, 0>(row, bytes, n, weights, outs, d);
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

template <bool Half, int M>
static void attend_together(const Pages& pages, const Query* queries, int64_t dim, float* scores, int64_t room) {
    const Cache<Half> keys{pages.k, pages}, values{pages.v, pages};
    const int64_t bytes = keys.row_bytes(), head_bytes = dim * (Half ? 2 : 4);
    const float* qs[M];
    float *rows[M], *outs[M];
    int64_t low = queries[0].low, high = queries[0].high, inner_low = low, inner_high = high;
    for (int m = 0; m < M; m++) {
        const Query& each = queries[m];
        qs[m] = each.q;
        outs[m] = each.out;
        rows[m] = scores + m * room;
        low = each.low < low ? each.low : low;
        high = each.high > high ? each.high : high;
        inner_low = each.low > inner_low ? each.low : inner_low;
        inner_high = each.high < inner_high ? each.high : inner_high;
        std::memset(outs[m], 0, static_cast<size_t>(dim) * 4);
    }
    // Positions that only some of the queries see are scored and summed for those alone, before and after the rest.
    const bool shared = inner_low < inner_high;
    const auto alone = [&](int64_t from, int64_t to, const Cache<Half>& cache, auto f) {
        for (int m = 0; m < M; m++) {
            const Query& each = queries[m];
            cache.runs(each.low > from ? each.low : from, each.high < to ? each.high : to, head_bytes, nullptr,
                       [&](int64_t p, const char* row, int64_t n) { f(m, row, n, rows[m] + (p - each.low)); });
        }
    };
    const auto in_three = [&](const Cache<Half>& cache, auto one, auto all) {
        alone(low, shared ? inner_low : high, cache, one);
        if (!shared) return;
        cache.runs(inner_low, inner_high, head_bytes, nullptr, [&](int64_t p, const char* row, int64_t n) {
            float* at[M];
            for (int m = 0; m < M; m++) at[m] = rows[m] + (p - queries[m].low);
            all(row, n, at);
        });
        alone(inner_high, high, cache, one);
    };
    in_three(
        keys,
        [&](int m, const char* row, int64_t n, float* at) { score_run<Half, 1>(row, bytes, n, &qs[m], dim, &at); },
        [&](const char* row, int64_t n, float* const* at) {
            constexpr int Two = M > 2 ? 2 : M;
            for (int m = 0; m < M; m += Two) score_run<Half, Two>(row, bytes, n, qs + m, dim, at + m);
        });
    for (int m = 0; m < M; m++) soften(rows[m], queries[m].high - queries[m].low);
    in_three(
        values,
        [&](int m, const char* row, int64_t n, float* at) { gather_run<Half, 1>(row, bytes, n, &at, &outs[m], dim); },
        [&](const char* row, int64_t n, float* const* at) { gather_run<Half, M>(row, bytes, n, at, outs, dim); });
}

template <bool Half>
static void attend_some(const Pages& pages, const Query* queries, int64_t count, int64_t dim, float* scores,
                        int64_t room) {
    if (count == 4) return attend_together<Half, 4>(pages, queries, dim, scores, room);
    for (int64_t i = 0; i < count; i += 2)
        if (count - i >= 2)
            attend_together<Half, 2>(pages, queries + i, dim, scores, room);
        else
            attend_together<Half, 1>(pages, queries + i, dim, scores, room);
}

static void attend(const Pages& pages, const Query* queries, int64_t count, int64_t dim, float* scores, int64_t room) {
    if (pages.half)
        attend_some<true>(pages, queries, count, dim, scores, room);
    else
        attend_some<false>(pages, queries, count, dim, scores, room);
}

// Calls f(width, head) for the query heads that share key/value head g: two at a time, and a last one alone.
template <class F>
EV_INLINE void by_twos(int64_t g, int64_t shared, F f) {
    int64_t m = 0;
    for (; m + 2 <= shared; m += 2) f(std::integral_constant<int, 2>(), g * shared + m);
    if (m < shared) f(std::integral_constant<int, 1>(), g * shared + m);
}

// Block by block, all heads: the cache is read from end to end, as it lies.
template <bool Half>
static void attend_heads(const Pages& pages, const float* q, float* out, int64_t heads, int64_t kv_heads, int64_t dim,
                         int64_t low, int64_t high, const void* next, float* scores, int64_t room) {
    const Cache<Half> keys{pages.k, pages}, values{pages.v, pages};
    const int64_t bytes = keys.row_bytes(), head_bytes = dim * (Half ? 2 : 4), shared = heads / kv_heads;
    const char* first_value =
        static_cast<const char*>(pages.v) + pages.table[low / pages.block_size] * pages.block_size * bytes;
    keys.runs(low, high, bytes, first_value, [&](int64_t p, const char* row, int64_t n) {
        for (int64_t g = 0; g < kv_heads; g++)
            by_twos(g, shared, [&](auto width, int64_t h) {
                constexpr int M = decltype(width)::value;
                const float* qs[M];
                float* to[M];
                for (int m = 0; m < M; m++) {
                    qs[m] = q + (h + m) * dim;
                    to[m] = scores + (h + m) * room + (p - low);
                }
                score_run<Half, M>(row + g * head_bytes, bytes, n, qs, dim, to);
            });
    });
    for (int64_t h = 0; h < heads; h++) soften(scores + h * room, high - low);
    std::memset(out, 0, static_cast<size_t>(heads * dim) * 4);
    values.runs(low, high, bytes, static_cast<const char*>(next), [&](int64_t p, const char* row, int64_t n) {
        for (int64_t g = 0; g < kv_heads; g++)
            by_twos(g, shared, [&](auto width, int64_t h) {
                constexpr int M = decltype(width)::value;
                const float* weights[M];
                float* outs[M];
                for (int m = 0; m < M; m++) {
                    weights[m] = scores + (h + m) * room + (p - low);
                    outs[m] = out + (h + m) * dim;
                }
                gather_run<Half, M>(row + g * head_bytes, bytes, n, weights, outs, dim);
            });
    });
}

static void attend_token(const Pages& pages, const float* q, float* out, int64_t heads, int64_t kv_heads, int64_t dim,
                         int64_t low, int64_t high, const void* next, float* scores, int64_t room) {
    if (pages.half)
        attend_heads<true>(pages, q, out, heads, kv_heads, dim, low, high, next, scores, room);
    else
        attend_heads<false>(pages, q, out, heads, kv_heads, dim, low, high, next, scores, room);
}

}  // namespace EVIDENT_ISA
