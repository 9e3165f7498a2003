// The order of a step's phases, and how each is cut into chunks.
#include "step.h"

#include <algorithm>

namespace {

// Work that takes one thread less time than it takes two to agree on sharing it, in floats touched.
constexpr int64_t kLittle = 4096;
// Gates up to this many weights are read by each token for itself, right after its norm.
constexpr int64_t kSmallGate = 65536;

}  // namespace

Step::Step(EvModel& model, const EvStep& step)
    : model_(model),
      step_(step),
      spec_(model.spec),
      isa_(model.isa),
      T(step.T),
      D(spec_.hidden),
      H(spec_.heads),
      G(spec_.kv_heads),
      K(spec_.head_dim),
      width_((H + 2 * G) * K),
      experts_(isa_, model.pool.threads(), model.buffers.experts, T, model.most_active, model.widest_inner, D) {
    auto& b = model.buffers;
    const int64_t rows = std::max<int64_t>(T, step.R), widest = std::max(D, H * K);
    x_ = grid_of(b.x, T, D);
    normed_ = grid_of(b.normed, rows, D);
    qkv_ = grid_of(b.qkv, T, width_);
    attended_ = grid_of(b.attended, T, H * K);
    logits_ = b.logits.at_least(T * model.most_experts);
    ids_ = b.ids.at_least(T * model.most_chosen);
    weights_ = b.weights.at_least(T * model.most_chosen);
    prepared_ = b.prepared.at_least(rows * widest_prepared(isa_, widest));
    scales_ = b.scales.at_least(rows);
    for (auto& each : b.tiles) each.at_least(2 * kTileTokens * kTileRows);
    plan_attention();
}

Step::Stage Step::after(Stage stage) const {
    switch (stage) {
        case kEmbed: return spec_.num_layers ? kNormAttention : kNormHead;
        case kNormAttention: {
            // Few tokens: a phase less is worth more than even shares, but not much more.
            const bool whole = G % model_.pool.threads() == 0 && !layer_->spec.full_norm;
            return T <= 8 && whole ? kHeads : kProject;
        }
        case kHeads: return kPrepareOut;
        case kProject: return whole_spans_ ? kWhole : kPlace;
        case kAttend: return kPrepareOut;
        case kWhole: return kOut;
        case kNormMlp: return layer_->spec.num_experts ? (routed_at_once_ ? kUp : kGate) : kUp;
        case kDown: return layer_index_ + 1 < spec_.num_layers ? kNormAttention : kNormHead;
        default: return static_cast<Stage>(stage + 1);
    }
}

void Step::prepare(const float* x, const Linear& linear, int64_t index) {
    const Activations to = prepared(linear);
    isa_.prepare(linear.kind(), x, linear.cols(), prepared_ + index * to.stride, scales_ + index);
}

Activations Step::prepared(const Linear& linear) const {
    return {prepared_, isa_.prepared_bytes(linear.kind(), linear.cols()), scales_};
}

int64_t Step::cut(int64_t rows, const Linear& linear, int64_t tokens) {
    rows_ = chunk_rows(model_.pool.threads(), rows, linear.matrix().row_bytes(), linear.cols() * tokens);
    return (rows + rows_ - 1) / rows_;
}

int64_t Step::prepare_stage(bool& little) {
    const auto tokens = [&](int64_t n, int64_t floats) {
        little = n * floats <= kLittle;
        return n;
    };
    little = false;
    switch (stage_) {
        case kEmbed: return tokens(T, D);
        case kNormAttention: return tokens(T, (2 + model_.most_active) * D);
        case kHeads: return G;
        case kProject: return cut(width_, layer_->wq, T);
        case kPlace: return tokens(T, width_);
        case kAttend: return static_cast<int64_t>(spans_.size()) * G;
        case kWhole: return static_cast<int64_t>(spans_.size());
        case kPrepareOut: return tokens(T, H * K);
        case kOut: return cut(D, layer_->wo, T);
        case kNormMlp:
            routed_at_once_ = layer_->spec.num_experts * D <= kSmallGate;
            return tokens(T, 2 * D + (routed_at_once_ ? layer_->spec.num_experts * D / 8 : 0));
        case kGate:
            return (layer_->spec.num_experts + 7) / 8 * ((T + 31) / 32);
        case kChoose: return tokens(T, 8 * layer_->spec.num_experts);
        case kUp: plan_experts(); return experts_.up_chunks();
        case kPrepareDown: return tokens(experts_.pairs(), model_.widest_inner);
        case kDown: return experts_.down_chunks();
        case kNormHead: return tokens(step_.R, (2 + model_.most_active) * D);
        case kHead: return step_.R ? cut(spec_.vocab, model_.head, step_.R) : 0;
        case kOver: return 0;
    }
    return 0;
}

int64_t Step::advance(int thread) {
    if (begun_) stage_ = after(stage_);
    begun_ = true;
    for (;; stage_ = after(stage_)) {
        if (stage_ == kOver) return 0;
        if (stage_ == kNormAttention) layer_ = &model_.layers[layer_ ? ++layer_index_ : 0];
        bool little = false;
        const int64_t n = prepare_stage(little);
        if (n > 1 && !little) return n;
        for (int64_t i = 0; i < n; i++) chunk(i, thread);
    }
}

void Step::chunk(int64_t index, int thread) {
    const int64_t first = index * rows_;
    const auto count = [&](int64_t all) { return std::min(rows_, all - first); };
    switch (stage_) {
        case kEmbed: return embed(index);
        case kNormAttention: {
            float *x = x_[index], *normed = normed_[index];
            if (layer_index_ > 0) experts_.combine(index, x);
            isa_.rms_norm(x, layer_->spec.attn_norm, D, spec_.eps, normed);
            return prepare(normed, layer_->wq, index);
        }
        case kHeads: return heads(index, thread);
        case kProject: return project(first, count(width_));
        case kPlace: return place_all(index);
        case kAttend: return attend(spans_[static_cast<size_t>(index / G)], index % G, thread);
        case kWhole: return attend_whole(static_cast<size_t>(index), thread);
        case kPrepareOut: return prepare(attended_[index], layer_->wo, index);
        case kOut: return output(first, count(D), thread);
        case kNormMlp: return norm_mlp(index);
        case kGate: return gate(index);
        case kChoose: return choose(index);
        case kUp: return experts_.up(index, prepared(layer_->w13), tile(thread));
        case kPrepareDown: return experts_.prepare(index);
        case kDown: return experts_.down(index);
        case kNormHead: {
            float* normed = normed_[index];
            std::memcpy(normed, x_[step_.rows[index]], static_cast<size_t>(D) * sizeof(float));
            if (layer_) experts_.combine(step_.rows[index], normed);
            isa_.rms_norm(normed, spec_.norm, D, spec_.eps, normed);
            return prepare(normed, model_.head, index);
        }
        case kHead: return head(first, count(spec_.vocab), thread);
        case kOver: return;
    }
}
