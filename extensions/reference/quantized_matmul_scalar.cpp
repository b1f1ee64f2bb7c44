// Quantized matmul by the definition: one weight at a time, on one thread.
#include <cstring>

#include "quantized_matmul.h"

namespace course {

namespace {

float scale_at(const void* scales, FloatType type, size_t i) {
  float wide[LANES];  // to_floats writes whole vectors
  to_floats(scales, type, i, 1, wide);
  return wide[0];
}

}  // namespace

void quantized_matmul_scalar(const float* x, ptrdiff_t x_stride, const QuantizedMatrix& w, float* y,
                             int M) {
  const int per_word = 32 / w.bits;
  const uint32_t mask = (1u << w.bits) - 1;
  for (int n = 0; n < w.rows; n++) {
    const uint32_t* words = w.words + static_cast<size_t>(n) * w.words_per_row();
    for (int m = 0; m < M; m++) y[static_cast<size_t>(m) * w.rows + n] = 0;
    for (int group = 0; group < w.groups_per_row(); group++) {
      size_t g = static_cast<size_t>(n) * w.groups_per_row() + group;
      float scale = scale_at(w.scales, w.scale_type, g), bias = scale_at(w.biases, w.scale_type, g);
      for (int k = group * w.group_size; k < (group + 1) * w.group_size; k++) {
        uint32_t q = words[k / per_word] >> (k % per_word * w.bits) & mask;
        float weight = scale * static_cast<float>(q) + bias;
        for (int m = 0; m < M; m++) y[static_cast<size_t>(m) * w.rows + n] += x[m * x_stride + k] * weight;
      }
    }
  }
}

}  // namespace course
