// y = x W^T + bias for the weights of a layer, by the fastest kernel for this processor.
#pragma once

#include <initializer_list>

#include "panels.h"
#include "parallel.h"
#include "quantized_matrix.h"

namespace course {

struct Linear {
  const Panels* panels;    // null: in no panels, but packed
  QuantizedMatrix packed;  // unused if there are panels
  const float* bias;       // [N], or null

  int rows() const { return panels != nullptr ? panels->rows() : packed.rows; }
  int columns() const { return panels != nullptr ? panels->columns() : packed.columns; }
};

// A linear layer and where its result goes.
struct Output {
  const Linear* linear;
  float* y;  // [M, N], contiguous
  bool add;  // to what y holds
};

// Whether products with panels are faster here than products with the matrix as it is packed, where x is not rounded.
// In panels x becomes integers (digits.h), which needs an instruction for products of bytes.
bool panels_are_faster();

// Floats of scratch memory that multiply needs for M tokens.
size_t multiply_scratch(int M, std::initializer_list<const Linear*> linears, bool int8, int workers);

// Each output's y = x W^T + bias, or y += that.
//
//   x        [M, K], rows x_stride floats apart
//   outputs  of linear layers that all take x, at most 4
//   int8     round x to 8 bits first; needs panels
//   scratch  multiply_scratch(...) floats
//
// A row of y depends, to the last bit, on its row of x alone.
void multiply(const float* x, ptrdiff_t x_stride, int M, std::initializer_list<Output> outputs, bool int8,
              float* scratch, Parallel& parallel);

}  // namespace course
