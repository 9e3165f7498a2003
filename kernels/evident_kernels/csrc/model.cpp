// Making a model, and checking a step before it is run.
#include "model.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

#include "pages.h"
#include "step.h"

EvModel::EvModel(const EvSpec& given, int threads, const Isa& chosen)
    : isa(chosen), spec(given), embedding(given.embedding, chosen, false), head(given.head, chosen, true), pool(threads) {
    spec.layers = nullptr;  // the caller's, and gone after this
    layers.reserve(static_cast<size_t>(spec.num_layers));
    for (int32_t i = 0; i < spec.num_layers; i++) {
        const EvLayer& each = given.layers[i];
        const auto linear = [&](const EvWeight& weight) { return Linear(weight, isa, true); };
        const EvWeight gate{each.gate, nullptr, nullptr, 1, each.num_experts, spec.hidden, EV_F32, 0};
        most_experts = std::max<int64_t>(most_experts, each.num_experts);
        most_chosen = std::max<int64_t>(most_chosen, each.top_k);
        most_active = std::max<int64_t>(most_active, each.top_k + (each.shared13.data ? 1 : 0));
        widest_inner = std::max({widest_inner, each.w2.cols, each.shared2.cols});
        layers.push_back({each, linear(each.wq), linear(each.wk), linear(each.wv), linear(each.wo), linear(each.w13),
                          linear(each.w2), linear(each.shared13), linear(each.shared2), linear(gate)});
    }
    Ranges ranges;
    const auto note = [&](const EvWeight& weight) {
        if (!weight.data) return;
        const uintptr_t begin = reinterpret_cast<uintptr_t>(weight.data);
        const int64_t values = weight.rows * weight.cols * weight.count;
        const int64_t bytes = weight.kind == EV_F32 ? values * 4 : weight.kind == EV_INT8 ? values : values / 2;
        ranges.emplace_back(begin, begin + static_cast<uintptr_t>(bytes));
    };
    for (const Layer& layer : layers)
        for (const EvWeight* each : {&layer.spec.wq, &layer.spec.wk, &layer.spec.wv, &layer.spec.wo, &layer.spec.w13,
                                     &layer.spec.w2, &layer.spec.shared13, &layer.spec.shared2})
            note(*each);
    note(spec.head);
    enlarge_pages(std::move(ranges));
    buffers.tiles.resize(static_cast<size_t>(threads));
    buffers.scores.resize(static_cast<size_t>(threads));
}

namespace {

__attribute__((format(printf, 2, 3))) int32_t refuse(EvStep& step, const char* format, ...) {
    va_list values;
    va_start(values, format);
    std::vsnprintf(step.error, sizeof step.error, format, values);
    va_end(values);
    return -1;
}

int32_t check_sequence(const EvModel& model, EvStep& step, int32_t s) {
    const int32_t begin = step.starts[s], end = step.starts[s + 1], context = step.contexts[s];
    if (end < begin || end > step.T)
        return refuse(step, "starts[%d] is %d; starts must rise from 0 to the number of tokens, %d", s + 1, end, step.T);
    if (context < end - begin)
        return refuse(step, "contexts[%d] is %d, less than the %d tokens of that sequence in this step", s, context,
                      end - begin);
    if (context > model.spec.max_positions)
        return refuse(step, "contexts[%d] is %d; the rotary tables of the model end at %d", s, context,
                      model.spec.max_positions);
    const int64_t blocks = (context + step.block_size - 1) / step.block_size;
    if (blocks > step.B)
        return refuse(step, "contexts[%d] is %d, more than the table's %d blocks of %d hold", s, context, step.B,
                      step.block_size);
    const int32_t* table = step.tables + static_cast<int64_t>(s) * step.B;
    for (int64_t b = 0; b < blocks; b++)
        if (table[b] < 0 || (table[b] + int64_t{1}) * step.block_size > model.slots)
            return refuse(step, "tables[%d, %lld] is %d; the cache has %lld slots in blocks of %d", s,
                          static_cast<long long>(b), table[b], static_cast<long long>(model.slots), step.block_size);
    for (int32_t t = begin; t < end; t++) {
        const int32_t position = context - end + t;
        if (step.positions[t] != position)
            return refuse(step, "positions[%d] is %d; with contexts[%d] = %d it must be %d", t, step.positions[t], s,
                          context, position);
        const int64_t slot = table[position / step.block_size] * static_cast<int64_t>(step.block_size) +
                             position % step.block_size;
        if (step.slots[t] != slot)
            return refuse(step, "slots[%d] is %d; the table of its sequence says %lld", t, step.slots[t],
                          static_cast<long long>(slot));
    }
    return 0;
}

int32_t check(const EvModel& model, EvStep& step) {
    if (model.k.empty()) return refuse(step, "no cache is bound: call bind() first");
    if (step.block_size < 1) return refuse(step, "block_size is %d; it must be at least 1", step.block_size);
    if (step.starts[0] != 0 || step.starts[step.S] != step.T)
        return refuse(step, "starts must rise from 0 to the number of tokens, %d; its last is %d", step.T,
                      step.starts[step.S]);
    for (int32_t t = 0; t < step.T; t++)
        if (step.token_ids[t] < 0 || step.token_ids[t] >= model.spec.vocab)
            return refuse(step, "token_ids[%d] is %d; the vocabulary has %d", t, step.token_ids[t], model.spec.vocab);
    for (int32_t r = 0; r < step.R; r++)
        if (step.rows[r] < 0 || step.rows[r] >= step.T)
            return refuse(step, "rows[%d] is %d; the step has %d tokens", r, step.rows[r], step.T);
    for (int32_t s = 0; s < step.S; s++)
        if (check_sequence(model, step, s)) return -1;
    return 0;
}

}  // namespace

extern "C" {

int64_t ev_struct_size(int32_t which) {
    const int64_t sizes[] = {sizeof(EvWeight), sizeof(EvLayer), sizeof(EvSpec), sizeof(EvStep)};
    return which >= 0 && which < 4 ? sizes[which] : 0;
}

int32_t ev_isa_available(const char* isa) { return find_isa(isa) != nullptr; }

EvModel* ev_create(const EvSpec* spec, int32_t threads, const char* isa) {
    const Isa* found = find_isa(isa);
    return found ? new EvModel(*spec, threads, *found) : nullptr;
}

void ev_destroy(EvModel* model) { delete model; }

void ev_bind(EvModel* model, const void* const* k, const void* const* v, int64_t slots, int32_t half) {
    const auto claim = model->pool.claim();
    model->k.assign(k, k + model->spec.num_layers);
    model->v.assign(v, v + model->spec.num_layers);
    model->slots = slots;
    model->half = half;
}

int32_t ev_run(EvModel* model, EvStep* step) {
    const auto claim = model->pool.claim();
    if (check(*model, *step)) return -1;
    if (step->T == 0) return 0;
    Step job(*model, *step);
    model->pool.run(job);
    return 0;
}
}
