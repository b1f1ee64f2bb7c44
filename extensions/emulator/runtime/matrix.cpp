// simdgroup_multiply_accumulate: c += a b for 8 x 8 matrices that 32 lanes hold, two elements of each a lane.
#include <cstring>

#include "../msl/interface.h"

extern "C" bool emulator_matrix_multiply(const void* const* in, void* const* out, uint32_t lanes) {
  float a[8][8] = {}, b[8][8] = {}, c[8][8] = {};
  int rows[32], columns[32];
  for (int lane = 0; lane < 32; lane++) {  // as simdgroup_matrix::first_row and first_column
    const int row = rows[lane] = (lane / 4 & 4) + lane / 2 % 4;
    const int column = columns[lane] = (lane / 4 & 2) * 2 + lane % 2 * 2;
    if (!(lanes >> lane & 1)) continue;
    const float* mine = static_cast<const float*>(in[lane]);
    std::memcpy(&a[row][column], mine, 8);
    std::memcpy(&b[row][column], mine + 2, 8);
    std::memcpy(&c[row][column], mine + 4, 8);
  }
  for (int i = 0; i < 8; i++)
    for (int k = 0; k < 8; k++)
      for (int j = 0; j < 8; j++) c[i][j] += a[i][k] * b[k][j];
  for (int lane = 0; lane < 32; lane++)
    if (lanes >> lane & 1) std::memcpy(out[lane], &c[rows[lane]][columns[lane]], 8);
  return true;
}
