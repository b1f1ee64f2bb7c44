// Yours to write: what stands between BEGIN YOUR CODE and END YOUR CODE. Save, then run the cell
// check_kernel("quantized_matmul.metal", rung="rows") in the notebook. You may change the rest, too.
//
// Quantized matmul in Metal, rung 2: a SIMD-group computes ROWS outputs of one token. A lane loads its x once, in
// vectors of four, keeps them in registers, and uses them for all ROWS rows.
//
// The grid is [32, N / ROWS rounded up, M]: lane, block of rows, token. A lane takes two neighbouring words at a
// time, which are WEIGHTS weights, all of one group. In a group
//
//   sum of x * (scale * q + bias)  =  scale * sum of x * q  +  bias * sum of x
//
// and the sum of x, too, serves all rows.
#include <metal_stdlib>
using namespace metal;

constant constexpr uint ROWS = 4;

template <typename T, int GROUP, int BITS>
[[kernel]] void qmv_rows(device const T* x [[buffer(0)]],         // [M, K]
                         device const uint* words [[buffer(1)]],  // [N, K * BITS / 32]
                         device const T* scales [[buffer(2)]],    // [N, K / GROUP]
                         device const T* biases [[buffer(3)]],    // [N, K / GROUP]
                         device T* y [[buffer(4)]],               // [M, N]
                         constant uint& N [[buffer(5)]],
                         constant uint& K [[buffer(6)]],
                         uint3 at [[thread_position_in_grid]],
                         ushort lane [[thread_index_in_simdgroup]]) {
  constexpr uint PER_WORD = 32 / BITS, MASK = (1 << BITS) - 1;
  constexpr uint WEIGHTS = 2 * PER_WORD;
  const uint n = at.y * ROWS, m = at.z;  // the first of the rows
  const uint pairs_per_row = K / WEIGHTS, groups_per_row = K / GROUP;

  // From here on they point to the first of the rows, and to this token.
  device const uint2* pairs = (device const uint2*)words + n * pairs_per_row;
  device const vec<T, 4>* vectors = (device const vec<T, 4>*)(x + m * K);
  scales += n * groups_per_row;
  biases += n * groups_per_row;
  y += m * N + n;

  float sums[ROWS] = {0, 0, 0, 0};
  // BEGIN YOUR CODE
  // Yours to write: dot_rows, about 23 lines.
  // END YOUR CODE
}

template [[host_name("qmv_rows_half_32_4")]] [[kernel]] decltype(qmv_rows<half, 32, 4>) qmv_rows<half, 32, 4>;

// As it was given: 65eca28f483455ed
