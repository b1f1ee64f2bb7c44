// Yours to write: what stands between BEGIN YOUR CODE and END YOUR CODE. Save, then run the cell
// check_kernel("attention.metal", rung="matrices") in the notebook. You may change the rest, too.
//
// Attention on a GPU, rung 3: products of 8 x 8 matrices, which the hardware computes. Made for prompts.
//
// A SIMD-group has 8 queries. Queries, scores and sums live in its registers, spread over the lanes as matrices; only the
// tile of keys, then values, is in threadgroup memory, for all SIMD-groups together. The scores become weights where they
// are, and a matrix of weights is a factor of the next product: they never touch memory.
#include <metal_stdlib>
using namespace metal;

constant constexpr int LANES = 32, SIDE = 8, KEYS = 32;
constant constexpr float LOWEST = -3.0e38f;  // finite: exp(LOWEST - anything near 0) is 0, and LOWEST - LOWEST no NaN

template <typename T, int D, int SIMDGROUPS = 4>
[[kernel]] void attention_matrices(device const T* q [[buffer(0)]],       // [B, H, L, D]
                                   device const T* k [[buffer(1)]],       // [B, H_kv, S, D]
                                   device const T* v [[buffer(2)]],       // [B, H_kv, S, D]
                                   device T* out [[buffer(3)]],           // [B, H, L, D]
                                   constant uint& L [[buffer(4)]],
                                   constant uint& S [[buffer(5)]],
                                   constant uint& H [[buffer(6)]],        // query heads
                                   constant uint& H_kv [[buffer(7)]],     // key/value heads
                                   constant float& scale [[buffer(8)]],
                                   constant uint& causal [[buffer(9)]],   // 1: query l sees keys 0 to S - L + l
                                   uint3 place [[threadgroup_position_in_grid]],
                                   ushort thread_index [[thread_index_in_threadgroup]],
                                   ushort simdgroup [[simdgroup_index_in_threadgroup]],
                                   ushort lane [[thread_index_in_simdgroup]]) {
  static_assert(D % SIDE == 0 && KEYS % SIDE == 0, "features come in matrices of 8");
  constexpr uint QUERIES = SIMDGROUPS * SIDE, THREADS = SIMDGROUPS * LANES;
  threadgroup vec<T, 4> fours[KEYS * D / 4];  // the tile, written four numbers at a time
  threadgroup T* tile = (threadgroup T*)fours;

  // Of each 8 x 8 matrix a lane holds two elements, (row, column) and (row, column + 1): thread_elements()[0] and [1]. The
  // four lanes of a row differ in bits 0 and 3 of their index.
  const ushort row = (lane / 4 & 4) + lane / 2 % 4, column = (lane / 4 & 2) * 2 + lane % 2 * 2;

  const uint h = place.y, b = place.z;
  const uint sharing = H / H_kv;  // query heads of a key/value head
  const uint head = b * H + h, kv_head = b * H_kv + h / sharing;
  const uint l = place.x * QUERIES + simdgroup * SIDE + row;  // this lane's query; the last block may reach past L
  const uint seen = causal ? min(S, S - L + l + 1) : S;
  device const T* keys = k + kv_head * S * D;
  device const T* values = v + kv_head * S * D;

  simdgroup_matrix<T, SIDE, SIDE> queries[D / SIDE];
  simdgroup_float8x8 weighted[D / SIDE];
  for (int j = 0; j < D / SIDE; j++) {
    device const T* pair = q + (head * L + l) * D + j * SIDE + column;
    for (int e = 0; e < 2; e++) queries[j].thread_elements()[e] = l < L ? pair[e] : T(0);
    weighted[j] = make_filled_simdgroup_matrix<float, SIDE, SIDE>(0.0f);
  }
  float largest = LOWEST, sum = 0;  // of this lane's query

  const uint end = causal ? min(S, S - L + (place.x + 1) * QUERIES) : S;
  for (uint first = 0; first < end; first += KEYS) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = thread_index; i < KEYS * D / 4; i += THREADS) {
      fours[i] = first + i * 4 / D < S ? ((device const vec<T, 4>*)(keys + first * D))[i] : vec<T, 4>(0);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);

    // scores[n]: 8 queries by keys 8 n to 8 n + 7 of the tile, not scaled yet.
    simdgroup_float8x8 scores[KEYS / SIDE];
    for (int n = 0; n < KEYS / SIDE; n++) {
      scores[n] = make_filled_simdgroup_matrix<float, SIDE, SIDE>(0.0f);
      // BEGIN YOUR CODE
      // Yours to write: scores, about 5 lines.
      // END YOUR CODE
    }

    // The online softmax of this lane's row: its elements are scores[n].thread_elements()[e], of key
    // first + n * SIDE + column + e. In the end they hold the weights.
    // BEGIN YOUR CODE
    // Yours to write: online_softmax, about 27 lines.
    // END YOUR CODE

    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = thread_index; i < KEYS * D / 4; i += THREADS) {
      fours[i] = first + i * 4 / D < S ? ((device const vec<T, 4>*)(values + first * D))[i] : vec<T, 4>(0);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);

    // weighted[j] += weights times values, features 8 j to 8 j + 7.
    // BEGIN YOUR CODE
    // Yours to write: weighted_sum, about 7 lines.
    // END YOUR CODE
  }

  if (l >= L) return;
  for (int j = 0; j < D / SIDE; j++) {
    device T* pair = out + (head * L + l) * D + j * SIDE + column;
    for (int e = 0; e < 2; e++) pair[e] = T(weighted[j].thread_elements()[e] / sum);
  }
}

template [[host_name("attention_matrices_half_64")]] [[kernel]] decltype(attention_matrices<half, 64>) attention_matrices<half, 64>;

// As it was given: 35061f1a80bdf56b
