// RMSNorm: the sum of a row's squares, then one pass that scales.
#include "rms_norm.h"

#include <cmath>

#include "vector.h"

namespace course {

namespace {

// Fewer elements than this are done before another thread has woken up.
constexpr int64_t WORTH_SHARING = 32'768;

float sum_of_squares(const float* x, int D) {
  Floats even = {}, odd = {};
  int d = 0;
  for (; d + 2 * LANES <= D; d += 2 * LANES) {
    const Floats a = load(x + d), b = load(x + d + LANES);
    even += a * a;
    odd += b * b;
  }
  float sum = sum_lanes(even + odd);
  for (; d < D; d++) sum += x[d] * x[d];
  return sum;
}

void normalise(const float* x, const void* weight, FloatType weight_type, float eps, float* out, int D) {
  const float inverse = 1.0f / std::sqrt(sum_of_squares(x, D) / D + eps);
  constexpr int CHUNK = 128;
  for (int d = 0; d < D; d += CHUNK) {
    float w[CHUNK + LANES];
    const int n = D - d < CHUNK ? D - d : CHUNK;
    to_floats(weight, weight_type, d, n, w);
    for (int i = 0; i < n; i++) out[d + i] = x[d + i] * inverse * w[i];
  }
}

}  // namespace

void rms_norm(const float* x, ptrdiff_t x_stride, const void* weight, FloatType weight_type, float eps,
              float* out, int M, int D, Parallel& parallel) {
  auto rows = [&](int begin, int end) {
    for (int m = begin; m < end; m++) {
      normalise(x + m * x_stride, weight, weight_type, eps, out + static_cast<ptrdiff_t>(m) * D, D);
    }
  };
  if (static_cast<int64_t>(M) * D < WORTH_SHARING) return rows(0, M);
  const int tasks = M < 4 * parallel.workers() ? M : 4 * parallel.workers();
  auto row_of = [&](int task) { return static_cast<int>(static_cast<int64_t>(M) * task / tasks); };
  parallel.for_each(tasks, [&](int task, int) { rows(row_of(task), row_of(task + 1)); });
}

}  // namespace course
