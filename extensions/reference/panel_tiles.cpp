// A tile is a register of 16 lines of 64 bytes. One instruction multiplies 16 tokens' bytes with lines of a panel, and
// adds to 16 times 16 sums of 32 bits:
//
//   sums [16 tokens, 16 rows] += x [16 tokens, 32 or 64 bytes] * lines [8 or 16, 16 rows, 4 bytes]
//
// https://www.intel.com/content/www/us/en/docs/intrinsics-guide (_tile_dpbsud): x is signed, the weights are not.
//
// It takes 16 cycles whether there are 8 lines or 16, but a chunk has 8: scales differ from chunk to chunk, so its sums
// have to come out before the next. 4-bit weights fill all 16. The upper lines hold 16 times the weights, which still
// fit a byte, so that one instruction sums 16 high + low, 12 bits of x; two give its three bytes, and not three.
//
// The instructions are written as assembly, so that code for a processor without them can hold this too and never comes
// here (processor.h).
#include "panel_tiles.h"

#include <algorithm>
#include <cstring>

#include "panel_sums.h"

namespace course {

Digits tile_digits(int bits, Digits digits) { return bits == 4 && digits == Digits::three ? Digits::pairs : digits; }

#if defined(__AVX512F__) && VECTOR_BYTES == 64

namespace {

constexpr int SUMS = TILE_TOKENS * PANEL_ROWS;  // of a tile

// Products that a chunk takes, and lines of weights in each.
template <Digits DIGITS>
constexpr int COUNT = DIGITS == Digits::pairs ? 2 : static_cast<int>(DIGITS);
template <Digits DIGITS>
constexpr int USED_LINES = DIGITS == Digits::pairs ? 2 * LINES : LINES;

// Tiles 0 to 2 and 3 to 5 hold sums, 6 weights, 7 x.
struct alignas(64) Shapes {
  uint8_t palette = 1, start = 0, unused[14] = {};
  uint16_t bytes[16] = {};
  uint8_t lines[16] = {};

  explicit Shapes(int used_lines) {
    for (int tile = 0; tile < 6; tile++) bytes[tile] = PANEL_ROWS * 4, lines[tile] = TILE_TOKENS;
    bytes[6] = LINE, lines[6] = static_cast<uint8_t>(used_lines);
    bytes[7] = static_cast<uint16_t>(4 * used_lines), lines[7] = TILE_TOKENS;
  }
};

template <int TILE>
ALWAYS_INLINE void tile_zero() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(TILE));
}
template <int TILE>
ALWAYS_INLINE void tile_load(const uint8_t* from, ptrdiff_t stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(TILE) : "memory");
}
template <int TILE>
ALWAYS_INLINE void tile_store(int32_t* to) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(ptrdiff_t{4 * PANEL_ROWS}), "i"(TILE) : "memory");
}
template <int TILE>
ALWAYS_INLINE void tile_dot() {
  __asm__ volatile("tdpbsud %%tmm6, %%tmm7, %%tmm%c0" ::"i"(TILE));
}

// The panel's chunks, a byte for each weight, and its scales and biases as floats.
template <int BITS, Digits DIGITS, FloatType TYPE>
void unpack(const uint8_t* panel, const Panels& w, uint8_t* lines, float* scales) {
  constexpr uint32_t LOW = 0x0f0f0f0f, HIGH = 0xf0f0f0f0;
  auto put = [](uint8_t* to, Words line) __attribute__((always_inline)) { std::memcpy(to, &line, LINE); };
  const int groups = w.groups(), chunks_a_group = w.chunks_a_group();
  for (int group = 0; group < groups; group++) {
    const Floats scale = panel_scales<TYPE>(panel, 0), bias = panel_scales<TYPE>(panel + w.scales_bytes() / 2, 0);
    panel += w.scales_bytes();
    for (int c = 0; c < chunks_a_group; c++, scales += 2 * PANEL_ROWS) {
      store(scales, scale);
      store(scales + PANEL_ROWS, bias);
      for (int line = 0; line < LINES; line += 8 / BITS, panel += LINE, lines += 8 / BITS * LINE) {
        const Words packed = load<Words>(panel);
        if constexpr (BITS == 8) {
          put(lines, packed);
        } else if constexpr (DIGITS == Digits::pairs) {
          put(lines, packed << 4 & HIGH);
          put(lines + LINE, packed & HIGH);
          put(lines + LINES * LINE, packed & LOW);
          put(lines + (LINES + 1) * LINE, packed >> 4 & LOW);
        } else {
          put(lines, packed & LOW);
          put(lines + LINE, packed >> 4 & LOW);
        }
      }
      if constexpr (DIGITS == Digits::pairs) lines += LINES * LINE;
    }
  }
}

// One tile of tokens with an unpacked panel, TOKENS of them of interest.
//
// Tiles take long. While they multiply chunk c, the sums of chunk c - 1 go to memory, and vectors turn those of chunk
// c - 2 to floats.
template <Digits DIGITS, int TOKENS>
class Tile {
 public:
  // next: what is wanted soon, so many bytes for each chunk.
  Tile(const uint8_t* lines, const float* scales, const DigitRows& x, int tile, const uint8_t* next, int next_bytes)
      : lines_(lines), scales_(scales), bytes_(x.bytes + tile * x.tile_bytes()),
        floats_(x.floats + tile * x.tile_floats()), chunks_(x.chunks()), next_(next), next_bytes_(next_bytes) {}

  ALWAYS_INLINE void multiply(float* rows) {
    Floats totals[TOKENS] = {};
    for (int chunk = 0; chunk < chunks_ + 2; chunk += 2) {
      step<0>(chunk, totals);
      step<1>(chunk + 1, totals);
    }
#pragma GCC unroll 16
    for (int t = 0; t < TOKENS; t++) store(rows + t * PANEL_ROWS, totals[t]);
  }

 private:
  static constexpr int PRODUCTS = COUNT<DIGITS>, LINE_COUNT = USED_LINES<DIGITS>, X_BYTES = 4 * LINE_COUNT;

  template <int SET>
  ALWAYS_INLINE void step(int chunk, Floats* totals) {
    for (int i = 0; i < next_bytes_; i += 64) __builtin_prefetch(next_ + i);
    next_ += next_bytes_;
    if (chunk < chunks_) {
      tile_load<6>(lines_ + chunk * LINE_COUNT * LINE, LINE);
      const uint8_t* x = bytes_ + static_cast<size_t>(chunk) * PRODUCTS * TILE_TOKENS * X_BYTES;
      product<3 * SET>(x);
      if constexpr (PRODUCTS > 1) product<3 * SET + 1>(x + TILE_TOKENS * X_BYTES);
      if constexpr (PRODUCTS > 2) product<3 * SET + 2>(x + 2 * TILE_TOKENS * X_BYTES);
    }
    if (chunk >= 1 && chunk <= chunks_) {
      constexpr int OTHER = 1 - SET;
      tile_store<3 * OTHER>(sums_[OTHER][0]);
      if constexpr (PRODUCTS > 1) tile_store<3 * OTHER + 1>(sums_[OTHER][1]);
      if constexpr (PRODUCTS > 2) tile_store<3 * OTHER + 2>(sums_[OTHER][2]);
    }
    if (chunk >= 2 && chunk < chunks_ + 2) add_up<SET>(chunk - 2, totals);
  }

  template <int TILE>
  ALWAYS_INLINE void product(const uint8_t* x) {
    tile_zero<TILE>();
    tile_load<7>(x, X_BYTES);
    tile_dot<TILE>();
  }

  template <int SET>
  ALWAYS_INLINE void add_up(int chunk, Floats* totals) {
    const float* scales = scales_ + chunk * 2 * PANEL_ROWS;
    const float* floats = floats_ + chunk * 2 * TILE_TOKENS;
    const Floats scale = load(scales), bias = load(scales + PANEL_ROWS);
#pragma GCC unroll 16
    for (int t = 0; t < TOKENS; t++) {
      const Ints high = load<Ints>(sums_[SET][0] + t * PANEL_ROWS);
      Ints low = {};
      if constexpr (PRODUCTS > 1) low = load<Ints>(sums_[SET][1] + t * PANEL_ROWS);
      if constexpr (PRODUCTS > 2) low = (low << 8) + load<Ints>(sums_[SET][2] + t * PANEL_ROWS);
      totals[t] = add_chunk(totals[t], whole<DIGITS>(high, low), scale, bias, floats[t], floats[TILE_TOKENS + t]);
    }
  }

  const uint8_t* lines_;
  const float* scales_;
  const uint8_t* bytes_;
  const float* floats_;
  const int chunks_;
  const uint8_t* next_;
  const int next_bytes_;
  alignas(64) int32_t sums_[2][PRODUCTS][SUMS];
};

template <Digits DIGITS, int TOKENS>
void multiply_tile(const uint8_t* lines, const float* scales, const DigitRows& x, int tile, const uint8_t* next,
                   int next_bytes, float* rows) {
  Tile<DIGITS, TOKENS>(lines, scales, x, tile, next, next_bytes).multiply(rows);
}

template <int BITS, Digits DIGITS, FloatType TYPE>
void multiply_panel(const Product& to, int panel, const DigitRows& x, int begin, int end, float* scratch) {
  scratch += (64 - reinterpret_cast<uintptr_t>(scratch) % 64) % 64 / sizeof(float);
  uint8_t* lines = reinterpret_cast<uint8_t*>(scratch);
  float* scales = scratch + x.chunks() * USED_LINES<DIGITS> * (LINE / 4);
  unpack<BITS, DIGITS, TYPE>(to.w->panel(panel), *to.w, lines, scales);
  // The next panel comes from memory while this one is multiplied.
  const uint8_t* next = to.w->panel(panel) + to.w->panel_bytes();
  const int next_bytes = static_cast<int>(to.w->panel_bytes()) / x.chunks();
  for (int m = begin; m < end; m += TILE_TOKENS) {
    alignas(64) float rows[SUMS];
    const int tokens = std::min(TILE_TOKENS, end - m);
    const auto multiply = tokens <= 4   ? multiply_tile<DIGITS, 4>
                          : tokens <= 8 ? multiply_tile<DIGITS, 8>
                                        : multiply_tile<DIGITS, TILE_TOKENS>;
    multiply(lines, scales, x, m / TILE_TOKENS, next, m == begin ? next_bytes : 0, rows);
    for (int t = 0; t < tokens; t++) finish_row(to, panel, m + t, rows + t * PANEL_ROWS);
  }
}

using MultiplyPanel = void(const Product&, int, const DigitRows&, int, int, float*);

template <int BITS, Digits DIGITS>
MultiplyPanel* of_type(FloatType type) {
  switch (type) {
    case FloatType::float16: return multiply_panel<BITS, DIGITS, FloatType::float16>;
    case FloatType::bfloat16: return multiply_panel<BITS, DIGITS, FloatType::bfloat16>;
    case FloatType::float32: return multiply_panel<BITS, DIGITS, FloatType::float32>;
  }
  __builtin_trap();
}

}  // namespace

size_t tiles_scratch(int K, int bits) {
  return 16 + static_cast<size_t>(K / CHUNK) * ((bits == 4 ? 2 : 1) * LINES * LINE / 4 + 2 * PANEL_ROWS);
}

TilesInUse::TilesInUse(Digits digits) {
  static const Shapes half(LINES), full(2 * LINES);
  const Shapes& shapes = digits == Digits::pairs ? full : half;
  __asm__ volatile("ldtilecfg %0" ::"m"(shapes));
}

TilesInUse::~TilesInUse() { __asm__ volatile("tilerelease"); }

void multiply_in_tiles(const Product& to, int panel, const DigitRows& x, int begin, int end, float* scratch) {
  const FloatType type = to.w->scale_type();
  auto kernel = [&]() -> MultiplyPanel* {
    if (x.digits == Digits::pairs) return of_type<4, Digits::pairs>(type);
    if (x.digits == Digits::three) return of_type<8, Digits::three>(type);
    return to.w->bits() == 4 ? of_type<4, Digits::one>(type) : of_type<8, Digits::one>(type);
  };
  kernel()(to, panel, x, begin, end, scratch);
}

#else

size_t tiles_scratch(int, int) { return 0; }
TilesInUse::TilesInUse(Digits) {}
TilesInUse::~TilesInUse() = default;
void multiply_in_tiles(const Product&, int, const DigitRows&, int, int, float*) { __builtin_trap(); }

#endif

}  // namespace course
