// x86 with AVX-512 F, BW, DQ, VL and VNNI. Compiled with those flags: nothing here may be used before the machine was asked.
#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define EVIDENT_ISA avx512vnni
#define EVIDENT_INT8_OFFSET 128
#define EVIDENT_INT4_BLOCK 128

#include "attention.h"
#include "multiply_vnni.h"
#include "tokenwise.h"

#include "isa_table.h"

const Isa* isa_avx512vnni() {
    static const Isa isa = avx512vnni::table("avx512vnni");
    return &isa;
}
#else
#include "isa.h"
const Isa* isa_avx512vnni() { return nullptr; }
#endif
