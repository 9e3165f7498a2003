// Which experts a token uses, and with which weights.
#include <cmath>
#include <limits>

#include "model.h"

namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// The index of the largest, the lowest one of equals; it is then struck out. Not a number counts as never.
int64_t take_largest(float* scores, int64_t n) {
    int64_t best = -1;
    for (int64_t i = 0; i < n; i++)
        if (scores[i] > kNever && (best < 0 || scores[i] > scores[best])) best = i;
    if (best >= 0) scores[best] = kNever;
    return best;
}

float score_group(const float* scores, int64_t n, bool top2_sum) {
    float first = kNever, second = kNever;
    for (int64_t i = 0; i < n; i++) {
        if (scores[i] > first) {
            second = first;
            first = scores[i];
        } else if (scores[i] > second) {
            second = scores[i];
        }
    }
    return top2_sum && n > 1 ? first + second : first;
}

}  // namespace

// DeepSeek-V3's order (arXiv:2412.19437, 2.1.2): scores; with the bias, for choosing only; the best groups; the best
// experts of those; their scores without the bias, normalised and scaled.
void choose_experts(const Isa& isa, const EvLayer& layer, float* logits, int32_t* ids, float* weights) {
    constexpr int64_t kMost = 4096;  // evident_kernels.spec.MAX_EXPERTS
    const int64_t experts = layer.num_experts;
    float scores[kMost], choice[kMost];
    if (layer.sigmoid) {
        isa.exponentials(logits, experts, 0.0f, -1.0f, scores);
        for (int64_t e = 0; e < experts; e++) scores[e] = 1.0f / (1.0f + scores[e]);
    } else {
        float top = logits[0], sum = 0.0f;
        for (int64_t e = 1; e < experts; e++) top = logits[e] > top ? logits[e] : top;
        isa.exponentials(logits, experts, top, 1.0f, scores);
        for (int64_t e = 0; e < experts; e++) sum += scores[e];
        for (int64_t e = 0; e < experts; e++) scores[e] /= sum;
    }
    for (int64_t e = 0; e < experts; e++) choice[e] = scores[e] + (layer.expert_bias ? layer.expert_bias[e] : 0.0f);
    if (layer.num_groups > layer.top_k_groups) {
        const int64_t size = experts / layer.num_groups;
        float groups[kMost], kept[kMost];
        for (int64_t g = 0; g < layer.num_groups; g++)
            groups[g] = score_group(choice + g * size, size, layer.top2_sum);
        for (int64_t e = 0; e < experts; e++) kept[e] = kNever;
        for (int32_t i = 0; i < layer.top_k_groups; i++) {
            const int64_t g = take_largest(groups, layer.num_groups);
            if (g >= 0) std::memcpy(kept + g * size, choice + g * size, static_cast<size_t>(size) * sizeof(float));
        }
        std::memcpy(choice, kept, static_cast<size_t>(experts) * sizeof(float));
    }
    float sum = 0.0f;
    for (int32_t i = 0; i < layer.top_k; i++) {
        const int64_t e = take_largest(choice, experts);
        ids[i] = static_cast<int32_t>(e < 0 ? i : e);  // only where the logits are no numbers, as the result will be
        weights[i] = scores[ids[i]];
        sum += weights[i];
    }
    if (layer.normalise)
        for (int32_t i = 0; i < layer.top_k; i++) weights[i] /= sum;
    for (int32_t i = 0; i < layer.top_k; i++) weights[i] *= layer.scaling_factor;
}
