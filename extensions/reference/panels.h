// A packed matrix laid out anew: sixteen rows side by side.
//
// A row after the other, as MLX stores a matrix, a vector holds weights of one row, and its lanes have to be added up in
// the end. Here lane n of every vector belongs to row n of a panel of sixteen: nothing is added across lanes, the
// scales of a vector lie in a vector, and what belongs together comes from memory in one stream.
//
//   panel   of 16 rows: group after group; missing rows at the end are zeros
//   group   of `group_size` columns: 16 scales, 16 biases, then chunk after chunk
//   chunk   of 32 columns: 8 lines for 8-bit weights; line q is 64 bytes, byte 4 n + i is weight 4 q + i of row n.
//           For 4-bit weights two lines share one: line 2 q in its bytes' lower halves, line 2 q + 1 in their upper.
//
// The line is what both of Intel's instructions for bytes read, and llama.cpp's "repack" does much the same
// (https://github.com/ggml-org/llama.cpp/tree/master/ggml/src/ggml-cpu).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "parallel.h"
#include "quantized_matrix.h"

namespace course {

constexpr int PANEL_ROWS = 16;
constexpr int CHUNK = 32;                    // columns
constexpr int LINE = 4 * PANEL_ROWS;         // bytes: four columns
constexpr int LINES = CHUNK / 4;             // of a chunk, unpacked
// How far ahead of its use a panel's memory is asked for, in bytes. The processor's own prefetcher alone reached half of
// the bandwidth where this was measured.
constexpr int AHEAD_IN_PANEL = 8192;

class Panels {
 public:
  // Lays w out; its memory is not needed any more afterwards.
  Panels(const QuantizedMatrix& w, Parallel& parallel);

  int rows() const { return rows_; }
  int columns() const { return columns_; }
  int bits() const { return bits_; }
  FloatType scale_type() const { return scale_type_; }
  int count() const { return (rows_ + PANEL_ROWS - 1) / PANEL_ROWS; }
  int groups() const { return columns_ / group_size_; }
  int chunks_a_group() const { return group_size_ / CHUNK; }
  int chunk_bytes() const { return CHUNK * PANEL_ROWS * bits_ / 8; }
  int scales_bytes() const { return 2 * PANEL_ROWS * static_cast<int>(bytes_of(scale_type_)); }
  int group_bytes() const { return scales_bytes() + chunks_a_group() * chunk_bytes(); }
  size_t panel_bytes() const { return static_cast<size_t>(groups()) * group_bytes(); }
  size_t bytes() const { return count() * panel_bytes(); }
  const uint8_t* panel(int index) const { return memory_.get() + index * panel_bytes(); }

 private:
  void lay_out(const QuantizedMatrix& w, int panel);

  int rows_, columns_, group_size_, bits_;
  FloatType scale_type_;
  std::shared_ptr<uint8_t> memory_;
};

}  // namespace course
