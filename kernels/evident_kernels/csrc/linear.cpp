#include "linear.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace {

#if defined(__x86_64__)
// What the processor says it has, and the system says it keeps (Intel's Software Developer's Manual, volume 2, CPUID):
// asked of them and not of the compiler's runtime, which is not there everywhere.
bool can_run(bool avx512vnni) {
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kFma = 1u << 12, kXsave = 1u << 27, kHalf = 1u << 29;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & (kFma | kXsave | kHalf)) != (kFma | kXsave | kHalf)) return false;
    unsigned low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    constexpr unsigned kYmm = 0x6, kZmm = 0xe6;
    if ((low & kYmm) != kYmm || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    constexpr unsigned kAvx2 = 1u << 5, kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31, kVnni = 1u << 11;
    if (!(b & kAvx2)) return false;
    return !avx512vnni ||
           ((low & kZmm) == kZmm && (b & (kF | kDq | kBw | kVl)) == (kF | kDq | kBw | kVl) && (c & kVnni));
}
#endif

}  // namespace

const Isa* find_isa(const char* name) {
    if (!std::strcmp(name, "plain")) return isa_plain();
#if defined(__x86_64__)
    if (!std::strcmp(name, "avx2")) return can_run(false) ? isa_avx2() : nullptr;
    if (!std::strcmp(name, "avx512vnni")) return can_run(true) ? isa_avx512vnni() : nullptr;
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
