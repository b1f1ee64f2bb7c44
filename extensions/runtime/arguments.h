// What every operation does with its arguments: check them, and find where their data lies.
#pragma once

#include <string>

#include "../reference/float_type.h"
#include "mlx/array.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/utils.h"

namespace course {

namespace mx = mlx::core;

// Throws std::invalid_argument, which is Python's ValueError: "quantized_matmul: <given and wanted>".
[[noreturn]] void refuse(const char* operation, const std::string& given_and_wanted);

// "float32 [2, 3]", as an error says it.
std::string describe(const mx::array& a);
std::string describe(const mx::Shape& shape);

// The stream to run on. Refuses a GPU's.
mx::Stream cpu_stream(const char* operation, const mx::StreamOrDevice& where);

// Refuses an array of another dtype than float32.
void expect_float32(const char* operation, const char* name, const mx::array& a);

// The array's dtype, which must be one of the three.
FloatType float_type(const char* operation, const char* name, const mx::array& a);

// Below: for the time of evaluation, when inputs have data and strides.

// The array itself if its elements lie in order without gaps, else a copy in that order, which the stream
// makes before what is dispatched next.
mx::array in_order(const mx::array& a, mx::cpu::CommandEncoder& encoder);

// An array [..., D] as rows of D neighbours, `stride` elements apart; copied if it is not.
struct Rows {
  mx::array array;
  ptrdiff_t stride;
};
Rows rows(const mx::array& a, mx::cpu::CommandEncoder& encoder);

// Scratch memory of MLX's allocator, so that its peak counts in mx.get_peak_memory(), for the time of
// what is dispatched next.
float* scratch(size_t floats, mx::cpu::CommandEncoder& encoder);

}  // namespace course
