// A product with panels, a panel at a time: for a few tokens with the weights in registers, for many in tiles
// (panel_tiles.h).
#include "panel_matmul.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "byte_dot.h"
#include "panel_sums.h"
#include "panel_tasks.h"
#include "panel_tiles.h"
#include "processor.h"

namespace course {

namespace {

constexpr int VECTORS = PANEL_ROWS / LANES;  // of a panel's rows
// Fewer tokens are faster without tiles.
constexpr int WORTH_TILES = 13;
// Bytes of digits that a pass over the weights works on: they must stay in the second-level cache.
constexpr size_t DIGITS_AT_ONCE = 512 * 1024;

// Four bytes of x in every lane.
ALWAYS_INLINE Words spread_bytes(const uint8_t* four) {
  uint32_t word;
  std::memcpy(&word, four, sizeof word);
  return Words{} + word;
}

// TOKENS tokens with the rows of one vector of a panel.
//
//   bytes, floats  of the first token's tile, with a token in each (DigitRows)
template <bool DOT, int BITS, Digits DIGITS, FloatType TYPE, int TOKENS>
ALWAYS_INLINE void multiply_vector(const uint8_t* panel, const Panels& w, int vector, const DigitRows& x, int first,
                                   Floats* totals) {
  const uint8_t* bytes = x.bytes + first * x.tile_bytes();
  const float* floats = x.floats + first * x.tile_floats();
  const size_t next_bytes = x.tile_bytes(), next_floats = x.tile_floats();
  const int groups = w.groups(), chunks = w.chunks_a_group();
  const int row = vector * LANES;
  Floats total[TOKENS] = {};
  for (int group = 0; group < groups; group++) {
    __builtin_prefetch(panel + AHEAD_IN_PANEL);
    const Floats scale = panel_scales<TYPE>(panel, row);
    const Floats bias = panel_scales<TYPE>(panel + PANEL_ROWS * bytes_of(TYPE), row);
    panel += 2 * PANEL_ROWS * bytes_of(TYPE);
    for (int chunk = 0; chunk < chunks; chunk++, bytes += static_cast<int>(DIGITS) * CHUNK, floats += 2) {
      Ints high[TOKENS] = {}, middle[TOKENS] = {}, low[TOKENS] = {};
      for (int line = 0; line < LINES; line++) {
        Words q;
        if constexpr (BITS == 8) {
          if (vector == 0) __builtin_prefetch(panel + AHEAD_IN_PANEL);
          q = load<Words>(panel + 4 * row);
          panel += LINE;
        } else {
          if (line % 2 == 0) {
            if (vector == 0) __builtin_prefetch(panel + AHEAD_IN_PANEL);
            q = load<Words>(panel + 4 * row) & 0x0f0f0f0f;
          } else {
            q = load<Words>(panel + 4 * row) >> 4 & 0x0f0f0f0f;
            panel += LINE;
          }
        }
        for (int t = 0; t < TOKENS; t++) {
          const uint8_t* four = bytes + t * next_bytes + 4 * line;
          high[t] = dot_bytes<DOT>(q, spread_bytes(four), high[t]);
          if constexpr (DIGITS == Digits::three) {
            middle[t] = dot_bytes<DOT>(q, spread_bytes(four + CHUNK), middle[t]);
            low[t] = dot_bytes<DOT>(q, spread_bytes(four + 2 * CHUNK), low[t]);
          }
        }
      }
      for (int t = 0; t < TOKENS; t++) {
        const float* of = floats + t * next_floats;
        total[t] = add_chunk(total[t], whole<DIGITS>(high[t], (middle[t] << 8) + low[t]), scale, bias, of[0], of[1]);
      }
    }
  }
  for (int t = 0; t < TOKENS; t++) totals[t] = total[t];
}

template <bool DOT, int BITS, Digits DIGITS, FloatType TYPE, int TOKENS>
void multiply_tokens(const Product& to, int panel, const DigitRows& x, int first) {
  const Panels& w = *to.w;
  Floats totals[VECTORS][TOKENS];
  for (int vector = 0; vector < VECTORS; vector++) {
    multiply_vector<DOT, BITS, DIGITS, TYPE, TOKENS>(w.panel(panel), w, vector, x, first, totals[vector]);
  }
  for (int t = 0; t < TOKENS; t++) {
    float row[PANEL_ROWS];
    for (int vector = 0; vector < VECTORS; vector++) store(row + vector * LANES, totals[vector][t]);
    finish_row(to, panel, first + t, row);
  }
}

// The tokens from `begin` to `end` with one panel.
template <bool DOT, int BITS, Digits DIGITS, FloatType TYPE>
void multiply_panel(const Product& to, int panel, const DigitRows& x, int begin, int end) {
  int m = begin;
  for (; m + 4 <= end; m += 4) multiply_tokens<DOT, BITS, DIGITS, TYPE, 4>(to, panel, x, m);
  for (; m + 2 <= end; m += 2) multiply_tokens<DOT, BITS, DIGITS, TYPE, 2>(to, panel, x, m);
  for (; m < end; m++) multiply_tokens<DOT, BITS, DIGITS, TYPE, 1>(to, panel, x, m);
}

using MultiplyPanel = void(const Product&, int, const DigitRows&, int, int);

template <bool DOT, int BITS, Digits DIGITS>
MultiplyPanel* of_type(FloatType type) {
  switch (type) {
    case FloatType::float16: return multiply_panel<DOT, BITS, DIGITS, FloatType::float16>;
    case FloatType::bfloat16: return multiply_panel<DOT, BITS, DIGITS, FloatType::bfloat16>;
    case FloatType::float32: return multiply_panel<DOT, BITS, DIGITS, FloatType::float32>;
  }
  __builtin_trap();
}

template <bool DOT>
MultiplyPanel* few_tokens(int bits, Digits digits, FloatType type) {
  if (bits == 4) return digits == Digits::one ? of_type<DOT, 4, Digits::one>(type) : of_type<DOT, 4, Digits::three>(type);
  return digits == Digits::one ? of_type<DOT, 8, Digits::one>(type) : of_type<DOT, 8, Digits::three>(type);
}

MultiplyPanel* choose(const Panels& w, Digits digits) {
  if (byte_products() == ByteProducts::spelt_out) return few_tokens<false>(w.bits(), digits, w.scale_type());
  return few_tokens<true>(w.bits(), digits, w.scale_type());
}

// How a product with M tokens is computed.
struct Plan {
  bool tiles;
  DigitRows rows;

  Plan(int M, int K, int bits, Digits digits)
      : tiles(M >= WORTH_TILES && byte_products() == ByteProducts::tiles),
        rows{M, K, tiles ? TILE_TOKENS : 1, tiles ? tile_digits(bits, digits) : digits, nullptr, nullptr} {}
};

}  // namespace

size_t panel_matmul_scratch(int M, int K, int bits, Digits digits, int workers) {
  const Plan plan(M, K, bits, digits);
  return plan.rows.scratch() + (plan.tiles ? workers * tiles_scratch(K, bits) : 0);
}

void panel_matmul(const float* x, ptrdiff_t x_stride, int M, int K, const Product* products, int count, Digits digits,
                  float* scratch, Parallel& parallel) {
  if (M == 0) return;
  const int bits = products[0].w->bits();
  Plan plan(M, K, bits, digits);
  DigitRows& rows = plan.rows;
  rows.place(scratch);
  float* const workers = scratch + rows.scratch();
  to_digits(x, x_stride, rows, parallel);

  const size_t token_bytes = rows.tile_bytes() / rows.tile;
  const int tokens_a_task = std::max<int>(1, DIGITS_AT_ONCE / token_bytes / TILE_TOKENS) * TILE_TOKENS;
  auto prepare = [&] { return plan.tiles ? std::make_unique<TilesInUse>(rows.digits) : nullptr; };
  auto multiply = [&](const Product& product, int panel, int begin, int end, int worker) {
    if (plan.tiles) {
      return multiply_in_tiles(product, panel, rows, begin, end, workers + worker * tiles_scratch(K, bits));
    }
    choose(*product.w, digits)(product, panel, rows, begin, end);
  };
  for_panels(products, count, M, tokens_a_task, parallel, prepare, multiply);
}

}  // namespace course
