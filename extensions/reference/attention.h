// Grouped-query attention without the matrix of scores. See attention.cpp for how.
#pragma once

#include <cstddef>
#include <cstdint>

#include "parallel.h"

namespace course {

// A tensor [batch, heads, tokens, features] that need not be contiguous: strides in elements.
struct Heads {
  const float* data;
  ptrdiff_t batch, head, token, feature;
};

// Where the result goes; its features are contiguous.
struct HeadsOut {
  float* data;
  ptrdiff_t batch, head, token;
};

// What is added to the scores [batch, heads, queries, keys] before the softmax. A stride of 0 broadcasts.
struct Mask {
  enum Kind { none, causal, boolean, additive };
  Kind kind = none;
  const void* data = nullptr;  // bytes, not 0: may attend; or floats, added
  ptrdiff_t batch = 0, head = 0, query = 0, key = 0;
  const int32_t* lengths = nullptr;  // [batch]: keys of each row, at most size.keys; null: all rows have all
};

struct AttentionSize {
  int batch;     // B
  int heads;     // H, a multiple of kv_heads
  int kv_heads;  // query head h reads key/value head h / (heads / kv_heads)
  int queries;   // L
  int keys;      // S
  int head_dim;  // D
};

// Floats of scratch memory that attention needs: O(L D), whatever S is.
size_t attention_scratch(const AttentionSize& size, int workers);

// out = softmax(scale * q k^T + mask) v, for each head.
//
//   q        [B, H, L, D]
//   k, v     [B, kv_heads, S, D]
//   out      [B, H, L, D]
//   scratch  attention_scratch(size, parallel.workers()) floats
//
// A causal mask is aligned to the end: query l sees keys 0 to S - L + l. It needs L <= S. Where rows have lengths of
// their own, S is the row's.
// A query that may attend to no key at all gets zeros.
//
// Each query's result is computed in the same order of operations whatever L is, however many keys
// follow those it may attend to, and however many threads there are: to the last bit the same whether a
// prompt is read whole, in pieces or token by token.
void attention(const Heads& q, const Heads& k, const Heads& v, const HeadsOut& out, const Mask& mask,
               const AttentionSize& size, float scale, float* scratch, Parallel& parallel);

// The same by the definition, one query at a time, with all its scores. `scores` holds S floats.
void attention_naive(const Heads& q, const Heads& k, const Heads& v, const HeadsOut& out, const Mask& mask,
                     const AttentionSize& size, float scale, float* scores);

}  // namespace course
