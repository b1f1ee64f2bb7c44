// Yours to write: what stands between BEGIN YOUR CODE and END YOUR CODE. Save, then run the cell
// check_kernel("attention", rung="vectors") in the notebook. You may change the rest, too.
//
// Attention, rung 2: as many numbers at a time as a vector has lanes, on one thread.
//
// vector.h has the vectors: load and store, broadcast, + and *, sum_lanes, maximum, max_lanes, exp. The walk through
// the tiles is rung 1's.
#include <algorithm>

#include "attention_walk.h"
#include "not_written.h"

namespace course {

namespace {

// As in rung 1: one query takes up the first `seen` keys of a tile, at least one.
void attend(const Row& row, const KeyTile& tile, int seen) {
  alignas(64) float scores[KEYS];
  // The scores: scores[i] = row.query * key i. A row's width is a multiple of LANES, with zeros behind the features.
  // BEGIN YOUR CODE
  not_written("scores: about 6 lines");
  // END YOUR CODE
  row.add_mask(tile.first, seen, scores);
  std::fill(scores + seen, scores + KEYS, MINUS_INFINITY);  // so that whole vectors can be taken: exp of it is 0
  float rescale;
  // The softmax: update row.largest and row.sum, turn scores[i] into exp(scores[i] - row.largest), and set `rescale`
  // to what multiplies row.weighted. Return if the largest score so far is MINUS_INFINITY.
  // BEGIN YOUR CODE
  not_written("softmax: about 13 lines");
  // END YOUR CODE
  // The values: row.weighted = rescale * row.weighted + sum of scores[i] * value i.
  // BEGIN YOUR CODE
  not_written("values: about 5 lines");
  // END YOUR CODE
}

}  // namespace

void attention_vectors(const Heads& q, const Heads& k, const Heads& v, const HeadsOut& out, const Mask& mask,
                       const AttentionSize& size, float scale, float* scratch, Parallel&) {
  walk_blocks(q, k, v, out, mask, size, scale, scratch, attend);
}

}  // namespace course

// As it was given: c878dc62cbc2be7b
