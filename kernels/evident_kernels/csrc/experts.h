// SwiGLU experts over tokens that were sorted by expert: what a layer of a step and the single operation share.
//
// Shapes: T tokens, A experts of a token, E experts, D hidden, F intermediate. A pair is one token at one expert.
#pragma once

#include "linear.h"

// Tokens that a tile buffer holds at once, and rows.
constexpr int64_t kTileTokens = 64, kTileRows = 128;

// How many rows a chunk takes, of `all` that a phase has, each with so many bytes and products: an eighth of a thread's
// share, but no less than half a microsecond's work and no more than fifty's. A multiple of four.
int64_t chunk_rows(int threads, int64_t all, int64_t row_bytes, int64_t products);

// Ask for rows that are needed next: the processor foresees the next rows of a matrix, but not of another one.
void fetch(const Matrix& matrix, int64_t first, int64_t count);

// Bytes that one token of `cols` values takes at most, whatever the kind of weight.
int64_t widest_prepared(const Isa& isa, int64_t cols);

// Rows of a matrix times tokens, by blocks of tokens few enough to stay in the first-level cache while the rows go by:
// out(first token, tokens, tile) with tile[t * kTileRows + r].
template <class Out>
void multiply_blocks(const Isa& isa, const Matrix& matrix, Rows rows, const Activations& x, const int32_t* tokens,
                     int64_t count, float* tile, Out out) {
    int64_t block = (24576 / x.stride) & ~int64_t{3};
    block = block < 8 ? 8 : block > kTileTokens ? kTileTokens : block;
    Activations part = x;
    for (int64_t t = 0; t < count; t += block) {
        const int64_t n = count - t < block ? count - t : block;
        if (!tokens) {
            part.data = x.data + t * x.stride;
            part.scales = x.scales + t;
        }
        isa.multiply(matrix, rows, part, tokens ? tokens + t : nullptr, n, tile, kTileRows);
        out(t, n, tile);
    }
}

class Experts {
   public:
    struct Buffers {
        Buffer<float> inner, scales, weights, outputs;
        Buffer<uint8_t> prepared;
        Buffer<int32_t> tokens, pairs, ends;
    };

    // T tokens, each at most with `active` experts of at most `widest` F; D.
    Experts(const Isa& isa, int threads, Buffers& buffers, int64_t tokens, int64_t active, int64_t widest, int64_t hidden);

    void clear();
    // An expert that all tokens use, with weight 1.
    void add_for_all(const Matrix& up, const Matrix& down);
    // The chosen experts of the tokens: ids and weights [T, A].
    template <class Id>
    void add_chosen(const Linear& up, const Linear& down, const Id* ids, const float* weights, int64_t active);

    int64_t pairs() const { return pairs_; }
    int64_t up_chunks();
    int64_t down_chunks();

    // silu(gate) * up for some rows of one expert. tile: 2 * kTileTokens * kTileRows floats.
    void up(int64_t chunk, const Activations& x, float* tile);
    void prepare(int64_t pair);
    // Some rows of one expert's down projection.
    void down(int64_t chunk);
    // y += weight * output for each of a token's experts: those that were chosen in the order of their ids, whichever
    // tokens are there besides, and then the ones for all.
    void combine(int64_t token, float* y) const;

   private:
    struct Group {
        Matrix up, down;
        int64_t first, count, stride;        // pairs, and bytes of a prepared one
        int64_t up_chunk, up_rows;           // its first chunk, and the rows that each takes
        int64_t down_chunk, down_rows;
    };
    void add(const Matrix& up, const Matrix& down, int64_t count);

    const Isa& isa_;
    const int threads_;
    const int64_t count_, most_active_, widest_, most_bytes_, hidden_;
    float *inner_, *scales_, *weights_;
    uint8_t* prepared_;
    int32_t *tokens_, *token_pairs_, *ends_;  // of each pair; [T, most active] and how many of them there are
    Grid outputs_;
    std::vector<Group> groups_;
    std::vector<int64_t> next_;
    int64_t pairs_ = 0;
};

template <class Id>
void Experts::add_chosen(const Linear& up, const Linear& down, const Id* ids, const float* weights, int64_t active) {
    const int64_t begin = pairs_, chosen = count_ * active;
    next_.assign(static_cast<size_t>(up.count()) + 1, 0);
    for (int64_t i = 0; i < chosen; i++) next_[static_cast<size_t>(ids[i]) + 1]++;
    for (int64_t e = 0, at = begin; e < up.count(); e++) {
        const int64_t count = next_[static_cast<size_t>(e) + 1];
        if (count) add(up.expert(e), down.expert(e), count);
        next_[static_cast<size_t>(e)] = at;
        at += count;
    }
    for (int64_t i = 0; i < chosen; i++) {
        const int64_t pair = next_[static_cast<size_t>(ids[i])]++;
        tokens_[pair] = static_cast<int32_t>(i / active);
        weights_[pair] = weights[i];
    }
    for (int64_t pair = begin; pair < pairs_; pair++) {
        const int64_t token = tokens_[pair];
        token_pairs_[token * most_active_ + ends_[token]++] = static_cast<int32_t>(pair);
    }
}
