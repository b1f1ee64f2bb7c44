// Attention on a GPU, rung 0: one thread a query, by the definition.
//
// A thread has nowhere to keep the scores of all keys. So it goes through the keys twice: once for the largest score,
// and once more for the sums, computing every score again.
#include <metal_stdlib>
using namespace metal;

// query * key, over D features.
template <typename T, int D>
float dot_product(device const T* query, device const T* key) {
  float sum = 0;
  for (int d = 0; d < D; d++) sum += float(query[d]) * float(key[d]);
  return sum;
}

template <typename T, int D>
[[kernel]] void attention_one_thread(device const T* q [[buffer(0)]],       // [B, H, L, D]
                                     device const T* k [[buffer(1)]],       // [B, H_kv, S, D]
                                     device const T* v [[buffer(2)]],       // [B, H_kv, S, D]
                                     device T* out [[buffer(3)]],           // [B, H, L, D]
                                     constant uint& L [[buffer(4)]],
                                     constant uint& S [[buffer(5)]],
                                     constant uint& H [[buffer(6)]],        // query heads
                                     constant uint& H_kv [[buffer(7)]],     // key/value heads
                                     constant float& scale [[buffer(8)]],
                                     constant uint& causal [[buffer(9)]],   // 1: query l sees keys 0 to S - L + l
                                     uint3 place [[thread_position_in_grid]]) {
  const uint l = place.x, h = place.y, b = place.z;
  const uint sharing = H / H_kv;  // query heads of a key/value head
  const uint head = b * H + h, kv_head = b * H_kv + h / sharing;
  device const T* query = q + (head * L + l) * D;
  device const T* keys = k + kv_head * S * D;
  device const T* values = v + kv_head * S * D;
  const uint seen = causal ? S - L + l + 1 : S;

  float largest = -INFINITY;
  for (uint s = 0; s < seen; s++) largest = max(largest, scale * dot_product<T, D>(query, keys + s * D));

  float sum = 0, weighted[D];
  for (int d = 0; d < D; d++) weighted[d] = 0;
  for (uint s = 0; s < seen; s++) {
    const float weight = exp(scale * dot_product<T, D>(query, keys + s * D) - largest);
    sum += weight;
    for (int d = 0; d < D; d++) weighted[d] += weight * float(values[s * D + d]);
  }
  for (int d = 0; d < D; d++) out[(head * L + l) * D + d] = T(weighted[d] / sum);
}

template [[host_name("attention_one_thread_half_64")]] [[kernel]] decltype(attention_one_thread<half, 64>) attention_one_thread<half, 64>;
