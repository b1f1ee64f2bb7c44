// Yours to write: what stands between BEGIN YOUR CODE and END YOUR CODE. Save, then run the cell
// check_kernel("quantized_matmul.metal", rung="simd_sum") in the notebook. You may change the rest, too.
//
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

  // BEGIN YOUR CODE
  // Yours to write: dot_row, about 11 lines.
  // END YOUR CODE
}

template [[host_name("qmv_simd_sum_half_32_4")]] [[kernel]] decltype(qmv_simd_sum<half, 32, 4>) qmv_simd_sum<half, 32, 4>;

// As it was given: 0e2c34599e43effb
