// The MLP half of a layer: norm, route, and the experts; a dense MLP is one expert that every token uses.
#include <algorithm>

#include "step.h"

void Step::norm_mlp(int64_t token) {
    float* normed = normed_[token];
    isa_.rms_norm(x_[token], layer_->spec.mlp_norm, D, spec_.eps, normed);
    prepare(normed, layer_->w13, token);
    const int64_t experts = layer_->spec.num_experts;
    if (experts && routed_at_once_) {
        const Activations x{reinterpret_cast<const uint8_t*>(normed), normed_.stride * 4, nullptr};
        isa_.multiply(layer_->gate.matrix(), {nullptr, 0, experts}, x, nullptr, 1, logits_ + token * experts, experts);
        choose(token);
    }
}

// The gate's logits of up to 8 experts for up to 32 tokens.
void Step::gate(int64_t index) {
    const int64_t experts = layer_->spec.num_experts, blocks = (experts + 7) / 8;
    const int64_t first = index % blocks * 8, token = index / blocks * 32;
    const Activations x{reinterpret_cast<const uint8_t*>(normed_[token]), normed_.stride * 4, nullptr};
    isa_.multiply(layer_->gate.matrix(), {nullptr, first, std::min<int64_t>(8, experts - first)}, x, nullptr,
                  std::min<int64_t>(32, T - token), logits_ + token * experts + first, experts);
}

void Step::choose(int64_t token) {
    const int64_t active = layer_->spec.top_k;
    choose_experts(isa_, layer_->spec, logits_ + token * layer_->spec.num_experts, ids_ + token * active,
                   weights_ + token * active);
}

void Step::plan_experts() {
    experts_.clear();
    if (!layer_->spec.num_experts) return experts_.add_for_all(layer_->w13.matrix(), layer_->w2.matrix());
    experts_.add_chosen(layer_->w13, layer_->w2, ids_, weights_, layer_->spec.top_k);
    if (layer_->shared13) experts_.add_for_all(layer_->shared13.matrix(), layer_->shared2.matrix());
}
