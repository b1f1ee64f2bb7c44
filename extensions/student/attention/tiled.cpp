// Yours to write: what stands between BEGIN YOUR CODE and END YOUR CODE. Save, then run the cell
// check_kernel("attention", rung="tiled") in the notebook. You may change the rest, too.
//
// Attention, rung 1: keys in tiles, with an online softmax, one number at a time, on one thread.
//
// attention_walk.h has a block of queries (Walk), one query of it with what it carries (Row), and a tile of keys and
// values (KeyTile).
#include <algorithm>
#include <cmath>

#include "attention_walk.h"
#include "not_written.h"

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
  // BEGIN YOUR CODE
  not_written("scores: about 5 lines");
  // END YOUR CODE
  row.add_mask(tile.first, seen, scores);
  // The online softmax: row.largest, row.sum and row.weighted take up the scores. A mask may have made all of
  // them MINUS_INFINITY.
  // BEGIN YOUR CODE
  not_written("online_softmax: about 12 lines");
  // END YOUR CODE
}

}  // namespace

// A block of queries goes through the keys, at most KEYS at a time: walk.load_tile, then `attend` for each row that
// sees some of them. Under a causal mask row r sees keys 0 to walk.visible(r) - 1, the last row most.
void walk_tiles(const Walk& walk, int keys, Attend* attend) {
  // BEGIN YOUR CODE
  not_written("walk: about 8 lines");
  // END YOUR CODE
}

size_t attention_tiled_scratch(const AttentionSize& size, int) { return Walk::floats(padded(size.head_dim)); }

void attention_tiled(const Heads& q, const Heads& k, const Heads& v, const HeadsOut& out, const Mask& mask,
                     const AttentionSize& size, float scale, float* scratch, Parallel&) {
  walk_blocks(q, k, v, out, mask, size, scale, scratch, attend);
}

}  // namespace course

// As it was given: 9a427dfdb5cdeda9
