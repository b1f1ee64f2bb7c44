// Yours to write: what stands between BEGIN YOUR CODE and END YOUR CODE. Save, then run the cell
// check_kernel("attention", rung="threads") in the notebook. You may change the rest, too.
//
// Attention in tiles with an online softmax: FlashAttention (https://arxiv.org/abs/2205.14135) on a CPU.
//
// The scores of a query are never all there at once. Keys come in tiles, and what is carried from tile to
// tile is small (attention_tile.h). This file says which tiles, in what order, on which thread.
//
//   for blocks of queries that share a key/value head      a task each
//     for spans of keys                                    carried sums start anew, then are merged
//       for tiles of keys                                  read from memory once, then from the cache
//         for a few queries: scores, softmax, weighted values
//
// Spans make decoding parallel: with one query and many keys the spans are the tasks. Prefill goes
// through the same spans in order, so that both add in the same order.
#include "attention.h"

#include <algorithm>

#include "attention_block.h"
#include "not_written.h"

namespace course {

namespace {

constexpr int SPAN = 512;  // keys
static_assert(SPAN % KEYS == 0);
// Fewer multiplications than this are done before another thread has woken up.
constexpr int64_t WORTH_SHARING = 20'000;

// One worker's scratch memory.
struct Scratch {
  float *query, *keys, *values;
  Carried total, part;

  static size_t floats(int width) {
    return (QUERIES + 2 * static_cast<size_t>(KEYS)) * width + 2 * Carried::floats(width);
  }
  Scratch(float* memory, int width)
      : query(memory),
        keys(query + static_cast<size_t>(QUERIES) * width),
        values(keys + static_cast<size_t>(KEYS) * width),
        total(Carried::at(values + static_cast<size_t>(KEYS) * width)),
        part(Carried::at(values + static_cast<size_t>(KEYS) * width + Carried::floats(width))) {}
};

// The block's queries with keys `begin` to `end` - 1, from a clean start.
void run_span(const Problem& p, const Block& block, const Scratch& scratch, int begin, int end,
              const Carried& carried) {
  const float* keys = p.k.data + block.batch * p.k.batch + block.kv_head * p.k.head;
  const float* values = p.v.data + block.batch * p.v.batch + block.kv_head * p.v.head;
  // Rows that are whole vectors are read where they are, so that a slice of a cache is not copied.
  const bool whole = p.size.head_dim == p.width;
  const bool keys_in_place = whole && p.k.feature == 1, values_in_place = whole && p.v.feature == 1;

  carried.reset(block.rows, p.width);
  for (int first = begin; first < end; first += KEYS) {
    const int count = std::min(KEYS, p.size.keys - first);
    const float *tile_keys = keys + first * p.k.token, *tile_values = values + first * p.v.token;
    ptrdiff_t key_token = p.k.token, value_token = p.v.token;
    if (!keys_in_place) {
      copy_rows(tile_keys, key_token, p.k.feature, count, p.size.head_dim, p.width, scratch.keys);
      tile_keys = scratch.keys, key_token = p.width;
    }
    if (!values_in_place) {
      copy_rows(tile_values, value_token, p.v.feature, count, p.size.head_dim, p.width, scratch.values);
      tile_values = scratch.values, value_token = p.width;
    }
    auto rows = [&](auto tile_of, int row) {
      tile_of(p, block, row, scratch.query, first, tile_keys, key_token, tile_values, value_token, carried);
    };
    int row = 0;
    for (; row + 3 <= block.rows; row += 3) rows(tile<3>, row);
    if (row + 2 == block.rows) rows(tile<2>, row);
    if (row + 1 == block.rows) rows(tile<1>, row);
  }
}

int spans(int keys) { return (keys + SPAN - 1) / SPAN; }

// Are there too few blocks of queries for the threads? Then the spans of keys are tasks of their own.
bool split(const QueryBlocks& blocks, const AttentionSize& size, int workers) {
  return blocks.per_head == 1 && blocks.count < 4 * workers && spans(size.keys) > 1 && workers > 1;
}

}  // namespace

size_t attention_scratch(const AttentionSize& size, int workers) {
  const int width = padded(size.head_dim);
  const QueryBlocks blocks(size);
  const size_t parts = split(blocks, size, workers) ? static_cast<size_t>(blocks.count) * spans(size.keys) : 0;
  return workers * Scratch::floats(width) + parts * Carried::floats(width);
}

void attention(const Heads& q, const Heads& k, const Heads& v, const HeadsOut& out, const Mask& mask,
               const AttentionSize& size, float scale, float* scratch, Parallel& parallel) {
  const Problem p{q, k, v, out, mask, size, scale, size.heads / size.kv_heads, padded(size.head_dim)};
  const QueryBlocks blocks(size);
  auto scratch_of = [&](int worker) { return Scratch(scratch + worker * Scratch::floats(p.width), p.width); };
  float* const parts = scratch + parallel.workers() * Scratch::floats(p.width);
  const int span_count = spans(size.keys);
  auto part_at = [&](int index) { return Carried::at(parts + index * Carried::floats(p.width)); };

  // One block of queries with all its keys, span after span.
  auto whole_block = [&](int index, int worker) {
    const Block block = blocks[blocks.count - 1 - index];  // the longest first: the last queries see most
    // BEGIN YOUR CODE
    not_written("whole_block: about 9 lines");
    // END YOUR CODE
  };
  // One block with one span of its keys. The result stays in part_at(index).
  auto one_span = [&](int index, int worker) {
    const Block block = blocks[index / span_count];
    const Scratch mine = scratch_of(worker);
    load_queries(p, block, mine.query);
    const int begin = index % span_count * SPAN, end = p.visible(block, block.rows - 1);
    run_span(p, block, mine, begin, std::min(begin + SPAN, end), part_at(index));
  };

  const int64_t work = static_cast<int64_t>(blocks.count) * std::min(blocks.all_rows, QUERIES) * size.keys * p.width;
  if (split(blocks, size, parallel.workers())) {
    // All spans of all blocks as tasks; when they are done, the parts of each block, merged in order, and stored.
    // BEGIN YOUR CODE
    not_written("spans_as_tasks: about 10 lines");
    // END YOUR CODE
  } else if (work > WORTH_SHARING) {
    parallel.for_each(blocks.count, whole_block);
  } else {
    for (int index = 0; index < blocks.count; index++) whole_block(index, 0);
  }
}

}  // namespace course

// As it was given: 7e69e8293cec2e77
