// The table of one instruction set, made of what the headers before this defined in its namespace.
#pragma once

namespace EVIDENT_ISA {

static void multiply(const Matrix& m, Rows rows, const Activations& x, const int32_t* tokens, int64_t count, float* out,
                     int64_t ld) {
    if (m.kind == EV_F32)
        multiply_with<FloatKernel>(m, rows, x, tokens, count, out, ld);
    else if (m.kind == EV_INT8)
        multiply_int8(m, rows, x, tokens, count, out, ld);
    else
        multiply_with<Int4Kernel>(m, rows, x, tokens, count, out, ld);
}

static const Isa table(const char* name) {
    return Isa{name,    EVIDENT_INT8_OFFSET != 0, prepared_bytes, prepare, multiply, rms_norm, swiglu, rotate,
               store_cache, attend, attend_token, largest_of, exponentials};
}

}  // namespace EVIDENT_ISA
