// y = x W^T for a matrix W packed to 4 or 8 bits a weight. See quantized_matmul.cpp for how.
#pragma once

#include "parallel.h"
#include "quantized_matrix.h"

namespace course {

// Floats of scratch memory that quantized_matmul needs.
size_t quantized_matmul_scratch(int M, const QuantizedMatrix& w, int workers);

// y[m, n] = sum over k of x[m, k] * w[n, k], in float.
//
//   x        [M, K], rows x_stride floats apart
//   w        [N, K], packed
//   y        [M, N], contiguous
//   scratch  quantized_matmul_scratch(M, w, parallel.workers()) floats
//
// Each y[m, n] is computed in the same order of operations whatever M is and however many threads
// there are: a row of y depends, to the last bit, on its row of x alone.
void quantized_matmul(const float* x, ptrdiff_t x_stride, const QuantizedMatrix& w, float* y, int M,
                      float* scratch, Parallel& parallel);

// The same by the definition, one weight at a time: slow, and obviously right.
void quantized_matmul_scalar(const float* x, ptrdiff_t x_stride, const QuantizedMatrix& w, float* y,
                             int M);

}  // namespace course
