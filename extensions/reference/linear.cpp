#include "linear.h"

#include <algorithm>

#include "panel_matmul.h"
#include "processor.h"
#include "quantized_matmul.h"

namespace course {

namespace {

Digits digits(bool int8) { return int8 ? Digits::one : Digits::three; }

// Products with panels of the same number of bits share x's digits.
bool together(const Linear& a, const Linear& b) {
  return a.panels != nullptr && b.panels != nullptr && a.panels->bits() == b.panels->bits();
}

void finish(const Output& to, const float* product, int M) {
  const int N = to.linear->rows();
  const float* bias = to.linear->bias;
  for (int m = 0; m < M; m++) {
    const float* row = product + static_cast<size_t>(m) * N;
    float* y = to.y + static_cast<size_t>(m) * N;
    for (int n = 0; n < N; n++) {
      const float value = bias == nullptr ? row[n] : row[n] + bias[n];
      y[n] = to.add ? value + y[n] : value;
    }
  }
}

void multiply_packed(const float* x, ptrdiff_t x_stride, int M, const Output& to, float* scratch, Parallel& parallel) {
  const QuantizedMatrix& w = to.linear->packed;
  if (!to.add && to.linear->bias == nullptr) return quantized_matmul(x, x_stride, w, to.y, M, scratch, parallel);
  float* product = scratch + quantized_matmul_scratch(M, w, parallel.workers());
  quantized_matmul(x, x_stride, w, product, M, scratch, parallel);
  finish(to, product, M);
}

}  // namespace

bool panels_are_faster() {
#if defined(__x86_64__)
  return best_byte_products() != ByteProducts::spelt_out;
#else
  return false;  // not measured
#endif
}

size_t multiply_scratch(int M, std::initializer_list<const Linear*> linears, bool int8, int workers) {
  size_t most = 0;
  for (const Linear* l : linears) {
    const size_t needed =
        l->panels != nullptr
            ? panel_matmul_scratch(M, l->columns(), l->panels->bits(), digits(int8), workers)
            : quantized_matmul_scratch(M, l->packed, workers) + static_cast<size_t>(M) * l->rows();
    most = std::max(most, needed);
  }
  return most;
}

void multiply(const float* x, ptrdiff_t x_stride, int M, std::initializer_list<Output> outputs, bool int8,
              float* scratch, Parallel& parallel) {
  for (const Output* to = outputs.begin(); to != outputs.end();) {
    if (to->linear->panels == nullptr) {
      multiply_packed(x, x_stride, M, *to++, scratch, parallel);
      continue;
    }
    Product products[MOST_PRODUCTS];
    int count = 0;
    const Linear& first = *to->linear;
    for (; to != outputs.end() && together(first, *to->linear); to++) {
      products[count++] = {to->linear->panels, to->linear->bias, to->y, to->add};
    }
    panel_matmul(x, x_stride, M, first.columns(), products, count, digits(int8), scratch, parallel);
  }
}

}  // namespace course
