// One step of a model: all layers for all tokens, as a job of phases for the pool.
//
// Shapes: T tokens, R wanted rows, D hidden, H query heads, G key/value heads, K head dim, E experts, A active ones,
// F expert intermediate, V vocabulary.
#pragma once

#include "model.h"

class Step : public Job {
   public:
    Step(EvModel& model, const EvStep& step);
    int64_t advance(int thread) override;
    void chunk(int64_t index, int thread) override;

   private:
    enum Stage {
        kEmbed,
        // A layer. Where there are few tokens, kHeads does the work of the three after it, head by head; where every
        // sequence has one token, and there are enough of them, kWhole does that of kPlace to kPrepareOut.
        kNormAttention, kHeads, kProject, kPlace, kAttend, kWhole, kPrepareOut, kOut,
        kNormMlp, kGate, kChoose, kUp, kPrepareDown, kDown,
        kNormHead, kHead, kOver,
    };
    struct Span {  // of a sequence's tokens, for one chunk of kAttend
        int32_t sequence, begin, end;
    };

    // How many chunks a stage has, and whether it is so little that it is done at once by one thread.
    int64_t prepare_stage(bool& little);
    Stage after(Stage stage) const;
    int64_t cut(int64_t rows, const Linear& linear, int64_t tokens);
    void prepare(const float* x, const Linear& linear, int64_t index);
    // What `prepare` has made for a linear.
    Activations prepared(const Linear& linear) const;
    float* tile(int thread) { return model_.buffers.tiles[static_cast<size_t>(thread)].get(); }

    // step_ends.cpp
    void embed(int64_t token);
    void head(int64_t first, int64_t count, int thread);

    // step_attention.cpp
    void plan_attention();
    void project(int64_t first, int64_t count);
    void place(int64_t token, int64_t head, int64_t heads, int64_t kv_head, int64_t kv_heads);
    void place_all(int64_t token);
    Pages pages(const Span& span, int64_t kv_head) const;
    int64_t lowest(int64_t high) const;
    void attend(const Span& span, int64_t kv_head, int thread);
    void attend_whole(size_t index, int thread);
    void heads(int64_t kv_head, int thread);
    void output(int64_t first, int64_t count, int thread);

    // step_mlp.cpp
    void norm_mlp(int64_t token);
    void gate(int64_t index);
    void choose(int64_t token);
    void plan_experts();

    EvModel& model_;
    const EvStep& step_;
    const EvSpec& spec_;
    const Isa& isa_;
    const int64_t T, D, H, G, K, width_;  // width_: of q, k and v together
    int64_t room_ = 0;                    // floats of one query's scores

    Stage stage_ = kEmbed;
    int32_t layer_index_ = 0;
    const Layer* layer_ = nullptr;
    int64_t rows_ = 0;  // that a chunk takes
    bool begun_ = false, routed_at_once_ = false, whole_spans_ = false;

    Grid x_, normed_, qkv_, attended_;
    float *logits_, *weights_, *scales_;
    uint8_t* prepared_;
    int32_t* ids_;
    std::vector<Span> spans_;
    Experts experts_;
};
