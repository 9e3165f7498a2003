// What crosses the border to Python (evident_kernels/abi.py mirrors these structs field by field).
//
// Shapes: T tokens of a step, S sequences, B blocks of a table, R rows whose logits are wanted, D hidden, V vocabulary,
// H query heads, G key/value heads, K head dim, E experts, F expert intermediate, O/I outputs and inputs of a linear.
#pragma once

#include <cstdint>

#pragma GCC visibility push(default)
extern "C" {

enum EvKind : int32_t { EV_F32 = 0, EV_INT8 = 1, EV_INT4 = 2 };

// A linear [rows, cols], or `count` of them one after the other (stacked experts).
struct EvWeight {
    const void* data;     // null: there is no such weight
    const float* scales;  // int8 [rows]; int4 [rows, cols / group]
    const float* bias;    // [rows] or null
    int64_t count, rows, cols;
    int32_t kind, group;
};

struct EvLayer {
    const float *attn_norm, *mlp_norm;  // [D]
    const float *q_norm, *k_norm;       // null, [K], or the full width
    const float *gate, *expert_bias;    // [E, D]; [E] or null
    EvWeight wq, wk, wv, wo;
    EvWeight w13, w2;                   // [E, 2F, D], [E, D, F]; dense: count 1
    EvWeight shared13, shared2;         // of the expert that every token uses
    int32_t full_norm;                  // q_norm and k_norm span the full width
    int32_t window;                     // 0: none
    int32_t num_experts;                // 0: a dense MLP
    int32_t top_k, sigmoid, normalise, num_groups, top_k_groups, top2_sum;
    float scaling_factor;
};

struct EvSpec {
    const EvLayer* layers;
    EvWeight embedding, head;
    const float *norm, *cos, *sin;      // [D]; [max_positions, rope_half]
    int32_t num_layers, vocab, hidden, heads, kv_heads, head_dim, rope_half, max_positions, interleaved;
    float eps, attention_scale;
};

struct EvStep {
    const int32_t *token_ids, *positions, *slots;  // [T]
    const int32_t *starts, *contexts;              // [S + 1], [S]
    const int32_t* tables;                         // [S, B]
    const int32_t* rows;                           // [R]
    const uint32_t* masks;                         // [R, ceil(V / 32)] or null
    float* logits;                                 // [R, V]
    int32_t T, S, B, R, block_size;
    char error[200];                               // a sentence, where ev_run gives -1
};

struct EvModel;

// Sizes of the structs above as this library was compiled, to compare with Python's.
int64_t ev_struct_size(int32_t which);
// 1 where the library has code for the instruction set ("avx512vnni", "avx2", "plain") and this machine can run it.
int32_t ev_isa_available(const char* isa);

EvModel* ev_create(const EvSpec* spec, int32_t threads, const char* isa);
void ev_destroy(EvModel* model);
// k, v: one pointer a layer, [slots, G, K] each; half: float16 instead of float32.
void ev_bind(EvModel* model, const void* const* k, const void* const* v, int64_t slots, int32_t half);
int32_t ev_run(EvModel* model, EvStep* step);

int32_t ev_sample(const float* logits, int64_t vocab, double u, float temperature, int64_t top_k, double top_p,
                  double min_p);

// Single operations, for models that a whole step does not cover. x [T, I]; y [T, O]. isa: null is the best one; threads
// counts on the first call. 0 where the machine cannot run that instruction set.
int32_t ev_linear(const EvWeight* weight, const float* x, int64_t tokens, float* y, int32_t threads, const char* isa);
// ids, weights [T, A]; w13 [E, 2F, D]; w2 [E, D, F]; y [T, D].
int32_t ev_experts(const EvWeight* w13, const EvWeight* w2, const float* x, const int64_t* ids, const float* weights,
                   int64_t tokens, int64_t active, float* y, int32_t threads, const char* isa);
}
#pragma GCC visibility pop
