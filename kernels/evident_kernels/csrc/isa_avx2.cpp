// x86 with AVX2, FMA and F16C. Compiled with those flags: nothing here may be used before the machine was asked.
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define EVIDENT_ISA avx2
#define EVIDENT_INT8_OFFSET 0
#define EVIDENT_INT4_BLOCK 64

#include "attention.h"
#include "multiply_avx2.h"
#include "tokenwise.h"

#include "isa_table.h"

const Isa* isa_avx2() {
    static const Isa isa = avx2::table("avx2");
    return &isa;
}
#else
#include "isa.h"
const Isa* isa_avx2() { return nullptr; }
#endif
