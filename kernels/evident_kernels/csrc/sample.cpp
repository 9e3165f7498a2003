// Drawing one token. Tokens are ranked by logit, of equal ones the lower id first; what top_k and top_p keep is always a
// beginning of that ranking, so a pair (logit, id) describes it, and nothing has to be sorted whole.
#include <algorithm>
#include <cmath>
#include <limits>

#include "linear.h"

namespace {

struct Ranked {
    float logit, weight;  // weight: exp((logit - largest) / temperature)
    int32_t id;

    bool operator<(const Ranked& other) const { return logit != other.logit ? logit > other.logit : id < other.id; }
};

// The first `k` of the ranking, in no order.
void take_first(const float* logits, const float* weights, int64_t vocab, int64_t k, std::vector<Ranked>& kept) {
    kept.clear();
    for (int64_t i = 0; i < vocab; i++) {
        if (!(weights[i] > 0.0f)) continue;
        const Ranked each{logits[i], weights[i], static_cast<int32_t>(i)};
        if (static_cast<int64_t>(kept.size()) < k) {
            kept.push_back(each);
            std::push_heap(kept.begin(), kept.end());
        } else if (each < kept.front()) {
            std::pop_heap(kept.begin(), kept.end());
            kept.back() = each;
            std::push_heap(kept.begin(), kept.end());
        }
    }
}

double total_of(const std::vector<Ranked>& some) {
    double total = 0.0;
    for (const Ranked& each : some) total += each.weight;
    return total;
}

// The shortest beginning of the ranking that weighs at least `target`, in no order: halves of the undecided part are
// taken whole or looked into, so that each element is touched about twice.
void take_weight(std::vector<Ranked>& some, double target) {
    auto begin = some.begin(), end = some.end();
    double before = 0.0;
    while (end - begin > 16) {
        const auto middle = begin + (end - begin) / 2;
        std::nth_element(begin, middle, end);
        double upper = 0.0;
        for (auto each = begin; each != middle; each++) upper += each->weight;
        if (before + upper >= target) {
            end = middle;
        } else {
            before += upper;
            begin = middle;
        }
    }
    std::sort(begin, end);
    while (begin != end && before < target) before += (begin++)->weight;
    some.erase(begin, some.end());
}

int32_t draw(const std::vector<Ranked>& some, double u) {
    const double target = u * total_of(some);
    double sum = 0.0;
    int32_t last = -1;
    for (const Ranked& each : some) {
        sum += each.weight;
        last = each.id;
        if (sum > target) break;
    }
    return last;
}

int32_t find_largest(const float* logits, int64_t vocab) {
    constexpr int kLanes = 16;
    float tops[kLanes];
    std::fill_n(tops, kLanes, -std::numeric_limits<float>::infinity());
    int64_t i = 0;
    for (; i + kLanes <= vocab; i += kLanes)
        for (int j = 0; j < kLanes; j++) tops[j] = logits[i + j] > tops[j] ? logits[i + j] : tops[j];
    for (; i < vocab; i++) tops[0] = logits[i] > tops[0] ? logits[i] : tops[0];
    const float top = *std::max_element(tops, tops + kLanes);
    if (top == -std::numeric_limits<float>::infinity()) return -1;
    return static_cast<int32_t>(std::find(logits, logits + vocab, top) - logits);
}

}  // namespace

extern "C" int32_t ev_sample(const float* logits, int64_t vocab, double u, float temperature, int64_t top_k,
                             double top_p, double min_p) {
    static thread_local std::vector<float> weights;
    static thread_local std::vector<Ranked> kept;
    const int32_t best = find_largest(logits, vocab);
    if (best < 0 || temperature == 0.0f || std::isinf(logits[best])) return best;
    weights.resize(static_cast<size_t>(vocab));
    best_isa().exponentials(logits, vocab, logits[best], 1.0f / temperature, weights.data());
    const float least = static_cast<float>(min_p);  // the largest weight is 1
    if (top_k > 0 && top_k < vocab) {
        take_first(logits, weights.data(), vocab, top_k, kept);
    } else if (top_p < 1.0) {
        double total = 0.0;
        for (const float each : weights) total += each;
        // All tokens lighter than this weigh less than what top_p leaves out.
        const double light = (1.0 - top_p) * total / static_cast<double>(vocab) * (1.0 - 1e-9);
        kept.clear();
        for (int64_t i = 0; i < vocab; i++)
            if (weights[i] > 0.0f && weights[i] >= light) kept.push_back({logits[i], weights[i], static_cast<int32_t>(i)});
        take_weight(kept, top_p * total);
    } else {
        double total = 0.0;
        for (float& each : weights) {
            each = each >= least ? each : 0.0f;
            total += each;
        }
        const double target = u * total;
        double sum = 0.0;
        int32_t last = best;
        for (int64_t i = 0; i < vocab && sum <= target; i++)
            if (weights[i] > 0.0f) {
                sum += weights[i];
                last = static_cast<int32_t>(i);
            }
        return last;
    }
    if (top_k > 0 && top_k < vocab && top_p < 1.0) take_weight(kept, top_p * total_of(kept));
    kept.erase(std::remove_if(kept.begin(), kept.end(), [&](const Ranked& each) { return each.weight < least; }), kept.end());
    std::sort(kept.begin(), kept.end(), [](const Ranked& a, const Ranked& b) { return a.id < b.id; });
    return draw(kept, u);
}
