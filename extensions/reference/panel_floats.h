// y = x W^T for matrices W in panels, with x in floats. Where they are used: linear.h.
#pragma once

#include <cstddef>

#include "panel_product.h"
#include "parallel.h"

namespace course {

// Floats of scratch memory that panel_floats needs.
size_t panel_floats_scratch(int M, int K);

// y[m, n] = sum over k of x[m, k] * w[n, k] + bias[n], in float, for each product.
//
//   x         [M, K], rows x_stride floats apart
//   products  [count], of matrices with the same K; at most MOST_PRODUCTS
//   scratch   panel_floats_scratch(M, K) floats
//
// A row of y depends, to the last bit, on its row of x alone.
void panel_floats(const float* x, ptrdiff_t x_stride, int M, int K, const Product* products, int count, float* scratch,
                  Parallel& parallel);

}  // namespace course
