// Yours to write: what stands between BEGIN YOUR CODE and END YOUR CODE. Save, then run the cell
// check_kernel("attention.metal", rung="simd_group") in the notebook. You may change the rest, too.
//
// Attention on a GPU, rung 1: one SIMD-group a query, with an online softmax. Made for decoding, one new token.
//
// The 32 lanes share the features: lane i has features i, i + 32, ... of the query, of every key and of the result, so
// that neighbours read neighbours. A key's score is the sum over all lanes; what is carried from key to key (the largest
// score and the sum) each lane has for itself, the same in all.
#include <metal_stdlib>
using namespace metal;

constant constexpr int LANES = 32;

template <typename T, int D>
[[kernel]] void attention_simd_group(device const T* q [[buffer(0)]],       // [B, H, L, D]
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
                                     uint lane [[thread_index_in_simdgroup]]) {
  static_assert(D % LANES == 0, "the lanes share the features evenly");
  constexpr int SHARE = D / LANES;  // features of a lane

  // A threadgroup is one SIMD-group, and it has one query. Which key/value head does it read, and how many of its keys?
  const uint l = place.x, h = place.y, b = place.z;
  const uint sharing = H / H_kv;  // query heads of a key/value head
  uint kv_head = 0;  // 0 to B * H_kv - 1
  uint seen = S;     // keys 0 to seen - 1
  // BEGIN YOUR CODE
  // Yours to write: what_is_read, about 2 lines.
  // END YOUR CODE
  device const T* query = q + ((b * H + h) * L + l) * D;
  device const T* keys = k + kv_head * S * D;
  device const T* values = v + kv_head * S * D;

  float mine[SHARE];      // of the query, scaled
  float weighted[SHARE];  // sum of exp(score - largest) * value
  float largest = -INFINITY, sum = 0;
  for (int i = 0; i < SHARE; i++) {
    mine[i] = scale * float(query[i * LANES + lane]);
    weighted[i] = 0;
  }

  for (uint s = 0; s < seen; s++) {
    float score = 0;  // of key s, in every lane
    // BEGIN YOUR CODE
    // Yours to write: score, about 2 lines.
    // END YOUR CODE

    // Take it up: largest, sum and weighted.
    // BEGIN YOUR CODE
    // Yours to write: online_softmax, about 7 lines.
    // END YOUR CODE
  }

  device T* result = out + ((b * H + h) * L + l) * D;
  for (int i = 0; i < SHARE; i++) result[i * LANES + lane] = T(weighted[i] / sum);
}

template [[host_name("attention_simd_group_half_64")]] [[kernel]] decltype(attention_simd_group<half, 64>) attention_simd_group<half, 64>;

// As it was given: 0fa43c99ecb01fc1
