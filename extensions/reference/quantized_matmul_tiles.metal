// Quantized matmul in Metal, rung 3: for many tokens. A threadgroup computes a tile of TILE tokens by TILE rows of w.
// It goes along K in steps of TILE: x and the unpacked weights of a step go to threadgroup memory, once, and
// simdgroup_matrix multiplies them, 8 by 8 by 8.
//
// The threadgroup has 4 SIMD-groups of 32 lanes, each with a quarter of the tile: 16 tokens by 16 rows, which are
// 2 by 2 matrices. The grid is [128 * (N / TILE rounded up), M / TILE rounded up]. K is a multiple of TILE; M and N
// may be anything, so the last tiles reach over the edge.
#include <metal_stdlib>
using namespace metal;

constant constexpr uint TILE = 32, THREADS = 128;

template <typename T, int GROUP, int BITS>
[[kernel]] void qmm_tiles(device const T* x [[buffer(0)]],         // [M, K]
                          device const uint* words [[buffer(1)]],  // [N, K * BITS / 32]
                          device const T* scales [[buffer(2)]],    // [N, K / GROUP]
                          device const T* biases [[buffer(3)]],    // [N, K / GROUP]
                          device T* y [[buffer(4)]],               // [M, N]
                          constant uint& M [[buffer(5)]],
                          constant uint& N [[buffer(6)]],
                          constant uint& K [[buffer(7)]],
                          uint2 tile [[threadgroup_position_in_grid]],
                          ushort thread_index [[thread_index_in_threadgroup]],
                          ushort simdgroup [[simdgroup_index_in_threadgroup]]) {
  constexpr uint PER_WORD = 32 / BITS, MASK = (1 << BITS) - 1;
  constexpr uint TILE_WORDS = TILE / PER_WORD;  // of a row, in one step
  const uint n = tile.x * TILE, m = tile.y * TILE;
  const uint words_per_row = K / PER_WORD, groups_per_row = K / GROUP;

  threadgroup T x_tile[TILE * TILE];      // [token, k]
  threadgroup T w_tile[TILE * TILE];      // [row, k], unpacked
  threadgroup float y_tile[TILE * TILE];  // [token, row]

  const uint first_token = simdgroup / 2 * 16, first_row = simdgroup % 2 * 16;  // of this SIMD-group's quarter
  simdgroup_float8x8 sums[2][2];
  for (uint a = 0; a < 2; a++)
    for (uint b = 0; b < 2; b++) sums[a][b] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);

  for (uint k = 0; k < K; k += TILE) {
    // Part 1: columns k to k + TILE of x and w into x_tile and w_tile; 0 where there is no token or no row.
    // BEGIN SOLUTION
    for (uint i = thread_index; i < TILE * TILE; i += THREADS) {
      const uint token = m + i / TILE;
      x_tile[i] = token < M ? x[token * K + k + i % TILE] : T(0);
    }
    for (uint i = thread_index; i < TILE * TILE_WORDS; i += THREADS) {
      const uint row = n + i / TILE_WORDS, place = k / PER_WORD + i % TILE_WORDS;
      uint word = 0;
      float scale = 0, bias = 0;
      if (row < N) {
        word = words[row * words_per_row + place];
        scale = scales[row * groups_per_row + place * PER_WORD / GROUP];
        bias = biases[row * groups_per_row + place * PER_WORD / GROUP];
      }
      for (uint j = 0; j < PER_WORD; j++)
        w_tile[i * PER_WORD + j] = T(scale * float(word >> (BITS * j) & MASK) + bias);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    // END SOLUTION

    // Part 2: sums[a][b] += tokens of x_tile times rows of w_tile, transposed.
    // BEGIN SOLUTION
    for (uint j = 0; j < TILE; j += 8) {
      simdgroup_matrix<T, 8, 8> tokens[2], rows[2];
      for (uint a = 0; a < 2; a++) {
        simdgroup_load(tokens[a], x_tile + (first_token + 8 * a) * TILE + j, TILE);
        simdgroup_load(rows[a], w_tile + (first_row + 8 * a) * TILE + j, TILE, ulong2(0, 0), true);
      }
      for (uint a = 0; a < 2; a++)
        for (uint b = 0; b < 2; b++) simdgroup_multiply_accumulate(sums[a][b], tokens[a], rows[b], sums[a][b]);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    // END SOLUTION
  }

  // The way out: through threadgroup memory, since only part of a tile may lie inside y.
  for (uint a = 0; a < 2; a++)
    for (uint b = 0; b < 2; b++)
      simdgroup_store(sums[a][b], y_tile + (first_token + 8 * a) * TILE + first_row + 8 * b, TILE);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint i = thread_index; i < TILE * TILE; i += THREADS) {
    const uint token = m + i / TILE, row = n + i % TILE;
    if (token < M && row < N) y[token * N + row] = T(y_tile[i]);
  }
}

template [[host_name("qmm_tiles_half_32_4")]] [[kernel]] decltype(qmm_tiles<half, 32, 4>) qmm_tiles<half, 32, 4>;
