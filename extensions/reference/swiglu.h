// The gated activation of Llama's MLP (https://arxiv.org/abs/2002.05202).
#pragma once

#include <cstddef>

#include "parallel.h"

namespace course {

// out = gate / (1 + e^-gate) * up, element by element.
//
//   gate, up  [M, D], rows gate_stride and up_stride floats apart
//   out       [M, D], contiguous; may be gate or up where that is contiguous
//
// A row's result depends, to the last bit, on that row alone.
void swiglu(const float* gate, ptrdiff_t gate_stride, const float* up, ptrdiff_t up_stride, float* out, int M,
            int D, Parallel& parallel);

}  // namespace course
