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

#include "attention_tile.h"

namespace course {

namespace {

constexpr int SPAN = 512;  // keys
static_assert(SPAN % KEYS == 0);
// Fewer multiplications than this are done before another thread has woken up.
constexpr int64_t WORTH_SHARING = 50'000;

int padded(int head_dim) { return (head_dim + LANES - 1) / LANES * LANES; }

// `count` rows of D features to rows of padded D, with zeros behind.
void copy_rows(const float* from, ptrdiff_t token, ptrdiff_t feature, int count, int D, int width, float* to) {
  for (int i = 0; i < count; i++, from += token, to += width) {
    for (int d = 0; d < D; d++) to[d] = from[d * feature];
    std::fill(to + D, to + width, 0.0f);
  }
}

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

// The block's queries, scaled, to scratch.query.
void load_queries(const Problem& p, const Block& block, float* query) {
  for (int row = 0; row < block.rows; row++, query += p.width) {
    const float* from = p.q.data + block.batch * p.q.batch + p.head_of(block, row) * p.q.head +
                        p.query_of(block, row) * p.q.token;
    copy_rows(from, 0, p.q.feature, 1, p.size.head_dim, p.width, query);
    for (int d = 0; d < p.width; d += LANES) store(query + d, load(query + d) * broadcast(p.scale));
  }
}

void store_result(const Problem& p, const Block& block, const Carried& total) {
  for (int row = 0; row < block.rows; row++) {
    float* to = p.out.data + block.batch * p.out.batch + p.head_of(block, row) * p.out.head +
                p.query_of(block, row) * p.out.token;
    const float* weighted = total.weighted + static_cast<size_t>(row) * p.width;
    const float inverse = total.sum[row] > 0 ? 1 / total.sum[row] : 0;
    for (int d = 0; d < p.size.head_dim; d++) to[d] = weighted[d] * inverse;
  }
}

int spans(int keys) { return (keys + SPAN - 1) / SPAN; }

// How the work is cut: blocks of queries, and whether the spans of keys are tasks of their own.
struct Plan {
  int blocks_per_head, blocks;
  bool split;

  Plan(const AttentionSize& size, int workers) {
    const int rows = size.queries * (size.heads / size.kv_heads);
    blocks_per_head = (rows + QUERIES - 1) / QUERIES;
    blocks = size.batch * size.kv_heads * blocks_per_head;
    split = blocks_per_head == 1 && blocks < 4 * workers && spans(size.keys) > 1 && workers > 1;
  }
};

}  // namespace

size_t attention_scratch(const AttentionSize& size, int workers) {
  const int width = padded(size.head_dim);
  const Plan plan(size, workers);
  const size_t parts = plan.split ? static_cast<size_t>(plan.blocks) * spans(size.keys) : 0;
  return workers * Scratch::floats(width) + parts * Carried::floats(width);
}

void attention(const Heads& q, const Heads& k, const Heads& v, const HeadsOut& out, const Mask& mask,
               const AttentionSize& size, float scale, float* scratch, Parallel& parallel) {
  const Problem p{q, k, v, out, mask, size, scale, size.heads / size.kv_heads, padded(size.head_dim)};
  const Plan plan(size, parallel.workers());
  const int all_rows = size.queries * p.group;
  auto block_at = [&](int index) {
    const int head = index / plan.blocks_per_head, first = index % plan.blocks_per_head * QUERIES;
    const int rows = std::min(QUERIES, all_rows - first);
    return Block{head / size.kv_heads, head % size.kv_heads, first, rows};
  };
  auto scratch_of = [&](int worker) { return Scratch(scratch + worker * Scratch::floats(p.width), p.width); };
  float* const parts = scratch + parallel.workers() * Scratch::floats(p.width);
  const int span_count = spans(size.keys);
  auto part_at = [&](int index) { return Carried::at(parts + index * Carried::floats(p.width)); };

  auto whole_block = [&](int index, int worker) {
    const Block block = block_at(plan.blocks - 1 - index);  // the longest first: the last queries see most
    const Scratch mine = scratch_of(worker);
    load_queries(p, block, mine.query);
    mine.total.reset(block.rows, p.width);
    const int end = p.visible(block, block.rows - 1);
    for (int begin = 0; begin < end; begin += SPAN) {
      run_span(p, block, mine, begin, std::min(begin + SPAN, end), mine.part);
      merge(mine.total, mine.part, block.rows, p.width);
    }
    store_result(p, block, mine.total);
  };
  auto one_span = [&](int index, int worker) {
    const Block block = block_at(index / span_count);
    const Scratch mine = scratch_of(worker);
    load_queries(p, block, mine.query);
    const int begin = index % span_count * SPAN, end = p.visible(block, block.rows - 1);
    run_span(p, block, mine, begin, std::min(begin + SPAN, end), part_at(index));
  };

  const int64_t work = static_cast<int64_t>(plan.blocks) * std::min(all_rows, QUERIES) * size.keys * p.width;
  if (plan.split) {
    parallel.for_each(plan.blocks * span_count, one_span);
    for (int index = 0; index < plan.blocks; index++) {
      const Block block = block_at(index);
      const Carried total = scratch_of(0).total;
      total.reset(block.rows, p.width);
      for (int span = 0; span < span_count; span++) {
        merge(total, part_at(index * span_count + span), block.rows, p.width);
      }
      store_result(p, block, total);
    }
  } else if (work > WORTH_SHARING) {
    parallel.for_each(plan.blocks, whole_block);
  } else {
    for (int index = 0; index < plan.blocks; index++) whole_block(index, 0);
  }
}

}  // namespace course
