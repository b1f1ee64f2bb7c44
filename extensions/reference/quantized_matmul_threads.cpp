// Quantized matmul, rung 2: the rows of W handed out to several threads.
//
// parallel.h has the threads: parallel.for_each(tasks, body) calls body(task, worker) for every task from 0 to
// tasks - 1, on any of its threads. `worker` says on which, from 0 to parallel.workers() - 1: tasks of the same
// worker never run at the same time, tasks of different workers do.
#include <algorithm>

#include "quantized_matmul.h"
#include "quantized_matmul_ladder.h"

namespace course {

// x in blocks, which all tasks read; and for each worker what multiply_rows needs.
size_t quantized_matmul_threads_scratch(int M, const QuantizedMatrix& w, int workers) {
  return too_short(w) ? 0 : M * arranged_floats(w) + workers * row_scratch(w);
}

void quantized_matmul_threads(const float* x, ptrdiff_t x_stride, const QuantizedMatrix& w, float* y, int M,
                              float* scratch, Parallel& parallel) {
  if (M == 0 || w.rows == 0) return;
  if (too_short(w)) return quantized_matmul_scalar(x, x_stride, w, y, M);
  float* const arranged = scratch;
  float* const rest = arranged + M * arranged_floats(w);  // row_scratch(w) floats for each worker
  arrange_rows(x, x_stride, w, M, arranged);
  // What is left: all rows of w, from 0 to w.rows, in tasks; each task calls multiply_rows for its own.
  // BEGIN SOLUTION
  // Several tasks a thread: one that was held up, or is slower, does fewer of them.
  const int rows_a_task = std::max(1, w.rows / (8 * parallel.workers()));
  const int tasks = (w.rows + rows_a_task - 1) / rows_a_task;
  parallel.for_each(tasks, [&](int task, int worker) {
    const int begin = task * rows_a_task, end = std::min(w.rows, begin + rows_a_task);
    multiply_rows(arranged, M, w, begin, end, y, rest + worker * row_scratch(w));
  });
  // END SOLUTION
}

}  // namespace course
