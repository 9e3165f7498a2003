// What a step begins and ends with: the embedding, and the head under masks of allowed tokens.
#include <algorithm>
#include <limits>

#include "step.h"

void Step::embed(int64_t token) {
    const Matrix& m = model_.embedding.matrix();
    const int64_t id = step_.token_ids[token];
    float* x = x_[token];
    const uint8_t* row = m.data + id * m.row_bytes();
    if (m.kind == EV_F32) {
        std::memcpy(x, row, static_cast<size_t>(D) * sizeof(float));
    } else {
        const float scale = m.scales[id];
        for (int64_t i = 0; i < D; i++) x[i] = static_cast<float>(reinterpret_cast<const int8_t*>(row)[i]) * scale;
    }
}

void Step::head(int64_t first, int64_t count, int thread) {
    constexpr float kForbidden = -std::numeric_limits<float>::infinity();
    const Matrix& matrix = model_.head.matrix();
    const Activations x = prepared(model_.head);
    const int64_t V = spec_.vocab, words = (V + 31) / 32;
    float* logits = step_.logits + first;
    if (!step_.masks)
        return multiply_blocks(isa_, matrix, {nullptr, first, count}, x, nullptr, step_.R, tile(thread),
                               [&](int64_t t, int64_t n, const float* values) {
                                   for (int64_t i = 0; i < n; i++)
                                       std::memcpy(logits + (t + i) * V, values + i * kTileRows,
                                                   static_cast<size_t>(count) * sizeof(float));
                               });
    const auto allowed = [&](int64_t r, int64_t i) {
        return step_.masks[r * words + ((first + i) >> 5)] >> ((first + i) & 31) & 1;
    };
    // Rows of the head that some token of the step allows, and the tokens that allow some of them.
    int32_t list[kTileRows], tokens[kTileTokens];
    for (int64_t begin = 0; begin < step_.R; begin += kTileTokens) {
        const int64_t end = std::min<int64_t>(begin + kTileTokens, step_.R);
        int64_t listed = 0, asking = 0;
        uint8_t wanted[kTileRows] = {};
        for (int64_t r = begin; r < end; r++) {
            bool any = false;
            for (int64_t i = 0; i < count; i++) {
                const bool is = allowed(r, i);
                wanted[i] |= is;
                any |= is;
            }
            if (any)
                tokens[asking++] = static_cast<int32_t>(r);
            else
                std::fill_n(logits + r * V, count, kForbidden);
        }
        for (int64_t i = 0; i < count; i++)
            if (wanted[i]) list[listed++] = static_cast<int32_t>(first + i);
        if (!asking) continue;
        isa_.multiply(matrix, {list, 0, listed}, x, tokens, asking, tile(thread), kTileRows);
        for (int64_t a = 0; a < asking; a++) {
            float* to = logits + tokens[a] * V;
            const float* from = tile(thread) + a * kTileRows;
            for (int64_t i = 0, j = 0; i < count; i++) {
                to[i] = allowed(tokens[a], i) ? from[j] : kForbidden;
                j += wanted[i];
            }
        }
    }
}
