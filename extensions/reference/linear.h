// y = x W^T + bias for the weights of a layer, by the fastest kernel for this processor.
#pragma once

#include <initializer_list>

#include "panels.h"
#include "parallel.h"

namespace course {

struct Linear {
  const Panels* panels;
  const float* bias;  // [N], or null

  int rows() const { return panels->rows(); }
  int columns() const { return panels->columns(); }
};

// A linear layer and where its result goes.
struct Output {
  const Linear* linear;
  float* y;  // [M, N], contiguous
  bool add;  // to what y holds
};

// Where x is not rounded to 8 bits, it is multiplied as integers of three bytes (panel_matmul.h) on an x86 processor that
// has an instruction for products of bytes, else as floats (panel_floats.h).
//
// From now on as floats everywhere (true), or as said above (false). For tests and measurements; not while results are
// still to be computed.
void multiply_floats(bool always);

// Floats of scratch memory that multiply needs for M tokens.
size_t multiply_scratch(int M, std::initializer_list<const Linear*> linears, bool int8, int workers);

// Each output's y = x W^T + bias, or y += that.
//
//   x        [M, K], rows x_stride floats apart
//   outputs  of linear layers that all take x; at most MOST_PRODUCTS (panel_tasks.h)
//   int8     round x to 8 bits first
//   scratch  multiply_scratch(...) floats
//
// A row of y depends, to the last bit, on its row of x alone.
void multiply(const float* x, ptrdiff_t x_stride, int M, std::initializer_list<Output> outputs, bool int8,
              float* scratch, Parallel& parallel);

}  // namespace course
