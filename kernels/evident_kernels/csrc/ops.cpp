// Single operations as jobs of one shared pool: a linear, and the chosen experts of a layer.
#include <algorithm>

#include "experts.h"

namespace {

struct Workshop {
    explicit Workshop(int threads) : pool(threads), tiles(static_cast<size_t>(threads)) {
        for (auto& each : tiles) each.at_least(2 * kTileTokens * kTileRows);
    }
    Pool pool;
    std::vector<Buffer<float>> tiles;
    Buffer<uint8_t> prepared;
    Buffer<float> scales;
    Experts::Buffers experts;
};

// Never destroyed: its threads may outlive everything else when the process ends.
Workshop* workshop = nullptr;
std::mutex workshop_mutex;

Workshop& open_workshop(int threads) {
    std::lock_guard<std::mutex> guard(workshop_mutex);
    if (!workshop) workshop = new Workshop(threads);
    return *workshop;
}

class LinearJob : public Job {
   public:
    LinearJob(const Isa& isa, Workshop& shop, const Linear& linear, const float* x, int64_t tokens, float* y)
        : isa_(isa), shop_(shop), linear_(linear), x_(x), tokens_(tokens), y_(y) {
        rows_ = chunk_rows(shop.pool.threads(), linear.rows(), linear.matrix().row_bytes(), linear.cols() * tokens);
        stride_ = isa_.prepared_bytes(linear.kind(), linear.cols());
        prepared_ = shop.prepared.at_least(tokens * stride_);
        scales_ = shop.scales.at_least(tokens);
    }
    int64_t advance(int) override {
        phase_++;
        return phase_ == 1 ? tokens_ : phase_ == 2 ? (linear_.rows() + rows_ - 1) / rows_ : 0;
    }
    void chunk(int64_t index, int thread) override {
        if (phase_ == 1)
            return isa_.prepare(linear_.kind(), x_ + index * linear_.cols(), linear_.cols(), prepared_ + index * stride_,
                                scales_ + index);
        const int64_t first = index * rows_, count = std::min(rows_, linear_.rows() - first);
        multiply_blocks(isa_, linear_.matrix(), {nullptr, first, count}, {prepared_, stride_, scales_}, nullptr, tokens_,
                        shop_.tiles[static_cast<size_t>(thread)].get(), [&](int64_t t, int64_t n, const float* values) {
                            for (int64_t i = 0; i < n; i++)
                                std::memcpy(y_ + (t + i) * linear_.rows() + first, values + i * kTileRows,
                                            static_cast<size_t>(count) * sizeof(float));
                        });
    }

   private:
    const Isa& isa_;
    Workshop& shop_;
    const Linear& linear_;
    const float* x_;
    int64_t tokens_, rows_, stride_;
    float *y_, *scales_;
    uint8_t* prepared_;
    int phase_ = 0;
};

class ExpertsJob : public Job {
   public:
    ExpertsJob(const Isa& isa, Workshop& shop, const Linear& up, const Linear& down, const float* x,
               const int64_t* ids, const float* weights, int64_t tokens, int64_t active, float* y)
        : isa_(isa), shop_(shop), up_(up), x_(x), tokens_(tokens), width_(down.rows()), y_(y),
          experts_(isa_, shop.pool.threads(), shop.experts, tokens, active, down.cols(), down.rows()) {
        stride_ = isa_.prepared_bytes(up.kind(), up.cols());
        prepared_ = shop.prepared.at_least(tokens * stride_);
        scales_ = shop.scales.at_least(tokens);
        experts_.clear();
        experts_.add_chosen(up, down, ids, weights, active);
        std::fill_n(y, tokens * width_, 0.0f);
    }
    int64_t advance(int) override {
        switch (++phase_) {
            case 1: return tokens_;
            case 2: return experts_.up_chunks();
            case 3: return experts_.pairs();
            case 4: return experts_.down_chunks();
            case 5: return tokens_;
            default: return 0;
        }
    }
    void chunk(int64_t index, int thread) override {
        float* tile = shop_.tiles[static_cast<size_t>(thread)].get();
        switch (phase_) {
            case 1:
                return isa_.prepare(up_.kind(), x_ + index * up_.cols(), up_.cols(), prepared_ + index * stride_,
                                    scales_ + index);
            case 2: return experts_.up(index, {prepared_, stride_, scales_}, tile);
            case 3: return experts_.prepare(index);
            case 4: return experts_.down(index);
            default: return experts_.combine(index, y_ + index * width_);
        }
    }

   private:
    const Isa& isa_;
    Workshop& shop_;
    const Linear& up_;
    const float* x_;
    int64_t tokens_, width_, stride_;
    float *y_, *scales_;
    uint8_t* prepared_;
    Experts experts_;
    int phase_ = 0;
};

}  // namespace

extern "C" {

int32_t ev_linear(const EvWeight* weight, const float* x, int64_t tokens, float* y, int32_t threads, const char* isa) {
    const Isa* found = isa ? find_isa(isa) : &best_isa();
    if (!found || tokens == 0) return found != nullptr;
    Workshop& shop = open_workshop(threads);
    const auto claim = shop.pool.claim();
    const Linear linear(*weight, *found, false);
    LinearJob job(*found, shop, linear, x, tokens, y);
    shop.pool.run(job);
    return 1;
}

int32_t ev_experts(const EvWeight* w13, const EvWeight* w2, const float* x, const int64_t* ids, const float* weights,
                   int64_t tokens, int64_t active, float* y, int32_t threads, const char* isa) {
    const Isa* found = isa ? find_isa(isa) : &best_isa();
    if (!found || tokens == 0) return found != nullptr;
    Workshop& shop = open_workshop(threads);
    const auto claim = shop.pool.claim();
    const Linear up(*w13, *found, false), down(*w2, *found, false);
    ExpertsJob job(*found, shop, up, down, x, ids, weights, tokens, active, y);
    shop.pool.run(job);
    return 1;
}
}
