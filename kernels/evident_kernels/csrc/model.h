// A model as the step runs it, and the cache that is bound.
#pragma once

#include "experts.h"
#include "linear.h"

struct Layer {
    EvLayer spec;
    Linear wq, wk, wv, wo, w13, w2, shared13, shared2, gate;
};

struct EvModel {
    EvModel(const EvSpec& spec, int threads, const Isa& isa);

    const Isa& isa;
    EvSpec spec;
    std::vector<Layer> layers;
    Linear embedding, head;
    std::vector<const void*> k, v;
    int64_t slots = 0;
    int32_t half = 0;
    int64_t most_experts = 0, most_chosen = 0, most_active = 1, widest_inner = 0;
    Pool pool;

    struct Buffers {
        Buffer<float> x, normed, qkv, attended, logits, weights, scales;
        Buffer<uint8_t> prepared;
        Buffer<int32_t> ids;
        Experts::Buffers experts;
        std::vector<Buffer<float>> tiles, scores;  // one a thread
    } buffers;
};

// Which experts a token uses, of its gate's logits [E].
void choose_experts(const Isa& isa, const EvLayer& layer, float* logits, int32_t* ids, float* weights);
