// What the steps of a layer have in common (operations.h says what they are for).
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "arguments.h"
#include "thread_pool.h"
#include "weight.h"

namespace course {

// One evaluation's view of a step: the pool, the weights, which must not go away, and the scratch memory of their
// products, which take turns with it.
struct Multiply {
  std::shared_ptr<ThreadPool> pool = shared_pool();
  std::vector<WeightPointer> weights;
  float* memory = nullptr;

  Multiply(int M, mx::cpu::CommandEncoder& encoder, std::vector<WeightPointer> of) : weights(std::move(of)) {
    size_t floats = 0;
    for (const WeightPointer& w : weights) {
      floats = std::max(floats, multiply_scratch(M, {&w->linear()}, w->int8(), pool->workers()));
    }
    memory = scratch(floats, encoder);
  }
  void operator()(const float* x, ptrdiff_t stride, int M, std::initializer_list<Output> outputs) const {
    multiply(x, stride, M, outputs, weights[0]->int8(), memory, *pool);
  }
};

// Rows of x [M, D], `stride` floats apart, to [M, D].
inline void copy_rows(const float* x, ptrdiff_t stride, float* to, int M, int D) {
  for (int m = 0; m < M; m++, x += stride, to += D) std::copy_n(x, D, to);
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
