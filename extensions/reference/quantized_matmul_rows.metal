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
  // BEGIN SOLUTION
  const uint rows = min(ROWS, N - n);
  for (uint i = lane; i < pairs_per_row; i += 32) {
    float mine[WEIGHTS], total = 0;
    for (uint v = 0; v < WEIGHTS / 4; v++) {
      const float4 four = float4(vectors[i * (WEIGHTS / 4) + v]);
      for (uint j = 0; j < 4; j++) mine[4 * v + j] = four[j];
      total += four.x + four.y + four.z + four.w;
    }
    const uint group = i * WEIGHTS / GROUP;
    for (uint r = 0; r < rows; r++) {
      const uint2 pair = pairs[r * pairs_per_row + i];
      float dot = 0;
      for (uint j = 0; j < PER_WORD; j++) {
        dot += mine[j] * float(pair.x >> (BITS * j) & MASK);
        dot += mine[PER_WORD + j] * float(pair.y >> (BITS * j) & MASK);
      }
      sums[r] += float(scales[r * groups_per_row + group]) * dot + float(biases[r * groups_per_row + group]) * total;
    }
  }
  for (uint r = 0; r < rows; r++) {
    const float sum = simd_sum(sums[r]);
    if (lane == 0) y[r] = T(sum);
  }
  // END SOLUTION
}

template [[host_name("qmv_rows_half_32_4")]] [[kernel]] decltype(qmv_rows<half, 32, 4>) qmv_rows<half, 32, 4>;
