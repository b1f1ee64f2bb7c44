// Attention, rung 2: as many numbers at a time as a vector has lanes, on one thread.
//
// vector.h has the vectors: load and store, broadcast, + and *, sum_lanes, maximum, max_lanes, exp. The walk through
// the tiles is rung 1's.
#include <algorithm>

#include "attention_walk.h"

namespace course {

namespace {

// As in rung 1: one query takes up the first `seen` keys of a tile, at least one.
void attend(const Row& row, const KeyTile& tile, int seen) {
  alignas(64) float scores[KEYS];
  // The scores: scores[i] = row.query * key i. A row's width is a multiple of LANES, with zeros behind the features.
  // BEGIN SOLUTION
  for (int i = 0; i < seen; i++) {
    const float* key = tile.keys + i * row.width;
    Floats sum = {};
    for (int d = 0; d < row.width; d += LANES) sum += load(row.query + d) * load(key + d);
    scores[i] = sum_lanes(sum);
  }
  // END SOLUTION
  row.add_mask(tile.first, seen, scores);
  std::fill(scores + seen, scores + KEYS, MINUS_INFINITY);  // so that whole vectors can be taken: exp of it is 0
  float rescale;
  // The softmax: update row.largest and row.sum, turn scores[i] into exp(scores[i] - row.largest), and set `rescale`
  // to what multiplies row.weighted. Return if the largest score so far is MINUS_INFINITY.
  // BEGIN SOLUTION
  Floats most = load(scores);
  for (int i = LANES; i < KEYS; i += LANES) most = maximum(most, load(scores + i));
  const float largest = std::max(row.largest, max_lanes(most));
  if (largest == MINUS_INFINITY) return;
  rescale = exp(row.largest - largest);
  row.largest = largest;
  Floats sum = {};
  for (int i = 0; i < KEYS; i += LANES) {
    const Floats weight = exp(load(scores + i) - broadcast(largest));
    store(scores + i, weight);
    sum += weight;
  }
  row.sum = row.sum * rescale + sum_lanes(sum);
  // END SOLUTION
  // The values: row.weighted = rescale * row.weighted + sum of scores[i] * value i.
  // BEGIN SOLUTION
  for (int d = 0; d < row.width; d += LANES) {
    Floats weighted = load(row.weighted + d) * broadcast(rescale);
    for (int i = 0; i < seen; i++) weighted += broadcast(scores[i]) * load(tile.values + i * row.width + d);
    store(row.weighted + d, weighted);
  }
  // END SOLUTION
}

}  // namespace

void attention_vectors(const Heads& q, const Heads& k, const Heads& v, const HeadsOut& out, const Mask& mask,
                       const AttentionSize& size, float scale, float* scratch, Parallel&) {
  walk_blocks(q, k, v, out, mask, size, scale, scratch, attend);
}

}  // namespace course
