// Masks, read in pieces.
#pragma once

#include <algorithm>

#include "attention.h"
#include "vector.h"

namespace course {

constexpr float MINUS_INFINITY = -__builtin_inff();

// Keys that query `query` of row `batch` may attend to under a causal mask, or all: 0 to visible_keys() - 1.
inline int visible_keys(const Mask& mask, const AttentionSize& size, int batch, int query) {
  const int keys = mask.lengths == nullptr ? size.keys : mask.lengths[batch];
  return mask.kind == Mask::causal ? keys - size.queries + query + 1 : keys;
}

// Adds a boolean or additive mask to the scores of one query with keys `first` to `first + count - 1`.
inline void add_mask(const Mask& mask, int batch, int head, int query, int first, int count, float* scores) {
  const ptrdiff_t offset = batch * mask.batch + head * mask.head + query * mask.query + first * mask.key;
  if (mask.kind == Mask::boolean) {
    const uint8_t* allowed = static_cast<const uint8_t*>(mask.data) + offset;
    for (int i = 0; i < count; i++) {
      if (!allowed[i * mask.key]) scores[i] = MINUS_INFINITY;
    }
  } else if (mask.kind == Mask::additive) {
    const float* added = static_cast<const float*>(mask.data) + offset;
    for (int i = 0; i < count; i++) scores[i] += added[i * mask.key];
  }
}

}  // namespace course
