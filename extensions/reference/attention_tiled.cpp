// Attention, rung 1: keys in tiles, with an online softmax, one number at a time, on one thread.
//
// attention_walk.h has a block of queries (Walk), one query of it with what it carries (Row), and a tile of keys and
// values (KeyTile).
#include <algorithm>
#include <cmath>

#include "attention_walk.h"

namespace course {

namespace {

// One query takes up the first `seen` keys of a tile, at least one. What it carries is there before and after:
//
//   row.largest   the largest score of all keys so far, MINUS_INFINITY before the first
//   row.sum       the sum of exp(score - row.largest)
//   row.weighted  [row.width], the sum of exp(score - row.largest) * value
void attend(const Row& row, const KeyTile& tile, int seen) {
  float scores[KEYS];
  // scores[i] = row.query * key i, for i from 0 to seen - 1; the query is scaled already.
  // BEGIN SOLUTION
  for (int i = 0; i < seen; i++) {
    const float* key = tile.keys + i * row.width;
    scores[i] = 0;
    for (int d = 0; d < row.width; d++) scores[i] += row.query[d] * key[d];
  }
  // END SOLUTION
  row.add_mask(tile.first, seen, scores);
  // The online softmax: row.largest, row.sum and row.weighted take up the scores. A mask may have made all of
  // them MINUS_INFINITY.
  // BEGIN SOLUTION
  const float largest = std::max(row.largest, *std::max_element(scores, scores + seen));
  if (largest == MINUS_INFINITY) return;  // nothing seen yet: exp(-inf - -inf) would be NaN
  const float rescale = std::exp(row.largest - largest);
  row.largest = largest;
  row.sum *= rescale;
  for (int d = 0; d < row.width; d++) row.weighted[d] *= rescale;
  for (int i = 0; i < seen; i++) {
    const float weight = std::exp(scores[i] - largest);
    const float* value = tile.values + i * row.width;
    row.sum += weight;
    for (int d = 0; d < row.width; d++) row.weighted[d] += weight * value[d];
  }
  // END SOLUTION
}

}  // namespace

// A block of queries goes through the keys, at most KEYS at a time: walk.load_tile, then `attend` for each row that
// sees some of them. Under a causal mask row r sees keys 0 to walk.visible(r) - 1, the last row most.
void walk_tiles(const Walk& walk, int keys, Attend* attend) {
  // BEGIN SOLUTION
  const int end = std::min(keys, walk.visible(walk.rows() - 1));  // tiles behind it are never loaded
  for (int first = 0; first < end; first += KEYS) {
    const KeyTile tile = walk.load_tile(first, std::min(KEYS, end - first));
    for (int r = 0; r < walk.rows(); r++) {
      const int seen = std::min(tile.count, walk.visible(r) - first);
      if (seen > 0) attend(walk.row(r), tile, seen);
    }
  }
  // END SOLUTION
}

size_t attention_tiled_scratch(const AttentionSize& size, int) { return Walk::floats(padded(size.head_dim)); }

void attention_tiled(const Heads& q, const Heads& k, const Heads& v, const HeadsOut& out, const Mask& mask,
                     const AttentionSize& size, float scale, float* scratch, Parallel&) {
  walk_blocks(q, k, v, out, mask, size, scale, scratch, attend);
}

}  // namespace course
