// Every machine: no instruction that the compiler does not assume by itself.
#define EVIDENT_ISA plain
#define EVIDENT_INT8_OFFSET 0
#define EVIDENT_INT4_BLOCK 64

#include "attention.h"
#include "multiply_plain.h"
#include "tokenwise.h"

#include "isa_table.h"

const Isa* isa_plain() {
    static const Isa isa = plain::table("plain");
    return &isa;
}
