// What each instruction set provides: one table of functions, chosen when a model is made.
#pragma once

#include <cstdint>

#include "evident.h"

// One linear, or one expert of a stack.
struct Matrix {
    const uint8_t* data;
    const float* scales;
    const int32_t* sums;  // of each row's int8 values, where the instruction set asks for them
    int64_t rows, cols;
    int32_t kind, group;

    // Always inlined: a copy compiled for one instruction set must never be linked for another.
    __attribute__((always_inline)) inline int64_t row_bytes() const {
        return kind == EV_F32 ? cols * 4 : kind == EV_INT8 ? cols : cols / 2;
    }
    __attribute__((always_inline)) inline int64_t groups() const { return kind == EV_INT4 ? cols / group : 1; }
};

// Activations of several tokens in the form that `prepare` gives them for one kind of weight.
struct Activations {
    const uint8_t* data;
    int64_t stride;       // bytes from one token to the next
    const float* scales;  // [tokens]; not used for float32 weights
};

// Rows list[0..count) of a matrix, or first..first + count where there is no list.
struct Rows {
    const int32_t* list;
    int64_t first, count;
};

// A sequence's keys and values in the paged cache.
struct Pages {
    const void *k, *v;  // [slots, G, K], already at the wanted head
    const int32_t* table;
    int64_t block_size, stride;  // elements from one slot to the next
    int32_t half;
};

// One query head of one token: it sees positions low..high - 1.
struct Query {
    const float* q;
    float* out;
    int64_t low, high;
};

struct Isa {
    const char* name;
    bool wants_sums;

    // Bytes of one prepared token of `cols` values.
    int64_t (*prepared_bytes)(int32_t kind, int64_t cols);
    // Quantise (or, for float32 weights, copy) a token's values.
    void (*prepare)(int32_t kind, const float* x, int64_t cols, uint8_t* out, float* scale);
    // out[t * ld + r] = row r of the matrix times token t. tokens: which of the activations, null: the first `count`.
    void (*multiply)(const Matrix& matrix, Rows rows, const Activations& x, const int32_t* tokens, int64_t count,
                     float* out, int64_t ld);
    void (*rms_norm)(const float* x, const float* weight, int64_t n, float eps, float* out);
    // gate[i] = silu(gate[i]) * up[i]
    void (*swiglu)(float* gate, const float* up, int64_t n);
    // Rotate `heads` heads of `dim` by one position's cos and sin [half].
    void (*rotate)(float* x, int64_t heads, int64_t dim, int64_t half, const float* cos, const float* sin,
                   bool interleaved);
    void (*store_cache)(const float* x, int64_t n, void* out, int64_t offset, int32_t half);
    // At most four queries that share a key/value head; scores: 4 * room floats, room >= high - low and whole eights.
    void (*attend)(const Pages& pages, const Query* queries, int64_t count, int64_t dim, float* scores, int64_t room);
    // All heads of one token, [H, K] from q to out. next: keys that are wanted after it, or null; scores: H * room floats.
    void (*attend_token)(const Pages& pages, const float* q, float* out, int64_t heads, int64_t kv_heads, int64_t dim,
                         int64_t low, int64_t high, const void* next, float* scores, int64_t room);
    // The largest of n floats, those that are no numbers left out; -inf where none is left.
    float (*largest_of)(const float* x, int64_t n);
    // out[i] = exp((x[i] - top) * factor)
    void (*exponentials)(const float* x, int64_t n, float top, float factor, float* out);
};

const Isa* isa_plain();
const Isa* isa_avx2();        // null where the library has no code for it
const Isa* isa_avx512vnni();  // null where the library has no code for it
