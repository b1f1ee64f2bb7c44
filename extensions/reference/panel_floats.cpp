// In a chunk of 32 columns
//
//   sum over k of x[k] w[k] = scale * sum over k of x[k] q[k]  +  bias * sum over k of x[k]
//
// so a weight is not scaled but only made a float, and multiplied with one number of x in all lanes. With several tokens
// it is made a float once for all of them.
#include "panel_floats.h"

#include <algorithm>

#include "panel_sums.h"
#include "panel_tasks.h"
#include "quantized_blocks.h"

namespace course {

namespace {

constexpr int VECTORS = PANEL_ROWS / LANES;               // of a panel's rows
constexpr int MOST_TOKENS = REGISTERS >= 32 ? 8 : 4;      // each with two sums and a total in registers
constexpr int TOKENS_A_TASK = 256;

// TOKENS tokens with the rows of one vector of a panel. The same order of operations for any number of tokens.
//
//   x     of the first token
//   sums  [TOKENS, chunks], of each chunk of x
template <int BITS, FloatType TYPE, int TOKENS>
ALWAYS_INLINE void multiply_vector(const uint8_t* panel, const Panels& w, int vector, const float* x, ptrdiff_t x_stride,
                                   const float* sums, Floats* totals) {
  constexpr int PER_LINE = 32 / BITS;  // columns of a line in memory
  const int groups = w.groups(), chunks = w.chunks_a_group(), row = vector * LANES;
  const int sums_stride = groups * chunks;
  Floats total[TOKENS] = {};
  for (int group = 0; group < groups; group++) {
    __builtin_prefetch(panel + AHEAD_IN_PANEL);
    const Floats scale = panel_scales<TYPE>(panel, row);
    const Floats bias = panel_scales<TYPE>(panel + PANEL_ROWS * bytes_of(TYPE), row);
    panel += 2 * PANEL_ROWS * bytes_of(TYPE);
    for (int chunk = 0; chunk < chunks; chunk++, sums++) {
      Floats even[TOKENS] = {}, odd[TOKENS] = {};
      for (int k = 0; k < CHUNK; k += PER_LINE, panel += LINE, x += PER_LINE) {
        if (vector == 0) __builtin_prefetch(panel + AHEAD_IN_PANEL);
        const Words words = load<Words>(panel + 4 * row);
        for (int i = 0; i < PER_LINE; i += 2) {
          // A line of 4-bit weights holds four columns in its bytes' lower halves and the next four in their upper.
          const int shift = BITS == 8 ? 8 * i : 8 * (i % 4) + 4 * (i / 4);
          const Floats q0 = lowest<BITS>(words >> shift), q1 = lowest<BITS>(words >> (shift + 8));
          for (int t = 0; t < TOKENS; t++) {
            even[t] += q0 * broadcast(x[t * x_stride + i]);
            odd[t] += q1 * broadcast(x[t * x_stride + i + 1]);
          }
        }
      }
      for (int t = 0; t < TOKENS; t++) {
        total[t] = add_chunk(total[t], even[t] + odd[t], scale, bias, 1, sums[t * sums_stride]);
      }
    }
  }
  for (int t = 0; t < TOKENS; t++) totals[t] = total[t];
}

struct Input {
  const float* x;
  ptrdiff_t stride;
  const float* sums;  // [M, chunks]
  int chunks;
};

template <int BITS, FloatType TYPE, int TOKENS>
void multiply_tokens(const Product& to, int panel, const Input& in, int first) {
  const Panels& w = *to.w;
  Floats totals[VECTORS][TOKENS];
  for (int vector = 0; vector < VECTORS; vector++) {
    multiply_vector<BITS, TYPE, TOKENS>(w.panel(panel), w, vector, in.x + first * in.stride, in.stride,
                                        in.sums + static_cast<ptrdiff_t>(first) * in.chunks, totals[vector]);
  }
  for (int t = 0; t < TOKENS; t++) {
    float row[PANEL_ROWS];
    for (int vector = 0; vector < VECTORS; vector++) store(row + vector * LANES, totals[vector][t]);
    finish_row(to, panel, first + t, row);
  }
}

template <int BITS, FloatType TYPE>
void multiply_panel(const Product& to, int panel, const Input& in, int begin, int end) {
  int m = begin;
  for (; m + MOST_TOKENS <= end; m += MOST_TOKENS) multiply_tokens<BITS, TYPE, MOST_TOKENS>(to, panel, in, m);
  for (; m + 2 <= end; m += 2) multiply_tokens<BITS, TYPE, 2>(to, panel, in, m);
  for (; m < end; m++) multiply_tokens<BITS, TYPE, 1>(to, panel, in, m);
}

using MultiplyPanel = void(const Product&, int, const Input&, int, int);

template <int BITS>
MultiplyPanel* of_type(FloatType type) {
  switch (type) {
    case FloatType::float16: return multiply_panel<BITS, FloatType::float16>;
    case FloatType::bfloat16: return multiply_panel<BITS, FloatType::bfloat16>;
    case FloatType::float32: return multiply_panel<BITS, FloatType::float32>;
  }
  __builtin_trap();
}

}  // namespace

size_t panel_floats_scratch(int M, int K) { return static_cast<size_t>(M) * (K / CHUNK); }

void panel_floats(const float* x, ptrdiff_t x_stride, int M, int K, const Product* products, int count, float* scratch,
                  Parallel& parallel) {
  const int chunks = K / CHUNK;
  for (int m = 0; m < M; m++) {
    for (int chunk = 0; chunk < chunks; chunk++) {
      Floats sum = {};
      for (int i = 0; i < CHUNK; i += LANES) sum += load(x + m * x_stride + chunk * CHUNK + i);
      scratch[static_cast<size_t>(m) * chunks + chunk] = sum_lanes(sum);
    }
  }
  const Input in{x, x_stride, scratch, chunks};
  auto nothing = [] { return 0; };
  auto multiply = [&](const Product& product, int panel, int begin, int end, int) {
    const FloatType type = product.w->scale_type();
    (product.w->bits() == 4 ? of_type<4>(type) : of_type<8>(type))(product, panel, in, begin, end);
  };
  for_panels(products, count, M, TOKENS_A_TASK, parallel, nothing, multiply);
}

}  // namespace course
