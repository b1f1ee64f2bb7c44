// Quantized matmul in Metal, between rungs 2 and 3: for a few tokens, as when a few requests decode together. A
// SIMD-group computes ROWS outputs of TOKENS tokens. A lane loads the x of all of them, and each word once for all.
//
// The grid is [32, N / ROWS rounded up, M / TOKENS rounded up]: lane, block of rows, block of tokens. The rest is as
// in rung 2.
#include <metal_stdlib>
using namespace metal;

constant constexpr uint ROWS = 4, TOKENS = 4;

template <typename T, int GROUP, int BITS>
[[kernel]] void qmv_few_tokens(device const T* x [[buffer(0)]],         // [M, K]
                               device const uint* words [[buffer(1)]],  // [N, K * BITS / 32]
                               device const T* scales [[buffer(2)]],    // [N, K / GROUP]
                               device const T* biases [[buffer(3)]],    // [N, K / GROUP]
                               device T* y [[buffer(4)]],               // [M, N]
                               constant uint& M [[buffer(5)]],
                               constant uint& N [[buffer(6)]],
                               constant uint& K [[buffer(7)]],
                               uint3 at [[thread_position_in_grid]],
                               ushort lane [[thread_index_in_simdgroup]]) {
  constexpr uint PER_WORD = 32 / BITS, MASK = (1 << BITS) - 1;
  constexpr uint WEIGHTS = 2 * PER_WORD;
  const uint n = at.y * ROWS, m = at.z * TOKENS;  // the first of the rows, and of the tokens
  const uint pairs_per_row = K / WEIGHTS, groups_per_row = K / GROUP;

  // From here on they point to the first of the rows, and of the tokens.
  device const uint2* pairs = (device const uint2*)words + n * pairs_per_row;
  device const vec<T, 4>* vectors = (device const vec<T, 4>*)(x + m * K);
  scales += n * groups_per_row;
  biases += n * groups_per_row;
  y += m * N + n;

  float sums[TOKENS][ROWS] = {};
  // BEGIN SOLUTION
  const uint rows = min(ROWS, N - n), tokens = min(TOKENS, M - m);
  for (uint i = lane; i < pairs_per_row; i += 32) {
    float mine[TOKENS][WEIGHTS], totals[TOKENS];
    for (uint t = 0; t < tokens; t++) {
      totals[t] = 0;
      for (uint v = 0; v < WEIGHTS / 4; v++) {
        const float4 four = float4(vectors[t * K / 4 + i * (WEIGHTS / 4) + v]);
        for (uint j = 0; j < 4; j++) mine[t][4 * v + j] = four[j];
        totals[t] += four.x + four.y + four.z + four.w;
      }
    }
    const uint group = i * WEIGHTS / GROUP;
    for (uint r = 0; r < rows; r++) {
      const uint2 pair = pairs[r * pairs_per_row + i];
      const float scale = scales[r * groups_per_row + group], bias = biases[r * groups_per_row + group];
      float dots[TOKENS] = {};
      for (uint j = 0; j < PER_WORD; j++) {
        const float low = float(pair.x >> (BITS * j) & MASK), high = float(pair.y >> (BITS * j) & MASK);
        for (uint t = 0; t < tokens; t++) dots[t] += mine[t][j] * low + mine[t][PER_WORD + j] * high;
      }
      for (uint t = 0; t < tokens; t++) sums[t][r] += scale * dots[t] + bias * totals[t];
    }
  }
  for (uint t = 0; t < tokens; t++)
    for (uint r = 0; r < rows; r++) {
      const float sum = simd_sum(sums[t][r]);
      if (lane == 0) y[t * N + r] = T(sum);
    }
  // END SOLUTION
}

template [[host_name("qmv_few_tokens_half_32_4")]] [[kernel]] decltype(qmv_few_tokens<half, 32, 4>) qmv_few_tokens<half, 32, 4>;
