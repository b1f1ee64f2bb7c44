#include "linear.h"

#include <algorithm>
#include <atomic>
#include <cassert>

#include "panel_floats.h"
#include "panel_matmul.h"
#include "processor.h"

namespace course {

namespace {

std::atomic<bool> floats_always{false};

bool in_floats(bool int8) {
  if (int8) return false;
#if defined(__x86_64__)
  return floats_always.load(std::memory_order_relaxed) || best_byte_products() == ByteProducts::spelt_out;
#else
  return true;  // Arm's instruction takes signed bytes only, and what that costs has not been measured
#endif
}

Digits digits(bool int8) { return int8 ? Digits::one : Digits::three; }

}  // namespace

void multiply_floats(bool always) { floats_always.store(always); }

size_t multiply_scratch(int M, std::initializer_list<const Linear*> linears, bool int8, int workers) {
  size_t most = 0;
  for (const Linear* linear : linears) {
    const int K = linear->columns();
    most = std::max(most, in_floats(int8) ? panel_floats_scratch(M, K)
                                          : panel_matmul_scratch(M, K, linear->panels->bits(), digits(int8), workers));
  }
  return most;
}

void multiply(const float* x, ptrdiff_t x_stride, int M, std::initializer_list<Output> outputs, bool int8,
              float* scratch, Parallel& parallel) {
  for (const Output* to = outputs.begin(); to != outputs.end();) {
    // Those of the same number of bits share what is made of x.
    Product products[MOST_PRODUCTS];
    int count = 0;
    const Panels& first = *to->linear->panels;
    for (; to != outputs.end() && to->linear->panels->bits() == first.bits(); to++) {
      assert(count < MOST_PRODUCTS);
      products[count++] = {to->linear->panels, to->linear->bias, to->y, to->add};
    }
    if (in_floats(int8)) {
      panel_floats(x, x_stride, M, first.columns(), products, count, scratch, parallel);
    } else {
      panel_matmul(x, x_stride, M, first.columns(), products, count, digits(int8), scratch, parallel);
    }
  }
}

}  // namespace course
