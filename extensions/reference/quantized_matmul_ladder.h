// Notebook 02's ladder: quantized matmul in four rungs, each one idea faster than the one before.
//
//   scalar   quantized_matmul_scalar.cpp    the definition, one weight at a time
//   vectors  quantized_matmul_vectors.cpp   as many weights at a time as a vector has lanes
//   threads  quantized_matmul_threads.cpp   the rows of W handed out to several threads
//   tiles    quantized_matmul.cpp           weights unpacked once and used for several tokens
//
// The last rung is `quantized_matmul`, for any number of tokens.
#pragma once

#include "parallel.h"
#include "quantized_blocks.h"
#include "quantized_matrix.h"

namespace course {

// y[m, n] = sum over k of x[m, k] * w[n, k], in float.
//
//   x        [M, K], rows x_stride floats apart
//   w        [N, K], packed
//   y        [M, N], contiguous
//   scratch  as many floats as the rung's QuantizedMatmulScratch says
//   parallel the threads to run on
using QuantizedMatmul = void(const float* x, ptrdiff_t x_stride, const QuantizedMatrix& w, float* y, int M,
                             float* scratch, Parallel& parallel);

// Floats of scratch memory for M tokens and `workers` threads.
using QuantizedMatmulScratch = size_t(int M, const QuantizedMatrix& w, int workers);

struct QuantizedMatmulRung {
  const char* name;
  QuantizedMatmul* run;
  QuantizedMatmulScratch* scratch;
};

// The rung with this name; nullptr if there is none.
const QuantizedMatmulRung* quantized_matmul_rung(const char* name);

QuantizedMatmul quantized_matmul_vectors, quantized_matmul_threads;
QuantizedMatmulScratch quantized_matmul_vectors_scratch, quantized_matmul_threads_scratch;

// Rows of fewer words than a vector has lanes have no blocks: the scalar kernel does them.
inline bool too_short(const QuantizedMatrix& w) { return w.words_per_row() < LANES; }

// x [M, K] with each row in blocks (quantized_blocks.h): arranged, [M, arranged_floats(w)].
inline size_t arranged_floats(const QuantizedMatrix& w) {
  const Blocks blocks(w.words_per_row());
  return w.bits == 4 ? arranged_length<4>(blocks) : arranged_length<8>(blocks);
}

inline void arrange_rows(const float* x, ptrdiff_t x_stride, const QuantizedMatrix& w, int M, float* arranged) {
  const Blocks blocks(w.words_per_row());
  for (int m = 0; m < M; m++, x += x_stride, arranged += arranged_floats(w)) {
    w.bits == 4 ? arrange<4>(x, blocks, arranged) : arrange<8>(x, blocks, arranged);
  }
}

// Floats of scratch memory for one call of multiply_rows.
inline size_t row_scratch(const QuantizedMatrix& w) {
  // Twice the scales of a row, in whole vectors; and a vector of them can be loaded from the last one on.
  const size_t scales = static_cast<size_t>((w.groups_per_row() + 2 * LANES - 1) / LANES * LANES);
  // And 128 bytes that nobody uses: where two workers write to the same cache line, each write takes it
  // away from the other core ("false sharing").
  return 2 * scales + 32;
}

// Rung `vectors` for some rows of W: y[m, n] for all m and for n from `begin` up to `end`.
//
//   arranged  [M, arranged_floats(w)]
//   y         [M, N], of which the columns from `begin` to `end` are written
//   scratch   row_scratch(w) floats, of which nothing is left afterwards
void multiply_rows(const float* arranged, int M, const QuantizedMatrix& w, int begin, int end, float* y,
                   float* scratch);

}  // namespace course
