// softmax(q k^T / sqrt(D)) v for one head: tiles of queries and keys in threadgroup memory, online softmax.
// A threadgroup of 4 SIMD-groups takes 32 queries, each SIMD-group 8 of them, and goes through the keys 32 at a time.
#include <metal_stdlib>
using namespace metal;

constant constexpr int QUERIES = 32, KEYS = 32;

template <typename T, int D>
[[kernel]] void attention(device const T* q [[buffer(0)]],     // [L, D]
                          device const T* k [[buffer(1)]],     // [S, D]
                          device const T* v [[buffer(2)]],     // [S, D]
                          device float* out [[buffer(3)]],     // [L, D]
                          constant uint& S [[buffer(4)]],
                          constant float& scale [[buffer(5)]],
                          uint block [[threadgroup_position_in_grid]],
                          ushort thread_index [[thread_index_in_threadgroup]],
                          ushort simdgroup [[simdgroup_index_in_threadgroup]],
                          ushort lane [[thread_index_in_simdgroup]]) {
  threadgroup T keys[KEYS * D];          // of this step, then the values
  threadgroup float scores[QUERIES * KEYS];
  threadgroup float factors[QUERIES];    // that the earlier sums shrink by; at the end 1 / sum

  simdgroup_matrix<T, 8, 8> queries[D / 8];
  for (int j = 0; j < D / 8; j++)
    simdgroup_load(queries[j], q + (block * QUERIES + simdgroup * 8) * D + j * 8, D);
  simdgroup_float8x8 sums[D / 8];
  for (int j = 0; j < D / 8; j++) sums[j] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  threadgroup float* mine = scores + simdgroup * 8 * KEYS;

  // Four lanes share a row of scores: lane / 4 is the row.
  const ushort row = lane / 4, part = lane % 4;
  float maximum = -INFINITY, sum = 0;

  for (uint first = 0; first < S; first += KEYS) {
    for (int i = thread_index; i < KEYS * D / 4; i += 128)
      ((threadgroup vec<T, 4>*)keys)[i] = ((device const vec<T, 4>*)(k + first * D))[i];
    threadgroup_barrier(mem_flags::mem_threadgroup);

    for (int n = 0; n < KEYS / 8; n++) {
      simdgroup_float8x8 score = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
      for (int j = 0; j < D / 8; j++) {
        simdgroup_matrix<T, 8, 8> key;
        simdgroup_load(key, keys + n * 8 * D + j * 8, D, ulong2(0, 0), true);
        simdgroup_multiply_accumulate(score, queries[j], key, score);
      }
      simdgroup_store(score, mine + n * 8, KEYS);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);

    float best = maximum;
    for (int c = part; c < KEYS; c += 4) best = max(best, scale * mine[row * KEYS + c]);
    best = max(best, simd_shuffle_xor(best, 1));
    best = max(best, simd_shuffle_xor(best, 2));
    const float factor = fast::exp(maximum - best);
    float total = 0;
    for (int c = part; c < KEYS; c += 4) {
      const float p = fast::exp(scale * mine[row * KEYS + c] - best);
      mine[row * KEYS + c] = p;
      total += p;
    }
    total += simd_shuffle_xor(total, 1);
    total += simd_shuffle_xor(total, 2);
    sum = sum * factor + total;
    maximum = best;
    if (part == 0) factors[simdgroup * 8 + row] = factor;
    for (int i = thread_index; i < KEYS * D / 4; i += 128)
      ((threadgroup vec<T, 4>*)keys)[i] = ((device const vec<T, 4>*)(v + first * D))[i];
    threadgroup_barrier(mem_flags::mem_threadgroup);

    // A lane holds two elements of one row of each 8 x 8 matrix.
    const ushort held = (lane / 4 & 4) + lane / 2 % 4;
    const float shrink = factors[simdgroup * 8 + held];
    for (int j = 0; j < D / 8; j++) sums[j].thread_elements() *= shrink;
    for (int n = 0; n < KEYS / 8; n++) {
      simdgroup_float8x8 weights;
      simdgroup_load(weights, mine + n * 8, KEYS);
      for (int j = 0; j < D / 8; j++) {
        simdgroup_matrix<T, 8, 8> value;
        simdgroup_load(value, keys + n * 8 * D + j * 8, D);
        simdgroup_multiply_accumulate(sums[j], weights, value, sums[j]);
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }

  if (part == 0) factors[simdgroup * 8 + row] = 1 / sum;
  simdgroup_barrier(mem_flags::mem_threadgroup);
  const ushort held = (lane / 4 & 4) + lane / 2 % 4;
  const float inverse = factors[simdgroup * 8 + held];
  for (int j = 0; j < D / 8; j++) {
    sums[j].thread_elements() *= inverse;
    simdgroup_store(sums[j], out + (block * QUERIES + simdgroup * 8) * D + j * 8, D);
  }
}
