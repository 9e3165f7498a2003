#include "linear.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

const Isa* find_isa(const char* name) {
    if (!std::strcmp(name, "plain")) return isa_plain();
#if defined(__x86_64__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    const bool has_half = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
    const bool has_avx2 = has_half && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (!std::strcmp(name, "avx2")) return has_avx2 ? isa_avx2() : nullptr;
    if (!std::strcmp(name, "avx512vnni"))
        return has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                       __builtin_cpu_supports("avx512vnni")
                   ? isa_avx512vnni()
                   : nullptr;
#endif
    return nullptr;
}

const Isa& best_isa() {
    static const Isa& best = *[] {
        for (const char* name : {"avx512vnni", "avx2"})
            if (const Isa* isa = find_isa(name)) return isa;
        return isa_plain();
    }();
    return best;
}

Linear::Linear(const EvWeight& weight, const Isa& isa, bool sums) : count_(weight.count), bias_(weight.bias) {
    if (!weight.data) return;
    first_ = {static_cast<const uint8_t*>(weight.data), weight.scales, nullptr, weight.rows, weight.cols, weight.kind,
              weight.group};
    if (!sums || weight.kind != EV_INT8 || !isa.wants_sums) return;
    sums_.resize(static_cast<size_t>(weight.count * weight.rows));
    const int8_t* row = static_cast<const int8_t*>(weight.data);
    for (int32_t& sum : sums_) {
        int32_t total = 0;
        for (int64_t i = 0; i < weight.cols; i++) total += row[i];
        sum = total;
        row += weight.cols;
    }
    first_.sums = sums_.data();
}

Matrix Linear::expert(int64_t index) const {
    Matrix m = first_;
    m.data += index * m.rows * m.row_bytes();
    if (m.scales) m.scales += index * m.rows * m.groups();
    if (m.sums) m.sums += index * m.rows;
    return m;
}
