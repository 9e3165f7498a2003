// Drawing one token. Tokens are ranked by logit, of equal ones the lower id first; what top_k and top_p keep is always a
// beginning of that ranking, so nothing has to be sorted whole.
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

// Either how many there are of some, or what they weigh.
struct Measure {
    bool count;
    double operator()(const Ranked& each) const { return count ? 1.0 : each.weight; }
};

double total_of(const std::vector<Ranked>& some, Measure measure) {
    double total = 0.0;
    for (const Ranked& each : some) total += measure(each);
    return total;
}

// Which of some thousand steps downwards from the largest logit a logit is on; the distance's leading bits.
constexpr size_t kSteps = 0x7f80;
size_t step_of(float logit, float largest) {
    const float distance = largest - logit;
    uint32_t bits;
    std::memcpy(&bits, &distance, sizeof bits);
    return std::min<size_t>(bits >> 16, kSteps - 1);
}

// Keep the shortest beginning of the ranking that measures at least `target`, in no order. Many are first parted by the
// steps they are on; of the step that is parted itself, halves are taken whole or looked into.
void keep_beginning(std::vector<Ranked>& some, float largest, Measure measure, double target) {
    auto begin = some.begin(), end = some.end();
    double before = 0.0;
    if (some.size() > 512) {
        static thread_local std::vector<double> steps;
        steps.assign(kSteps, 0.0);
        for (const Ranked& each : some) steps[step_of(each.logit, largest)] += measure(each);
        size_t last = 0;
        while (last + 1 < kSteps && before + steps[last] < target) before += steps[last++];
        begin = std::partition(begin, end, [&](const Ranked& each) { return step_of(each.logit, largest) < last; });
        end = std::partition(begin, end, [&](const Ranked& each) { return step_of(each.logit, largest) == last; });
    }
    while (end - begin > 16) {
        const auto middle = begin + (end - begin) / 2;
        std::nth_element(begin, middle, end);
        double upper = 0.0;
        for (auto each = begin; each != middle; each++) upper += measure(*each);
        if (before + upper >= target) {
            end = middle;
        } else {
            before += upper;
            begin = middle;
        }
    }
    std::sort(begin, end);
    while (begin != end && before < target) before += measure(*begin++);
    some.erase(begin, some.end());
}

// Draw from weights laid out in the order of their ids: the first whose sum with those before it exceeds u of the whole.
int32_t draw(const std::vector<float>& weights, double u) {
    constexpr size_t kBlock = 512;
    static thread_local std::vector<double> blocks;
    blocks.clear();
    double total = 0.0;
    for (size_t i = 0; i < weights.size(); i += kBlock) {
        double sums[4] = {};  // four, as each waits for its last sum
        for (size_t j = i; j < std::min(i + kBlock, weights.size()); j++) sums[j % 4] += weights[j];
        blocks.push_back((sums[0] + sums[1]) + (sums[2] + sums[3]));
        total += blocks.back();
    }
    const double target = u * total;
    double sum = 0.0;
    size_t block = 0;
    while (block + 1 < blocks.size() && sum + blocks[block] <= target) sum += blocks[block++];
    int32_t last = -1;
    for (size_t i = block * kBlock; i < weights.size() && sum <= target; i++)
        if (weights[i] > 0.0f) {
            sum += weights[i];
            last = static_cast<int32_t>(i);
        }
    if (last >= 0) return last;
    // Rounding has carried the target past the end: the last token there is.
    for (size_t i = weights.size(); i-- > 0;)
        if (weights[i] > 0.0f) return static_cast<int32_t>(i);
    return -1;
}

int32_t draw(const std::vector<Ranked>& some, double u) {
    const double target = u * total_of(some, {false});
    double sum = 0.0;
    int32_t last = -1;
    for (const Ranked& each : some) {
        sum += each.weight;
        last = each.id;
        if (sum > target) break;
    }
    return last;
}

}  // namespace

extern "C" int32_t ev_sample(const float* logits, int64_t vocab, double u, float temperature, int64_t top_k,
                             double top_p, double min_p) {
    static thread_local std::vector<float> weights;
    static thread_local std::vector<Ranked> kept;
    const Isa& isa = best_isa();
    const float largest = isa.largest_of(logits, vocab);
    if (largest == -INFINITY) return -1;
    if (temperature == 0.0f || std::isinf(largest))
        return static_cast<int32_t>(std::find(logits, logits + vocab, largest) - logits);
    weights.resize(static_cast<size_t>(vocab));
    isa.exponentials(logits, vocab, largest, 1.0f / temperature, weights.data());
    const float least = static_cast<float>(min_p);  // the largest weight is 1
    const bool few = top_k > 0 && top_k < vocab;
    if (!few && top_p >= 1.0) {
        if (least > 0.0f)
            for (float& each : weights) each = each >= least ? each : 0.0f;
        return draw(weights, u);
    }
    float light = std::numeric_limits<float>::denorm_min();
    float lowest = -INFINITY;
    double total = 0.0;
    if (!few) {
        for (const float each : weights) total += each;
        // All tokens lighter than this weigh less than what top_p leaves out.
        const double share = (1.0 - top_p) * total / static_cast<double>(vocab);
        light = std::max(light, static_cast<float>(share * (1.0 - 1e-6)));
    }
    kept.clear();
    for (int64_t i = 0; i < vocab; i++) {
        const float weight = weights[static_cast<size_t>(i)];
        if (weight < light || logits[i] < lowest) continue;
        kept.push_back({logits[i], weight, static_cast<int32_t>(i)});
        // Once twice as many are kept as are wanted, what comes must be as good as the last of the best.
        if (few && static_cast<int64_t>(kept.size()) >= 2 * top_k + 64) {
            std::nth_element(kept.begin(), kept.begin() + top_k - 1, kept.end());
            lowest = kept[static_cast<size_t>(top_k) - 1].logit;
            kept.resize(static_cast<size_t>(top_k));
        }
    }
    if (few) {
        keep_beginning(kept, largest, {true}, static_cast<double>(top_k));
        total = total_of(kept, {false});
    }
    if (top_p < 1.0) keep_beginning(kept, largest, {false}, top_p * total);
    // Back to the order of the ids: many are laid out over the vocabulary, few are sorted.
    if (kept.size() > 512) {
        std::fill(weights.begin(), weights.end(), 0.0f);
        for (const Ranked& each : kept) weights[static_cast<size_t>(each.id)] = each.weight >= least ? each.weight : 0.0f;
        return draw(weights, u);
    }
    kept.erase(std::remove_if(kept.begin(), kept.end(), [&](const Ranked& each) { return each.weight < least; }), kept.end());
    std::sort(kept.begin(), kept.end(), [](const Ranked& a, const Ranked& b) { return a.id < b.id; });
    return draw(kept, u);
}
