// Quantized matmul in Metal, rung 0: a thread computes an output, from the first weight of its row to the last.
//
// The lanes of a SIMD-group take neighbouring rows of w, so what they read at one moment lies a whole row apart.
#include <metal_stdlib>
using namespace metal;

template <typename T, int GROUP, int BITS>
[[kernel]] void qmv_one_thread(device const T* x [[buffer(0)]],         // [M, K]
                               device const uint* words [[buffer(1)]],  // [N, K * BITS / 32]
                               device const T* scales [[buffer(2)]],    // [N, K / GROUP]
                               device const T* biases [[buffer(3)]],    // [N, K / GROUP]
                               device T* y [[buffer(4)]],               // [M, N]
                               constant uint& N [[buffer(5)]],
                               constant uint& K [[buffer(6)]],
                               uint2 at [[thread_position_in_grid]]) {
  constexpr uint PER_WORD = 32 / BITS, MASK = (1 << BITS) - 1;
  const uint n = at.x, m = at.y;
  const uint words_per_row = K / PER_WORD, groups_per_row = K / GROUP;

  float sum = 0;
  for (uint i = 0; i < words_per_row; i++) {
    const uint word = words[n * words_per_row + i];
    const uint group = n * groups_per_row + i * PER_WORD / GROUP;
    const float scale = scales[group], bias = biases[group];
    for (uint j = 0; j < PER_WORD; j++) {
      const float weight = scale * float(word >> (BITS * j) & MASK) + bias;
      sum += float(x[m * K + i * PER_WORD + j]) * weight;
    }
  }
  y[m * N + n] = T(sum);
}

template [[host_name("qmv_one_thread_half_32_4")]] [[kernel]] decltype(qmv_one_thread<half, 32, 4>) qmv_one_thread<half, 32, 4>;
