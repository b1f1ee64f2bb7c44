// One tile of attention: a few queries with KEYS keys, and what is carried from one tile to the next.
//
// The online softmax (Milakov and Gimelshein, https://arxiv.org/abs/1805.02867): the largest score is
// not known before the last tile, so weights are taken relative to the largest so far, and when a
// larger one comes, everything summed up to then is multiplied by exp(old largest - new largest).
#pragma once

#include <algorithm>

#include "attention_mask.h"
#include "dot_tile.h"
#include "vector.h"

namespace course {

constexpr int QUERIES = 32;  // in a block: each tile of keys, once in the cache, serves all of them
constexpr int KEYS = 64;     // in a tile: with their values 32 KiB at D = 64, about a first-level cache
static_assert(KEYS % LANES == 0);

// What is carried from tile to tile for a block of queries.
struct Carried {
  float* largest;   // [QUERIES], the largest score
  float* sum;       // [QUERIES], of exp(score - largest)
  float* weighted;  // [QUERIES, padded D], the values' sum, weighted by exp(score - largest)

  static size_t floats(int width) { return QUERIES * (2 + static_cast<size_t>(width)); }
  static Carried at(float* memory) { return {memory, memory + QUERIES, memory + 2 * QUERIES}; }

  void reset(int rows, int width) const {
    std::fill_n(largest, rows, MINUS_INFINITY);
    std::fill_n(sum, rows, 0.0f);
    std::fill_n(weighted, static_cast<size_t>(rows) * width, 0.0f);
  }
};

// Adds what a later span of keys found to what the earlier ones did. Not inlined: two copies of it might
// round differently.
__attribute__((noinline)) inline void merge(const Carried& total, const Carried& part, int rows, int width) {
  for (int r = 0; r < rows; r++) {
    if (part.largest[r] == MINUS_INFINITY) continue;
    const float largest = std::max(total.largest[r], part.largest[r]);
    const float before = exp(total.largest[r] - largest), now = exp(part.largest[r] - largest);
    total.largest[r] = largest;
    total.sum[r] = total.sum[r] * before + part.sum[r] * now;
    float* sum = total.weighted + static_cast<size_t>(r) * width;
    const float* added = part.weighted + static_cast<size_t>(r) * width;
    for (int d = 0; d < width; d += LANES) {
      store(sum + d, load(sum + d) * broadcast(before) + load(added + d) * broadcast(now));
    }
  }
}

// A block of queries of one key/value head. Row r of it is query (first + r) / G of the head's query
// head (first + r) % G, where G query heads share the key/value head: neighbours see nearly the same keys.
struct Block {
  int batch, kv_head, first, rows;
};

// What all tasks share.
struct Problem {
  const Heads &q, &k, &v;
  const HeadsOut& out;
  const Mask& mask;
  const AttentionSize& size;
  float scale;
  int group;  // G, query heads to a key/value head
  int width;  // padded D

  int query_of(const Block& block, int row) const { return (block.first + row) / group; }
  int head_of(const Block& block, int row) const {
    return block.kv_head * group + (block.first + row) % group;
  }
  // Keys that any row up to `row` may see under the causal mask.
  int visible(const Block& block, int row) const {
    return visible_keys(mask, size, block.batch, query_of(block, row));
  }
};

// scores to exp(scores - largest), the carried sums with them. Returns the factor that rescales what
// was carried. `scores` holds KEYS of them, -infinity where a key is not seen.
inline float online_softmax(float* scores, float& largest, float& sum) {
  Floats tile_largest = load(scores);
  for (int i = LANES; i < KEYS; i += LANES) tile_largest = maximum(tile_largest, load(scores + i));
  const float now_largest = std::max(largest, max_lanes(tile_largest));
  if (now_largest == MINUS_INFINITY) {  // nothing seen yet
    std::fill_n(scores, KEYS, 0.0f);
    return 1;
  }
  const float rescale = exp(largest - now_largest);
  Floats tile_sum = {};
  for (int i = 0; i < KEYS; i += LANES) {
    const Floats weight = exp(load(scores + i) - broadcast(now_largest));
    store(scores + i, weight);
    tile_sum += weight;
  }
  largest = now_largest;
  sum = sum * rescale + sum_lanes(tile_sum);
  return rescale;
}

// weighted[r] = weighted[r] * rescale[r] + sum over keys of weight[r][key] * values[key], for VECTORS
// vectors of features.
template <int ROWS, int VECTORS>
ALWAYS_INLINE void add_values(const float (*weights)[KEYS], const float* rescale, const float* values,
                              ptrdiff_t token, int count, float* weighted, int width) {
  Floats sums[ROWS * VECTORS];
  for (int r = 0; r < ROWS; r++) {
    for (int i = 0; i < VECTORS; i++) {
      // Opaque: or GCC turns either this product or the first one below into a fused multiply-add, not the
      // same in every tile, and rounds differently.
      sums[r * VECTORS + i] = opaque(load(weighted + r * width + i * LANES) * broadcast(rescale[r]));
    }
  }
  for (int key = 0; key < count; key++, values += token) {
    Floats value[VECTORS];
    for (int i = 0; i < VECTORS; i++) value[i] = load_once(values + i * LANES);
    for (int r = 0; r < ROWS; r++) {
      const Floats weight = broadcast(weights[r][key]);
      for (int i = 0; i < VECTORS; i++) sums[r * VECTORS + i] += weight * value[i];
    }
  }
  for (int r = 0; r < ROWS; r++) {
    for (int i = 0; i < VECTORS; i++) store(weighted + r * width + i * LANES, sums[r * VECTORS + i]);
  }
}

// ROWS queries, from row `row` of the block on, with one tile of keys.
template <int ROWS>
void tile(const Problem& p, const Block& block, int row, const float* query, int first_key, const float* keys,
          ptrdiff_t key_token, const float* values, ptrdiff_t value_token, const Carried& carried) {
  const int count = std::min(KEYS, p.visible(block, row + ROWS - 1) - first_key);
  if (count <= 0) return;
  alignas(64) float scores[ROWS][KEYS];
  const float* queries = query + static_cast<size_t>(row) * p.width;
  int key = 0;
  for (; key + TILE_COLUMNS <= count; key += TILE_COLUMNS) {
    float sums[ROWS * TILE_COLUMNS];
    dot_tile<ROWS, TILE_COLUMNS>(queries, p.width, keys + key * key_token, key_token, p.width, sums);
    for (int r = 0; r < ROWS; r++) {
      for (int c = 0; c < TILE_COLUMNS; c++) scores[r][key + c] = sums[r * TILE_COLUMNS + c];
    }
  }
  for (; key < count; key++) {
    float sums[ROWS];
    dot_tile<ROWS, 1>(queries, p.width, keys + key * key_token, key_token, p.width, sums);
    for (int r = 0; r < ROWS; r++) scores[r][key] = sums[r];
  }

  float rescale[ROWS];
  for (int r = 0; r < ROWS; r++) {
    const int seen = std::clamp(p.visible(block, row + r) - first_key, 0, count);
    add_mask(p.mask, block.batch, p.head_of(block, row + r), p.query_of(block, row + r), first_key, seen,
             scores[r]);
    std::fill(scores[r] + seen, scores[r] + KEYS, MINUS_INFINITY);
    rescale[r] = online_softmax(scores[r], carried.largest[row + r], carried.sum[row + r]);
  }

  constexpr int VECTORS = REGISTERS >= 32 ? 4 : 2;
  float* weighted = carried.weighted + static_cast<size_t>(row) * p.width;
  int d = 0;
  for (; d + VECTORS * LANES <= p.width; d += VECTORS * LANES) {
    add_values<ROWS, VECTORS>(scores, rescale, values + d, value_token, count, weighted + d, p.width);
  }
  for (; d < p.width; d += LANES) {
    add_values<ROWS, 1>(scores, rescale, values + d, value_token, count, weighted + d, p.width);
  }
}

}  // namespace course
