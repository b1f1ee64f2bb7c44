#include "quantized_matmul_ladder.h"

#include <cstring>

#include "quantized_matmul.h"

namespace course {

namespace {

void scalar(const float* x, ptrdiff_t x_stride, const QuantizedMatrix& w, float* y, int M, float*, Parallel&) {
  quantized_matmul_scalar(x, x_stride, w, y, M);
}

size_t nothing(int, const QuantizedMatrix&, int) { return 0; }

constexpr QuantizedMatmulRung RUNGS[] = {
    {"scalar", scalar, nothing},
    {"vectors", quantized_matmul_vectors, quantized_matmul_vectors_scratch},
    {"threads", quantized_matmul_threads, quantized_matmul_threads_scratch},
    {"tiles", quantized_matmul, quantized_matmul_scratch},
};

}  // namespace

const QuantizedMatmulRung* quantized_matmul_rung(const char* name) {
  for (const QuantizedMatmulRung& rung : RUNGS) {
    if (std::strcmp(rung.name, name) == 0) return &rung;
  }
  return nullptr;
}

}  // namespace course
