// Yours to write: what stands between BEGIN YOUR CODE and END YOUR CODE. Save, then run the cell
// check_kernel("attention.metal", rung="tiles") in the notebook. You may change the rest, too.
//
// Attention on a GPU, rung 2: a block of queries and a tile of keys in threadgroup memory. Made for prompts.
//
// What is read from device memory is read once for QUERIES queries instead of once for each. The block of queries stays
// for the whole walk; the tile holds KEYS keys, then their values, then the next keys.
//
// The block's rows are shared out to the SIMD-groups. For the scores a lane has a key of the tile; for the sums it has
// features lane, lane + 32, ... of the result.
#include <metal_stdlib>
using namespace metal;

constant constexpr int LANES = 32, SIMDGROUPS = 4, THREADS = SIMDGROUPS * LANES;
constant constexpr int KEYS = LANES;         // a key a lane
constant constexpr float LOWEST = -3.0e38f;  // finite: exp(LOWEST - anything near 0) is 0, and LOWEST - LOWEST no NaN

template <typename T, int D, int QUERIES = 16>
[[kernel]] void attention_tiles(device const T* q [[buffer(0)]],       // [B, H, L, D]
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
  static_assert(D % LANES == 0 && QUERIES % SIMDGROUPS == 0, "lanes share features, SIMD-groups share queries");
  constexpr int SHARE = D / LANES;             // features of a lane
  constexpr int ROWS = QUERIES / SIMDGROUPS;   // queries of a SIMD-group
  constexpr int PITCH = D + 1;                 // one more than D: the same feature of 32 keys lies in 32 banks
  threadgroup T block[QUERIES * D];
  threadgroup T tile[KEYS * PITCH];            // key j, then value j, begins at j * PITCH

  const uint h = place.y, b = place.z;
  const uint sharing = H / H_kv;  // query heads of a key/value head
  const uint head = b * H + h, kv_head = b * H_kv + h / sharing;
  const uint first_query = place.x * QUERIES;  // of the block; the last block may reach past L
  device const T* queries = q + (head * L + first_query) * D;
  device const T* keys = k + kv_head * S * D;
  device const T* values = v + kv_head * S * D;

  for (uint i = thread_index; i < QUERIES * D; i += THREADS) block[i] = first_query + i / D < L ? queries[i] : T(0);

  float largest[ROWS], sum[ROWS], weighted[ROWS][SHARE];
  for (int r = 0; r < ROWS; r++) {
    largest[r] = LOWEST;
    sum[r] = 0;
    for (int i = 0; i < SHARE; i++) weighted[r][i] = 0;
  }

  // Keys that the block's last query sees; tiles behind them are not visited.
  const uint end = causal ? min(S, S - L + first_query + QUERIES) : S;
  for (uint first = 0; first < end; first += KEYS) {
    // Keys first to first + KEYS - 1 into the tile, by all threads; zeros behind key S - 1. When may they be written, and
    // when read?
    // BEGIN YOUR CODE
    // Yours to write: load_keys, about 5 lines.
    // END YOUR CODE

    float weights[ROWS];  // of key first + lane
    for (int r = 0; r < ROWS; r++) {
      const uint row = simdgroup * ROWS + r, l = first_query + row;
      const uint seen = causal ? min(S, S - L + l + 1) : S;
      float score = 0;
      // The score of key first + lane, LOWEST if the query does not see it. Then the online softmax: largest[r], sum[r]
      // and weighted[r] are corrected, and weights[r] is exp(score - largest[r]).
      // BEGIN YOUR CODE
      // Yours to write: online_softmax, about 8 lines.
      // END YOUR CODE
    }

    // The values of these keys into the tile, in the keys' place.
    // BEGIN YOUR CODE
    // Yours to write: load_values, about 5 lines.
    // END YOUR CODE

    // weighted[r][i] takes up feature i * LANES + lane of all KEYS values; a key's weight is in that key's lane.
    // BEGIN YOUR CODE
    // Yours to write: weighted_sum, about 6 lines.
    // END YOUR CODE
  }

  for (int r = 0; r < ROWS; r++) {
    const uint l = first_query + simdgroup * ROWS + r;
    if (l >= L) continue;
    for (int i = 0; i < SHARE; i++) out[(head * L + l) * D + i * LANES + lane] = T(weighted[r][i] / sum[r]);
  }
}

template [[host_name("attention_tiles_half_64")]] [[kernel]] decltype(attention_tiles<half, 64>) attention_tiles<half, 64>;

// As it was given: 6bbfec6e82ba1505
