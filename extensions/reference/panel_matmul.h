// y = x W^T for matrices W in panels, with x in digits. See panel_matmul.cpp for how.
#pragma once

#include "digits.h"
#include "panel_product.h"
#include "panel_tasks.h"
#include "parallel.h"

namespace course {

// Floats of scratch memory that panel_matmul needs.
size_t panel_matmul_scratch(int M, int K, int bits, Digits digits, int workers);

// y[m, n] = sum over k of r[m, k] * w[n, k] + bias[n], in float, for each product, where r is x in digits: with three
// of them x to a float's precision, with one rounded to 8 bits (digits.h says exactly).
//
//   x         [M, K], rows x_stride floats apart
//   products  [count], of matrices with the same K and bits; at most MOST_PRODUCTS
//   digits    one or three
//   scratch   panel_matmul_scratch(M, K, bits, digits, parallel.workers()) floats
//
// A row of y depends, to the last bit, on its row of x alone: not on M, on the number of threads, or on which of the
// processor's instructions are used.
void panel_matmul(const float* x, ptrdiff_t x_stride, int M, int K, const Product* products, int count, Digits digits,
                  float* scratch, Parallel& parallel);

}  // namespace course
