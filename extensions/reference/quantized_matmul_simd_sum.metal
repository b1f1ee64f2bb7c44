// Quantized matmul in Metal, rung 1: a SIMD-group computes an output. Its 32 lanes share the row of w, and
// simd_sum() adds up what they have.
//
// The grid is [32, N, M]: lane, row of w, token. Neighbouring lanes take neighbouring words, so that what they
// read at one moment lies side by side.
#include <metal_stdlib>
using namespace metal;

template <typename T, int GROUP, int BITS>
[[kernel]] void qmv_simd_sum(device const T* x [[buffer(0)]],         // [M, K]
                             device const uint* words [[buffer(1)]],  // [N, K * BITS / 32]
                             device const T* scales [[buffer(2)]],    // [N, K / GROUP]
                             device const T* biases [[buffer(3)]],    // [N, K / GROUP]
                             device T* y [[buffer(4)]],               // [M, N]
                             constant uint& N [[buffer(5)]],
                             constant uint& K [[buffer(6)]],
                             uint3 at [[thread_position_in_grid]],
                             ushort lane [[thread_index_in_simdgroup]]) {
  constexpr uint PER_WORD = 32 / BITS, MASK = (1 << BITS) - 1;
  const uint n = at.y, m = at.z;
  const uint words_per_row = K / PER_WORD, groups_per_row = K / GROUP;

  // From here on they point to this row and this token.
  words += n * words_per_row;
  scales += n * groups_per_row;
  biases += n * groups_per_row;
  x += m * K;

  // BEGIN SOLUTION
  float sum = 0;
  for (uint i = lane; i < words_per_row; i += 32) {
    const uint word = words[i];
    const float scale = scales[i * PER_WORD / GROUP], bias = biases[i * PER_WORD / GROUP];
    for (uint j = 0; j < PER_WORD; j++) {
      const float weight = scale * float(word >> (BITS * j) & MASK) + bias;
      sum += float(x[i * PER_WORD + j]) * weight;
    }
  }
  sum = simd_sum(sum);
  if (lane == 0) y[m * N + n] = T(sum);
  // END SOLUTION
}

template [[host_name("qmv_simd_sum_half_32_4")]] [[kernel]] decltype(qmv_simd_sum<half, 32, 4>) qmv_simd_sum<half, 32, 4>;
