// Yours to write: what stands between BEGIN YOUR CODE and END YOUR CODE. Save, then run the cell
// check_kernel("quantized_matmul", rung="vectors") in the notebook. You may change the rest, too.
//
// Quantized matmul, rung 1: as many weights at a time as a vector has lanes, on one thread.
//
// vector.h has the vectors: load and store, + and *, sum_lanes. quantized_blocks.h has the order of the work:
// blocks of LANES words, and unpack(), which gives weight j of every word of a block.
#include "quantized_matmul.h"
#include "quantized_matmul_ladder.h"
#include "not_written.h"

namespace course {

namespace {

// The dot product of one token with one packed row.
//
//   arranged  the token's x, in the order in which the row is unpacked: for each block, for each j from 0
//             to PER_WORD<BITS> - 1, LANES floats
//   blocks    how the row is cut into blocks of LANES words
//   words     the row, [blocks.words]
//   scales    the row's scales, as floats, one for each GROUP_WORDS words; any can be loaded as a vector
//   biases    the same
template <int BITS, int GROUP_WORDS>
float dot_row(const float* arranged, Blocks blocks, const uint32_t* words, const float* scales,
              const float* biases) {
  // BEGIN YOUR CODE
  not_written("dot_row: about 11 lines");
  // END YOUR CODE
}

template <int BITS, int GROUP_WORDS>
void rows(const float* arranged, int M, const QuantizedMatrix& w, int begin, int end, float* y, float* scratch) {
  const Blocks blocks(w.words_per_row());
  const int groups = w.groups_per_row();
  float *const scales = scratch, *const biases = scratch + row_scratch(w) / 2;
  for (int n = begin; n < end; n++) {
    const size_t group = static_cast<size_t>(n) * groups;
    to_floats(w.scales, w.scale_type, group, groups, scales);
    to_floats(w.biases, w.scale_type, group, groups, biases);
    const uint32_t* words = w.words + static_cast<size_t>(n) * blocks.words;
    for (int m = 0; m < M; m++) {
      const float* token = arranged + m * arranged_floats(w);
      y[static_cast<size_t>(m) * w.rows + n] = dot_row<BITS, GROUP_WORDS>(token, blocks, words, scales, biases);
    }
  }
}

}  // namespace

void multiply_rows(const float* arranged, int M, const QuantizedMatrix& w, int begin, int end, float* y,
                   float* scratch) {
  auto run = [&](auto kernel) { kernel(arranged, M, w, begin, end, y, scratch); };
  switch (w.bits * 1000 + w.group_size) {
    case 4032: return run(rows<4, 4>);
    case 4064: return run(rows<4, 8>);
    case 4128: return run(rows<4, 16>);
    case 8032: return run(rows<8, 8>);
    case 8064: return run(rows<8, 16>);
    case 8128: return run(rows<8, 32>);
  }
  __builtin_trap();  // callers check bits and group size
}

size_t quantized_matmul_vectors_scratch(int M, const QuantizedMatrix& w, int) {
  return too_short(w) ? 0 : M * arranged_floats(w) + row_scratch(w);
}

void quantized_matmul_vectors(const float* x, ptrdiff_t x_stride, const QuantizedMatrix& w, float* y, int M,
                              float* scratch, Parallel&) {
  if (M == 0 || w.rows == 0) return;
  if (too_short(w)) return quantized_matmul_scalar(x, x_stride, w, y, M);
  float* const arranged = scratch;
  arrange_rows(x, x_stride, w, M, arranged);
  multiply_rows(arranged, M, w, 0, w.rows, y, arranged + M * arranged_floats(w));
}

}  // namespace course

// As it was given: 65b3e4cf58aa52e5
