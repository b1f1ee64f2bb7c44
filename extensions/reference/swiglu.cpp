// SwiGLU, a vector at a time; the exponential is vector.h's.
#include "swiglu.h"

#include <algorithm>
#include <cstdint>

#include "vector.h"

namespace course {

namespace {

// Fewer elements than this are done before another thread has woken up.
constexpr int64_t WORTH_SHARING = 16'384;

ALWAYS_INLINE Floats swiglu(Floats gate, Floats up) { return gate / (exp(-gate) + 1.0f) * up; }

void row(const float* gate, const float* up, float* out, int D) {
  int d = 0;
  for (; d + LANES <= D; d += LANES) store(out + d, swiglu(load(gate + d), load(up + d)));
  if (d < D) {  // what is left of the row, in a vector of its own
    float rest[2 * LANES] = {};
    std::copy(gate + d, gate + D, rest);
    std::copy(up + d, up + D, rest + LANES);
    store(rest, swiglu(load(rest), load(rest + LANES)));
    std::copy_n(rest, D - d, out + d);
  }
}

}  // namespace

void swiglu(const float* gate, ptrdiff_t gate_stride, const float* up, ptrdiff_t up_stride, float* out, int M,
            int D, Parallel& parallel) {
  auto rows = [&](int begin, int end) {
    for (int m = begin; m < end; m++) {
      row(gate + m * gate_stride, up + m * up_stride, out + static_cast<ptrdiff_t>(m) * D, D);
    }
  };
  if (static_cast<int64_t>(M) * D < WORTH_SHARING) return rows(0, M);
  const int tasks = std::min(M, 4 * parallel.workers());
  auto row_of = [&](int task) { return static_cast<int>(static_cast<int64_t>(M) * task / tasks); };
  parallel.for_each(tasks, [&](int task, int) { rows(row_of(task), row_of(task + 1)); });
}

}  // namespace course
