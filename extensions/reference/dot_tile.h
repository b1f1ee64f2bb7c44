// A tile of dot products: ROWS vectors with COLUMNS vectors, all of the same length.
//
// Each loaded vector serves a whole row or column of the tile, so that the multipliers wait less for
// memory: (ROWS + COLUMNS) loads feed ROWS * COLUMNS multiply-adds. Matrix products (the rows are
// tokens, the columns weight rows) and attention scores (queries and keys) are made of these.
#pragma once

#include "vector.h"

namespace course {

// The largest tile whose accumulators (two for each dot product) and operands fit the registers.
constexpr int TILE_ROWS = 3;
constexpr int TILE_COLUMNS = REGISTERS >= 32 ? 4 : 2;

// sums[r * COLUMNS + c] = dot product of rows[r] and columns[c].
//
// Every dot product is summed in the same order in every tile: two accumulators, for even and odd
// vectors, which also hide the latency of the additions; then their lanes. A token's result therefore
// does not depend on how many tokens share the tile.
//
//   rows     [ROWS, length], row_stride floats apart
//   columns  [COLUMNS, length], column_stride floats apart
//   length   a multiple of LANES
template <int ROWS, int COLUMNS>
ALWAYS_INLINE void dot_tile(const float* rows, ptrdiff_t row_stride, const float* columns,
                            ptrdiff_t column_stride, int length, float* sums) {
  constexpr int COUNT = ROWS * COLUMNS;
  Floats even[COUNT] = {}, odd[COUNT] = {};
  auto step = [&](int k, Floats* accumulators) __attribute__((always_inline)) {
    Floats column[COLUMNS];
    for (int c = 0; c < COLUMNS; c++) column[c] = load_once(columns + c * column_stride + k);
    for (int r = 0; r < ROWS; r++) {
      Floats row = load_once(rows + r * row_stride + k);
      for (int c = 0; c < COLUMNS; c++) accumulators[r * COLUMNS + c] += row * column[c];
    }
  };
  int k = 0;
  for (; k + 2 * LANES <= length; k += 2 * LANES) {
    step(k, even);
    step(k + LANES, odd);
  }
  if (k < length) step(k, even);

  for (int i = 0; i < COUNT; i++) even[i] += odd[i];
  for (int i = 0; i < COUNT; i += 4) {
    int n = COUNT - i < 4 ? COUNT - i : 4;
    Floats four = sum_lanes(even[i], n > 1 ? even[i + 1] : even[i], n > 2 ? even[i + 2] : even[i],
                            n > 3 ? even[i + 3] : even[i]);
    for (int j = 0; j < n; j++) sums[i + j] = four[j];
  }
}

}  // namespace course
