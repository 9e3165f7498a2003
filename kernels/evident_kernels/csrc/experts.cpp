#include "experts.h"

#include <algorithm>

int64_t chunk_rows(int threads, int64_t all, int64_t row_bytes, int64_t products) {
    // About what a core reads and multiplies in a nanosecond.
    constexpr int64_t kBytes = 20, kProducts = 100;
    const int64_t a_row = std::max<int64_t>(1, row_bytes / kBytes + products / kProducts);
    const int64_t least = std::max(500 / a_row, all / (Pool::kMostChunks / 2)), most = 50000 / a_row;
    const int64_t n = std::min(std::max(all / (8 * threads), least), most);
    return std::min((std::max<int64_t>(n, 1) + 3) / 4 * 4, kTileRows);
}

void fetch(const Matrix& matrix, int64_t first, int64_t count) {
    const int64_t end = std::min(first + count, matrix.rows) * matrix.row_bytes();
    const int64_t begin = first * matrix.row_bytes(), most = std::min<int64_t>(end, begin + 16384);
    for (int64_t i = begin; i < most; i += 64) __builtin_prefetch(matrix.data + i, 0, 2);
}

int64_t widest_prepared(const Isa& isa, int64_t cols) {
    return std::max({isa.prepared_bytes(EV_F32, cols), isa.prepared_bytes(EV_INT8, cols), isa.prepared_bytes(EV_INT4, cols)});
}

Experts::Experts(const Isa& isa, int threads, Buffers& buffers, int64_t tokens, int64_t active, int64_t widest,
                 int64_t hidden)
    : isa_(isa),
      threads_(threads),
      count_(tokens),
      most_active_(active),
      widest_(widest),
      most_bytes_(widest_prepared(isa, widest)),
      hidden_(hidden) {
    const int64_t pairs = tokens * active;
    inner_ = buffers.inner.at_least(pairs * widest);
    scales_ = buffers.scales.at_least(pairs);
    weights_ = buffers.weights.at_least(pairs);
    prepared_ = buffers.prepared.at_least(pairs * most_bytes_);
    tokens_ = buffers.tokens.at_least(pairs);
    token_pairs_ = buffers.pairs.at_least(pairs);
    ends_ = buffers.ends.at_least(tokens);
    outputs_ = grid_of(buffers.outputs, pairs, hidden);
}

void Experts::clear() {
    groups_.clear();
    pairs_ = 0;
    std::fill_n(ends_, count_, 0);
}

void Experts::add(const Matrix& up, const Matrix& down, int64_t count) {
    groups_.push_back({up, down, pairs_, count, isa_.prepared_bytes(down.kind, down.cols), 0, 0, 0, 0});
    pairs_ += count;
}

void Experts::add_for_all(const Matrix& up, const Matrix& down) {
    for (int64_t t = 0; t < count_; t++) {
        tokens_[pairs_ + t] = static_cast<int32_t>(t);
        weights_[pairs_ + t] = 1.0f;
        token_pairs_[t * most_active_ + ends_[t]++] = static_cast<int32_t>(pairs_ + t);
    }
    add(up, down, count_);
}

int64_t Experts::up_chunks() {
    int64_t all = 0, chunks = 0;
    for (const Group& group : groups_) all += 2 * group.down.cols;
    for (Group& group : groups_) {
        const int64_t both = chunk_rows(threads_, all, group.up.row_bytes(), group.up.cols * group.count);
        group.up_rows = (both / 2 + 3) / 4 * 4;
        group.up_chunk = chunks;
        chunks += (group.down.cols + group.up_rows - 1) / group.up_rows;
    }
    return chunks;
}

int64_t Experts::down_chunks() {
    const int64_t all = hidden_ * static_cast<int64_t>(groups_.size());
    int64_t chunks = 0;
    for (Group& group : groups_) {
        group.down_rows = chunk_rows(threads_, all, group.down.row_bytes(), group.down.cols * group.count);
        group.down_chunk = chunks;
        chunks += (hidden_ + group.down_rows - 1) / group.down_rows;
    }
    return chunks;
}

void Experts::up(int64_t chunk, const Activations& x, float* tile) {
    size_t g = groups_.size() - 1;
    while (chunk < groups_[g].up_chunk) g--;
    const Group& group = groups_[g];
    const int64_t inner = group.down.cols, first = (chunk - group.up_chunk) * group.up_rows;
    const int64_t count = std::min(group.up_rows, inner - first);
    float *gates = tile, *ups = tile + kTileTokens * kTileRows;
    fetch(group.up, inner + first, count);
    for (int64_t t = 0; t < group.count; t += kTileTokens) {
        const int64_t n = std::min(kTileTokens, group.count - t);
        const int32_t* tokens = tokens_ + group.first + t;
        isa_.multiply(group.up, {nullptr, first, count}, x, tokens, n, gates, kTileRows);
        if (t == 0 && first + count < inner) fetch(group.up, first + count, group.up_rows);
        if (t == 0 && first + count == inner && g + 1 < groups_.size()) fetch(groups_[g + 1].up, 0, groups_[g + 1].up_rows);
        isa_.multiply(group.up, {nullptr, inner + first, count}, x, tokens, n, ups, kTileRows);
        for (int64_t i = 0; i < n; i++) {
            isa_.swiglu(gates + i * kTileRows, ups + i * kTileRows, count);
            std::memcpy(inner_ + (group.first + t + i) * widest_ + first, gates + i * kTileRows,
                        static_cast<size_t>(count) * sizeof(float));
        }
    }
}

void Experts::prepare(int64_t pair) {
    const auto after = std::upper_bound(groups_.begin(), groups_.end(), pair,
                                        [](int64_t p, const Group& group) { return p < group.first; });
    const Group& group = *(after - 1);
    isa_.prepare(group.down.kind, inner_ + pair * widest_, group.down.cols,
                 prepared_ + group.first * most_bytes_ + (pair - group.first) * group.stride, scales_ + pair);
}

void Experts::down(int64_t chunk) {
    size_t g = groups_.size() - 1;
    while (chunk < groups_[g].down_chunk) g--;
    const Group& group = groups_[g];
    const int64_t first = (chunk - group.down_chunk) * group.down_rows;
    const int64_t count = std::min(group.down_rows, hidden_ - first);
    if (first + count == hidden_ && g + 1 < groups_.size()) fetch(groups_[g + 1].down, 0, groups_[g + 1].down_rows);
    const Activations x{prepared_ + group.first * most_bytes_, group.stride, scales_ + group.first};
    for (int64_t t = 0; t < group.count; t += kTileTokens) {
        const int64_t n = std::min(kTileTokens, group.count - t);
        const Activations part{x.data + t * x.stride, x.stride, x.scales + t};
        isa_.multiply(group.down, {nullptr, first, count}, part, nullptr, n, outputs_[group.first + t] + first,
                      outputs_.stride);
    }
}

void Experts::combine(int64_t token, float* y) const {
    for (int32_t i = 0; i < ends_[token]; i++) {
        const int32_t pair = token_pairs_[token * most_active_ + i];
        const float weight = weights_[pair];
        const float* output = outputs_[pair];
        for (int64_t r = 0; r < hidden_; r++) y[r] += weight * output[r];
    }
}
