// Yours to write: what stands between BEGIN YOUR CODE and END YOUR CODE. Save, then run the cell
// check_kernel("attention.metal", rung="split_keys") in the notebook. You may change the rest, too.
//
// Attention on a GPU, the stretch rung: split-K decode. The keys of one query are cut into spans, one SIMD-group each, on
// as many of the GPU's cores as there are; a second launch merges what they carried. Known as Flash-Decoding.
#include <metal_stdlib>
using namespace metal;

constant constexpr int LANES = 32;
constant constexpr float LOWEST = -3.0e38f;  // the largest score of a span in which the query sees no key

// What a span carries is D + 2 floats: the weighted sum of its values, its largest score, its sum of weights.
template <typename T, int D>
[[kernel]] void attend_spans(device const T* q [[buffer(0)]],      // [B, H, L, D]
                             device const T* k [[buffer(1)]],      // [B, H_kv, S, D]
                             device const T* v [[buffer(2)]],      // [B, H_kv, S, D]
                             device float* parts [[buffer(3)]],    // [B, H, L, spans, D + 2]
                             constant uint& L [[buffer(4)]],
                             constant uint& S [[buffer(5)]],
                             constant uint& H [[buffer(6)]],       // query heads
                             constant uint& H_kv [[buffer(7)]],    // key/value heads
                             constant float& scale [[buffer(8)]],
                             constant uint& causal [[buffer(9)]],  // 1: query l sees keys 0 to S - L + l
                             constant uint& spans [[buffer(10)]],
                             uint3 place [[threadgroup_position_in_grid]],
                             uint lane [[thread_index_in_simdgroup]]) {
  static_assert(D % LANES == 0, "the lanes share the features evenly");
  constexpr int SHARE = D / LANES;  // features of a lane
  const uint l = place.x / spans, span = place.x % spans, h = place.y, b = place.z;
  const uint sharing = H / H_kv;  // query heads of a key/value head
  const uint head = b * H + h, kv_head = b * H_kv + h / sharing;
  const uint seen = causal ? S - L + l + 1 : S;
  device const T* query = q + (head * L + l) * D;
  device const T* keys = k + kv_head * S * D;
  device const T* values = v + kv_head * S * D;

  uint begin = 0, end = 0;  // this span's keys that the query sees; none if begin >= end
  // BEGIN YOUR CODE
  // Yours to write: span, about 3 lines.
  // END YOUR CODE

  float mine[SHARE], weighted[SHARE], largest = LOWEST, sum = 0;
  for (int i = 0; i < SHARE; i++) {
    mine[i] = scale * float(query[i * LANES + lane]);
    weighted[i] = 0;
  }
  // The walk of rung 1, from begin to end - 1.
  // BEGIN YOUR CODE
  // Yours to write: walk, about 12 lines.
  // END YOUR CODE

  device float* part = parts + ((head * L + l) * spans + span) * (D + 2);
  for (int i = 0; i < SHARE; i++) part[i * LANES + lane] = weighted[i];
  if (lane == 0) {
    part[D] = largest;
    part[D + 1] = sum;
  }
}

template <typename T, int D>
[[kernel]] void merge_spans(device const float* parts [[buffer(0)]],  // [B, H, L, spans, D + 2]
                            device T* out [[buffer(1)]],              // [B, H, L, D]
                            constant uint& spans [[buffer(2)]],
                            uint query [[threadgroup_position_in_grid]],  // 0 to B * H * L - 1
                            uint lane [[thread_index_in_simdgroup]]) {
  constexpr int SHARE = D / LANES;
  float weighted[SHARE], largest = LOWEST, sum = 0;
  for (int i = 0; i < SHARE; i++) weighted[i] = 0;
  for (uint span = 0; span < spans; span++) {
    device const float* part = parts + (query * spans + span) * (D + 2);
    // Two carried sums become one, relative to the larger of both largest scores.
    // BEGIN YOUR CODE
    // Yours to write: merge, about 5 lines.
    // END YOUR CODE
  }
  for (int i = 0; i < SHARE; i++) out[query * D + i * LANES + lane] = T(weighted[i] / sum);
}

template [[host_name("attend_spans_half_64")]] [[kernel]] decltype(attend_spans<half, 64>) attend_spans<half, 64>;
template [[host_name("merge_spans_half_64")]] [[kernel]] decltype(merge_spans<half, 64>) merge_spans<half, 64>;

// As it was given: e0ec25a1c6828528
