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

Experts::Experts(const Isa& isa, int threads, Buffers& buffers, int64_t most_pairs, int64_t widest)
    : isa_(isa), threads_(threads), widest_(widest), most_bytes_(widest_prepared(isa, widest)) {
    inner_ = buffers.inner.at_least(most_pairs * widest);
    scales_ = buffers.scales.at_least(most_pairs);
    weights_ = buffers.weights.at_least(most_pairs);
    prepared_ = buffers.prepared.at_least(most_pairs * most_bytes_);
    tokens_ = buffers.tokens.at_least(most_pairs);
}

void Experts::clear() {
    groups_.clear();
    pairs_ = 0;
}

void Experts::add(const Matrix& up, const Matrix& down, int64_t count) {
    groups_.push_back({up, down, pairs_, count, 0, 0, isa_.prepared_bytes(down.kind, down.cols)});
    pairs_ += count;
}

int64_t Experts::up_chunks() {
    int64_t all = 0, chunks = 0;
    for (const Group& group : groups_) all += 2 * group.down.cols;
    for (Group& group : groups_) {
        const int64_t both = chunk_rows(threads_, all, group.up.row_bytes(), group.up.cols * group.count);
        group.rows = (both / 2 + 3) / 4 * 4;
        group.first_chunk = chunks;
        chunks += (group.down.cols + group.rows - 1) / group.rows;
    }
    return chunks;
}

void Experts::add_for_all(const Matrix& up, const Matrix& down, int64_t tokens) {
    for (int64_t t = 0; t < tokens; t++) {
        tokens_[pairs_ + t] = static_cast<int32_t>(t);
        weights_[pairs_ + t] = 1.0f;
    }
    add(up, down, tokens);
}

int64_t Experts::down_chunks() {
    const int64_t rows = groups_.front().down.rows;
    int64_t bytes = 0, products = 0;
    for (const Group& group : groups_) {
        bytes += group.down.row_bytes();
        products += group.down.cols * group.count;
    }
    down_rows_ = chunk_rows(threads_, rows, bytes, products);
    return (rows + down_rows_ - 1) / down_rows_;
}

void Experts::up(int64_t chunk, const Activations& x, float* tile) {
    size_t g = groups_.size() - 1;
    while (chunk < groups_[g].first_chunk) g--;
    const Group& group = groups_[g];
    const int64_t inner = group.down.cols, first = (chunk - group.first_chunk) * group.rows;
    const int64_t count = std::min(group.rows, inner - first);
    float *gates = tile, *ups = tile + kTileTokens * kTileRows;
    fetch(group.up, inner + first, count);
    for (int64_t t = 0; t < group.count; t += kTileTokens) {
        const int64_t n = std::min(kTileTokens, group.count - t);
        const int32_t* tokens = tokens_ + group.first + t;
        isa_.multiply(group.up, {nullptr, first, count}, x, tokens, n, gates, kTileRows);
        if (t == 0 && first + count < inner) fetch(group.up, first + count, group.rows);
        if (t == 0 && first + count == inner && g + 1 < groups_.size()) fetch(groups_[g + 1].up, 0, groups_[g + 1].rows);
        isa_.multiply(group.up, {nullptr, inner + first, count}, x, tokens, n, ups, kTileRows);
        for (int64_t i = 0; i < n; i++) {
            isa_.swiglu(gates + i * kTileRows, ups + i * kTileRows, count);
            std::memcpy(inner_ + (group.first + t + i) * widest_ + first, gates + i * kTileRows,
                        static_cast<size_t>(count) * sizeof(float));
        }
    }
}

const Experts::Group& Experts::of_pair(int64_t pair) const {
    const auto after = std::upper_bound(groups_.begin(), groups_.end(), pair,
                                        [](int64_t p, const Group& group) { return p < group.first; });
    return *(after - 1);
}

void Experts::prepare(int64_t pair) {
    const Group& group = of_pair(pair);
    isa_.prepare(group.down.kind, inner_ + pair * widest_, group.down.cols,
                 prepared_ + group.first * most_bytes_ + (pair - group.first) * group.stride, scales_ + pair);
}

void Experts::down(int64_t chunk, Grid y, float* tile) {
    const int64_t rows = groups_.front().down.rows, first = chunk * down_rows_, count = std::min(down_rows_, rows - first);
    for (size_t g = 0; g < groups_.size(); g++) {
        const Group& group = groups_[g];
        if (g + 1 < groups_.size()) fetch(groups_[g + 1].down, first, count);
        const Activations x{prepared_ + group.first * most_bytes_, group.stride, scales_ + group.first};
        multiply_blocks(isa_, group.down, {nullptr, first, count}, x, nullptr, group.count, tile,
                        [&](int64_t t, int64_t n, const float* values) {
                            for (int64_t i = 0; i < n; i++) {
                                const int64_t pair = group.first + t + i;
                                const float weight = weights_[pair];
                                float* to = y[tokens_[pair]] + first;
                                for (int64_t r = 0; r < count; r++) to[r] += weight * values[i * kTileRows + r];
                            }
                        });
    }
}
