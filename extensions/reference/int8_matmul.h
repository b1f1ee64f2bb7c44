// y = x W^T for a packed matrix W, with x rounded to 8 bits first. See int8_matmul.cpp for how.
#pragma once

#include "parallel.h"
#include "quantized_matrix.h"

namespace course {

// Features that are rounded together: each such group of x has a unit of its own.
constexpr int ROUNDED_TOGETHER = 32;

// Floats of scratch memory that int8_matmul needs.
size_t int8_matmul_scratch(int M, const QuantizedMatrix& w, int workers);

// y[m, n] = sum over k of r[m, k] * w[n, k], in float, where r is x rounded:
//
//   r[m, k] = unit * round(x[m, k] / unit),  unit = the largest |x| of k's group of 32 / 127
//
// What differs from quantized_matmul is that rounding, of at most half a unit, and nothing else.
//
//   x        [M, K], rows x_stride floats apart; finite
//   w        [N, K], packed
//   y        [M, N], contiguous
//   scratch  int8_matmul_scratch(M, w, parallel.workers()) floats
//
// A row of y depends, to the last bit, on its row of x alone.
void int8_matmul(const float* x, ptrdiff_t x_stride, const QuantizedMatrix& w, float* y, int M, float* scratch,
                 Parallel& parallel);

}  // namespace course
