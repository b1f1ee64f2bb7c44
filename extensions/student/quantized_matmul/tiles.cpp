// Yours to write: what stands between BEGIN YOUR CODE and END YOUR CODE. Save, then run the cell
// check_kernel("quantized_matmul", rung="tiles") in the notebook. You may change the rest, too.
//
// Quantized matmul: vectorised, threaded, and tiled where several tokens share the weights.
//
//   one token (decode)       every weight is used once: unpack in registers, multiply, forget
//   more tokens (prefill)    unpack a few weight rows to floats once, then tiles of dot products
//
// Both sum each dot product in the same order (dot_tile.h), so they agree to the last bit.
#include "quantized_matmul.h"

#include <algorithm>

#include "dot_tile.h"
#include "packed_rows.h"
#include "not_written.h"

namespace course {

namespace {

// Weight rows whose scales are turned to float together.
constexpr int STRIP = 16;
// Floats of arranged x that a pass over the weights works on: they must stay in the second-level cache.
constexpr int ACTIVATIONS_AT_ONCE = 96 * 1024;
// Fewer multiplications than this are done before another thread has woken up.
constexpr int64_t WORTH_SHARING = 50'000;

// Unpack one row of the strip to floats, in the order of the arranged x: block after block, in each block
// weight 0 of all its words, then weight 1 of all, and so on.
//
//   unpacked  [arranged_length<BITS>(blocks)] floats
template <int BITS, int GROUP_WORDS>
void unpack_row(Blocks blocks, const Strip& strip, int row, float* unpacked) {
  // BEGIN YOUR CODE
  not_written("unpack_row: about 10 lines");
  // END YOUR CODE
}

// ROWS tokens with COLUMNS unpacked weight rows.
template <int ROWS, int COLUMNS>
void tile(const float* arranged, const float* unpacked, int length, float* y, int N) {
  float sums[ROWS * COLUMNS];
  dot_tile<ROWS, COLUMNS>(arranged, length, unpacked, length, length, sums);
  for (int m = 0; m < ROWS; m++) {
    for (int n = 0; n < COLUMNS; n++) y[static_cast<size_t>(m) * N + n] = sums[m * COLUMNS + n];
  }
}

// M tokens with COLUMNS unpacked weight rows.
template <int COLUMNS>
void multiply_unpacked(const float* arranged, int M, const float* unpacked, int length, float* y, int N) {
  static_assert(TILE_ROWS == 3);
  int m = 0;
  auto rows = [&](auto tile_of, int count) {
    tile_of(arranged + static_cast<size_t>(m) * length, unpacked, length, y + static_cast<size_t>(m) * N, N);
    m += count;
  };
  while (m + 3 <= M) rows(tile<3, COLUMNS>, 3);
  if (m + 2 == M) rows(tile<2, COLUMNS>, 2);
  if (m + 1 == M) rows(tile<1, COLUMNS>, 1);
}

// M tokens with the strip's rows: y [M, rows], N floats apart. Each weight is unpacked once and used M
// times.
//
//   arranged  [M, arranged_length<BITS>(blocks)]
//   rows      of the strip, at most STRIP; not always a multiple of TILE_COLUMNS
//   unpacked  scratch memory for TILE_COLUMNS unpacked rows
template <int BITS, int GROUP_WORDS>
void multiply_many(const float* arranged, int M, Blocks blocks, const Strip& strip, int rows,
                   float* unpacked, float* y, int N) {
  const int length = arranged_length<BITS>(blocks);
  // BEGIN YOUR CODE
  not_written("multiply_many: about 13 lines");
  // END YOUR CODE
}

float* aligned(float* p) { return p + (64 - reinterpret_cast<uintptr_t>(p) % 64) % 64 / sizeof(float); }

// Scratch memory: x in blocks, then for each worker a strip's scales and biases and a tile's weights.
template <int BITS>
struct Scratch {
  size_t arranged, scales, per_worker;

  Scratch(int M, const QuantizedMatrix& w) {
    const size_t length = arranged_length<BITS>(Blocks(w.words_per_row()));
    const size_t vectors = (static_cast<size_t>(STRIP) * w.groups_per_row() + 2 * LANES) / LANES;
    arranged = M * length;
    scales = vectors * LANES;
    per_worker = 2 * scales + (M > 1 ? TILE_COLUMNS * length : 0) + LANES;
  }
  size_t floats(int workers) const { return 16 + arranged + workers * per_worker; }
};

template <int BITS, int GROUP_WORDS>
void multiply(const float* x, ptrdiff_t x_stride, const QuantizedMatrix& w, float* y, int M, float* scratch,
              Parallel& parallel) {
  const Blocks blocks(w.words_per_row());
  const int length = arranged_length<BITS>(blocks), groups = w.groups_per_row(), N = w.rows;
  const Scratch<BITS> layout(M, w);
  float* const arranged = aligned(scratch);
  float* const workers = arranged + layout.arranged;
  const bool share = static_cast<int64_t>(M) * N * w.columns > WORTH_SHARING;

  auto arrange_row = [&](int m, int) {
    arrange<BITS>(x + m * x_stride, blocks, arranged + static_cast<size_t>(m) * length);
  };
  if (M > 16) {
    parallel.for_each(M, arrange_row);
  } else {
    for (int m = 0; m < M; m++) arrange_row(m, 0);
  }

  // A task is a run of weight rows with a run of tokens: small enough that no thread waits long for the
  // last, large enough that taking one costs nothing beside it.
  const int wanted = 8 * parallel.workers();
  const int rows_a_task = std::max(1, (N / wanted + STRIP - 1) / STRIP) * STRIP;
  const int row_runs = (N + rows_a_task - 1) / rows_a_task;
  const int tokens_a_task = std::max(1, ACTIVATIONS_AT_ONCE / length / TILE_ROWS) * TILE_ROWS;
  const int token_runs = (M + tokens_a_task - 1) / tokens_a_task;

  auto task = [&](int index, int worker) {
    const int m = index / row_runs * tokens_a_task, tokens = std::min(tokens_a_task, M - m);
    const int begin = index % row_runs * rows_a_task, end = std::min(N, begin + rows_a_task);
    const float* tokens_x = arranged + static_cast<size_t>(m) * length;
    float* scales = workers + worker * layout.per_worker;
    float* biases = scales + layout.scales;
    float* unpacked = biases + layout.scales;
    for (int n = begin; n < end; n += STRIP) {
      const int rows = std::min(STRIP, end - n);
      const size_t group = static_cast<size_t>(n) * groups;
      to_floats(w.scales, w.scale_type, group, rows * groups, scales);
      to_floats(w.biases, w.scale_type, group, rows * groups, biases);
      const Strip strip{w.words + static_cast<size_t>(n) * blocks.words, scales, biases, groups};
      float* out = y + static_cast<size_t>(m) * N + n;
      if (M == 1) {
        multiply_one<BITS, GROUP_WORDS>(tokens_x, blocks, strip, rows, out);
      } else {
        multiply_many<BITS, GROUP_WORDS>(tokens_x, tokens, blocks, strip, rows, unpacked, out, N);
      }
    }
  };
  if (share) {
    parallel.for_each(row_runs * token_runs, task);
  } else {
    for (int i = 0; i < row_runs * token_runs; i++) task(i, 0);
  }
}

// Rows of fewer words than a vector has lanes have no blocks.
bool too_short(const QuantizedMatrix& w) { return w.words_per_row() < LANES; }

}  // namespace

size_t quantized_matmul_scratch(int M, const QuantizedMatrix& w, int workers) {
  if (too_short(w)) return 0;
  return w.bits == 4 ? Scratch<4>(M, w).floats(workers) : Scratch<8>(M, w).floats(workers);
}

void quantized_matmul(const float* x, ptrdiff_t x_stride, const QuantizedMatrix& w, float* y, int M,
                      float* scratch, Parallel& parallel) {
  if (M == 0 || w.rows == 0) return;
  if (too_short(w)) return quantized_matmul_scalar(x, x_stride, w, y, M);
  auto run = [&](auto kernel) { kernel(x, x_stride, w, y, M, scratch, parallel); };
  switch (w.bits * 1000 + w.group_size) {
    case 4032: return run(multiply<4, 4>);
    case 4064: return run(multiply<4, 8>);
    case 4128: return run(multiply<4, 16>);
    case 8032: return run(multiply<8, 8>);
    case 8064: return run(multiply<8, 16>);
    case 8128: return run(multiply<8, 32>);
  }
  __builtin_trap();  // callers check bits and group size
}

}  // namespace course

// As it was given: 08d277c7b2bd5c3e
