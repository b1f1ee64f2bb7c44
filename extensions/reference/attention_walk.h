// Attention on one thread, in tiles: what rungs `tiled` and `vectors` share.
#pragma once

#include "attention_block.h"
#include "attention_ladder.h"

namespace course {

// Up to KEYS keys and values, copied to neighbouring rows.
struct KeyTile {
  const float *keys, *values;  // [count, width], zeros behind the D features
  int first;                   // the number of its first key
  int count;
};

// One query of a block, and what it carries from tile to tile.
struct Row {
  const Problem& p;
  const Block& block;
  const int row;
  const float* query;  // [width], scaled, zeros behind the D features
  const int width;     // a multiple of LANES
  float& largest;      // of all scores so far; MINUS_INFINITY before the first
  float& sum;          // of exp(score - largest) over all keys so far
  float* weighted;     // [width], the values' sum, weighted by exp(score - largest)

  // Adds the mask, if there is one, to the scores of keys `first` to `first + count - 1`; -infinity: not seen.
  void add_mask(int first, int count, float* scores) const {
    course::add_mask(p.mask, block.batch, p.head_of(block, row), p.query_of(block, row), first, count, scores);
  }
};

// Takes up the first `seen` keys of a tile, which are at least one: `row` carries on from what it carries.
using Attend = void(const Row& row, const KeyTile& tile, int seen);

// A block of queries, its memory, and what it carries. All of it lies in scratch memory.
class Walk {
 public:
  Walk(const Problem& p, const Block& block, float* scratch)
      : p_(p), block_(block), query_(scratch), keys_(query_ + QUERIES * width()), values_(keys_ + KEYS * width()),
        carried_(Carried::at(values_ + KEYS * width())) {
    load_queries(p, block, query_);
    carried_.reset(block.rows, p.width);
  }
  static size_t floats(int width) { return (QUERIES + 2 * size_t{KEYS}) * width + Carried::floats(width); }

  int rows() const { return block_.rows; }
  // Query `row` may see keys 0 to visible(row) - 1; the last row sees most.
  int visible(int row) const { return p_.visible(block_, row); }
  Row row(int row) const {
    return {p_, block_, row, query_ + row * width(), p_.width, carried_.largest[row], carried_.sum[row],
            carried_.weighted + row * width()};
  }
  // Copies `count` keys and values, at most KEYS, from key number `first` on. The next call overwrites them.
  KeyTile load_tile(int first, int count) const {
    const Heads &k = p_.k, &v = p_.v;
    copy_rows(k.data + block_.batch * k.batch + block_.kv_head * k.head + first * k.token, k.token, k.feature, count,
              p_.size.head_dim, p_.width, keys_);
    copy_rows(v.data + block_.batch * v.batch + block_.kv_head * v.head + first * v.token, v.token, v.feature, count,
              p_.size.head_dim, p_.width, values_);
    return {keys_, values_, first, count};
  }
  void store() const { store_result(p_, block_, carried_); }

 private:
  size_t width() const { return p_.width; }

  const Problem& p_;
  const Block& block_;
  float *query_, *keys_, *values_;
  Carried carried_;
};

// Takes a block of queries through its keys, tile by tile, with `attend`. Rung `tiled` has it.
void walk_tiles(const Walk& walk, int keys, Attend* attend);

// All blocks of a problem, one after the other.
inline void walk_blocks(const Heads& q, const Heads& k, const Heads& v, const HeadsOut& out, const Mask& mask,
                        const AttentionSize& size, float scale, float* scratch, Attend* attend) {
  const Problem p{q, k, v, out, mask, size, scale, size.heads / size.kv_heads, padded(size.head_dim)};
  const QueryBlocks blocks(size);
  for (int index = 0; index < blocks.count; index++) {
    const Block block = blocks[index];
    const Walk walk(p, block, scratch);
    walk_tiles(walk, size.keys, attend);
    walk.store();
  }
}

}  // namespace course
