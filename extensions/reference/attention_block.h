// A block of queries: how it is read, and how its result is written. All rungs of attention share this.
#pragma once

#include "attention_tile.h"

namespace course {

// D, up to whole vectors: rows in scratch memory have this width, with zeros behind the D features.
inline int padded(int head_dim) { return (head_dim + LANES - 1) / LANES * LANES; }

// `count` rows of D features to rows of padded D, with zeros behind.
inline void copy_rows(const float* from, ptrdiff_t token, ptrdiff_t feature, int count, int D, int width, float* to) {
  for (int i = 0; i < count; i++, from += token, to += width) {
    for (int d = 0; d < D; d++) to[d] = from[d * feature];
    std::fill(to + D, to + width, 0.0f);
  }
}

// The block's queries, scaled, to `query` [rows, width].
inline void load_queries(const Problem& p, const Block& block, float* query) {
  for (int row = 0; row < block.rows; row++, query += p.width) {
    const float* from = p.q.data + block.batch * p.q.batch + p.head_of(block, row) * p.q.head +
                        p.query_of(block, row) * p.q.token;
    copy_rows(from, 0, p.q.feature, 1, p.size.head_dim, p.width, query);
    for (int d = 0; d < p.width; d += LANES) store(query + d, load(query + d) * broadcast(p.scale));
  }
}

// What was carried over all keys, divided by the sum of the weights.
inline void store_result(const Problem& p, const Block& block, const Carried& total) {
  for (int row = 0; row < block.rows; row++) {
    float* to = p.out.data + block.batch * p.out.batch + p.head_of(block, row) * p.out.head +
                p.query_of(block, row) * p.out.token;
    const float* weighted = total.weighted + static_cast<size_t>(row) * p.width;
    const float inverse = total.sum[row] > 0 ? 1 / total.sum[row] : 0;
    for (int d = 0; d < p.size.head_dim; d++) to[d] = weighted[d] * inverse;
  }
}

// All blocks of queries of a problem.
struct QueryBlocks {
  int per_head, count, all_rows, kv_heads;

  explicit QueryBlocks(const AttentionSize& size)
      : all_rows(size.queries * (size.heads / size.kv_heads)), kv_heads(size.kv_heads) {
    per_head = (all_rows + QUERIES - 1) / QUERIES;
    count = size.batch * size.kv_heads * per_head;
  }
  Block operator[](int index) const {
    const int head = index / per_head, first = index % per_head * QUERIES;
    return {head / kv_heads, head % kv_heads, first, std::min(QUERIES, all_rows - first)};
  }
};

}  // namespace course
