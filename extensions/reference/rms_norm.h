// Root-mean-square normalisation (https://arxiv.org/abs/1910.07467).
#pragma once

#include <cstddef>

#include "parallel.h"
#include "float_type.h"

namespace course {

// out[m] = x[m] / sqrt(mean(x[m]^2) + eps) * weight, row by row.
//
//   x       [M, D], rows x_stride floats apart
//   weight  [D] of weight_type
//   out     [M, D], contiguous; may be x where that is contiguous
//
// A row's result depends, to the last bit, on that row alone.
void rms_norm(const float* x, ptrdiff_t x_stride, const void* weight, FloatType weight_type, float eps,
              float* out, int M, int D, Parallel& parallel);

}  // namespace course
