// The attention half of a layer: project, norm and rotate, write the cache, attend, project back.
#include <algorithm>

#include "step.h"

void Step::plan_attention() {
    // Chunks of a prompt's tokens that share what they read; a sequence that gets one token is a chunk.
    constexpr int32_t kTokens = 16;
    int64_t longest = 0;
    for (int32_t s = 0; s < step_.S; s++) {
        longest = std::max<int64_t>(longest, step_.contexts[s]);
        for (int32_t t = step_.starts[s]; t < step_.starts[s + 1]; t += kTokens)
            spans_.push_back({s, t, std::min(t + kTokens, step_.starts[s + 1])});
    }
    // A sequence's heads lie side by side in the cache: where there are sequences enough, one thread reads them all.
    whole_spans_ = T == step_.S && T >= 4 * model_.pool.threads();
    room_ = ((longest + 7) & ~int64_t{7}) + 8;
    for (auto& each : model_.buffers.scores) each.at_least((whole_spans_ ? std::max<int64_t>(4, H) : 4) * room_);
}

void Step::project(int64_t first, int64_t count) {
    const Activations x = prepared(layer_->wq);
    const Linear* parts[3] = {&layer_->wq, &layer_->wk, &layer_->wv};
    for (int64_t begin = 0, i = 0; i < 3; begin += parts[i++]->rows()) {
        const Linear& part = *parts[i];
        const int64_t from = std::max(first, begin), to = std::min(first + count, begin + part.rows());
        if (from >= to) continue;
        isa_.multiply(part.matrix(), {nullptr, from - begin, to - from}, x, nullptr, T, qkv_[0] + from, qkv_.stride);
        if (part.bias())
            for (int64_t t = 0; t < T; t++)
                for (int64_t r = from; r < to; r++) qkv_[t][r] += part.bias()[r - begin];
    }
}

// Norm and rotate a token's heads, scale its queries, and write its keys and values into the cache.
void Step::place(int64_t token, int64_t head, int64_t heads, int64_t kv_head, int64_t kv_heads) {
    const EvLayer& layer = layer_->spec;
    float *q = qkv_[token] + head * K, *k = qkv_[token] + (H + kv_head) * K;
    const float* v = k + G * K;
    if (!layer.full_norm) {
        if (layer.q_norm)
            for (int64_t h = 0; h < heads; h++) isa_.rms_norm(q + h * K, layer.q_norm, K, spec_.eps, q + h * K);
        if (layer.k_norm)
            for (int64_t g = 0; g < kv_heads; g++) isa_.rms_norm(k + g * K, layer.k_norm, K, spec_.eps, k + g * K);
    }
    const int64_t at = static_cast<int64_t>(step_.positions[token]) * spec_.rope_half;
    isa_.rotate(q, heads, K, spec_.rope_half, spec_.cos + at, spec_.sin + at, spec_.interleaved);
    isa_.rotate(k, kv_heads, K, spec_.rope_half, spec_.cos + at, spec_.sin + at, spec_.interleaved);
    for (int64_t i = 0; i < heads * K; i++) q[i] *= spec_.attention_scale;
    const int64_t offset = (static_cast<int64_t>(step_.slots[token]) * G + kv_head) * K;
    const size_t l = static_cast<size_t>(layer_index_);
    isa_.store_cache(k, kv_heads * K, const_cast<void*>(model_.k[l]), offset, model_.half);
    isa_.store_cache(v, kv_heads * K, const_cast<void*>(model_.v[l]), offset, model_.half);
}

void Step::place_all(int64_t token) {
    float* q = qkv_[token];
    const EvLayer& layer = layer_->spec;
    if (layer.full_norm && layer.q_norm) isa_.rms_norm(q, layer.q_norm, H * K, spec_.eps, q);
    if (layer.full_norm && layer.k_norm) isa_.rms_norm(q + H * K, layer.k_norm, G * K, spec_.eps, q + H * K);
    place(token, 0, H, 0, G);
}

Pages Step::pages(const Span& span, int64_t kv_head) const {
    const size_t l = static_cast<size_t>(layer_index_);
    const int64_t offset = kv_head * K * (model_.half ? 2 : 4);
    return {static_cast<const char*>(model_.k[l]) + offset,
            static_cast<const char*>(model_.v[l]) + offset,
            step_.tables + static_cast<int64_t>(span.sequence) * step_.B,
            step_.block_size,
            G * K,
            model_.half};
}

int64_t Step::lowest(int64_t high) const {
    const int64_t window = layer_->spec.window;
    return window ? std::max<int64_t>(0, high - window) : 0;
}

// One key/value head and the query heads that share it, for a span of a sequence's tokens.
void Step::attend(const Span& span, int64_t kv_head, int thread) {
    const Pages from = pages(span, kv_head);
    const int64_t shared = H / G;
    const int64_t queries = (span.end - span.begin) * shared;
    Query some[4];
    for (int64_t i = 0; i < queries; i += 4) {
        const int64_t n = std::min<int64_t>(4, queries - i);
        for (int64_t j = 0; j < n; j++) {
            const int64_t token = span.begin + (i + j) / shared, head = kv_head * shared + (i + j) % shared;
            const int64_t high = step_.positions[token] + int64_t{1};
            some[j] = {qkv_[token] + head * K, attended_[token] + head * K,
                       lowest(high), high};
        }
        isa_.attend(from, some, n, K, model_.buffers.scores[static_cast<size_t>(thread)].get(), room_);
    }
}

// All that the attention does with a sequence's single token.
void Step::attend_whole(size_t index, int thread) {
    const int64_t token = spans_[index].begin, high = step_.positions[token] + int64_t{1};
    const Pages from = pages(spans_[index], 0);
    const void* next = nullptr;
    if (index + 1 < spans_.size()) {
        const Pages then = pages(spans_[index + 1], 0);
        next = static_cast<const char*>(then.k) + then.table[0] * step_.block_size * G * K * (model_.half ? 2 : 4);
    }
    place_all(token);
    isa_.attend_token(from, qkv_[token], attended_[token], H, G, K, lowest(high), high, next,
                      model_.buffers.scores[static_cast<size_t>(thread)].get(), room_);
    prepare(attended_[token], layer_->wo, token);
}

// Everything of one key/value head and the query heads that share it, for all tokens.
void Step::heads(int64_t kv_head, int thread) {
    const int64_t shared = H / G;
    project(kv_head * shared * K, shared * K);
    project((H + kv_head) * K, K);
    project((H + G + kv_head) * K, K);
    for (int64_t t = 0; t < T; t++) place(t, kv_head * shared, shared, kv_head, 1);
    for (const Span& span : spans_) attend(span, kv_head, thread);
}

void Step::output(int64_t first, int64_t count, int thread) {
    const float* bias = layer_->wo.bias();
    multiply_blocks(isa_, layer_->wo.matrix(), {nullptr, first, count}, prepared(layer_->wo), nullptr, T, tile(thread),
                    [&](int64_t t, int64_t n, const float* values) {
                        for (int64_t i = 0; i < n; i++) {
                            float* x = x_[t + i] + first;
                            const float* y = values + i * kTileRows;
                            for (int64_t r = 0; r < count; r++) x[r] += bias ? y[r] + bias[first + r] : y[r];
                        }
                    });
}
