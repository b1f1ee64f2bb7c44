// What the steps of a layer have in common (operations.h says what they are for).
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "../reference/quantized_matmul.h"
#include "arguments.h"
#include "packed.h"
#include "thread_pool.h"

namespace course {

// One evaluation's view of a step: the pool, and the scratch memory of its matmuls, which take turns with it.
struct Matmuls {
  std::shared_ptr<ThreadPool> pool = shared_pool();
  float* memory = nullptr;

  template <class... Matrices>
  Matmuls(int M, mx::cpu::CommandEncoder& encoder, const Matrices&... w) {
    memory = scratch(std::max({quantized_matmul_scratch(M, w, pool->workers())...}), encoder);
  }
  void operator()(const float* x, ptrdiff_t stride, const QuantizedMatrix& w, float* y, int M) const {
    quantized_matmul(x, stride, w, y, M, memory, *pool);
  }
};

// to [M, D] += x, whose rows are `stride` floats apart.
inline void add(const float* x, ptrdiff_t stride, float* to, int M, int D) {
  for (int m = 0; m < M; m++, x += stride, to += D) {
    for (int d = 0; d < D; d++) to[d] += x[d];
  }
}

// A weight's three arrays become inputs, where matrix() finds them.
inline void append(std::vector<mx::array>& inputs, const Packed& weight) {
  inputs.insert(inputs.end(), {std::get<0>(weight), std::get<1>(weight), std::get<2>(weight)});
}

// Of all axes but the last.
inline int rows_of(const mx::array& x) { return static_cast<int>(x.size() / x.shape(-1)); }

inline FloatType check_norm(const char* name, const mx::array& x, const mx::array& norm) {
  expect_float32(name, "x", x);
  if (x.ndim() == 0 || norm.ndim() != 1 || norm.shape(0) != x.shape(-1)) {
    refuse(name, "x is " + describe(x) + " and norm " + describe(norm) + "; wanted x [..., E] and norm [E]");
  }
  return float_type(name, "norm", norm);
}

}  // namespace course
