#include "digits.h"

#include <algorithm>
#include <cstring>

#include "vector.h"

namespace course {

namespace {

constexpr int COUNT = 32;  // rounded together
constexpr int VECTORS = COUNT / LANES;

// A power of two so that `most` is from 2^22 to less than 2^23 units: less, because 127, 127, 127 are the highest three
// digits, and 16 * 127 + 7, 16 * 127 + 7 the highest pair.
struct PowerOfTwo {
  float unit, inverse;

  explicit PowerOfTwo(float most) {
    constexpr int BIAS = 127, SMALLEST = 25;
    uint32_t bits;
    const float enlarged = most * 1.0042f;
    std::memcpy(&bits, &enlarged, sizeof bits);
    const uint32_t exponent = std::clamp<uint32_t>(bits >> 23, SMALLEST, 2 * BIAS - 1);  // of 2 or smaller than most
    const uint32_t unit_bits = (exponent - 22) << 23, inverse_bits = (2 * BIAS + 22 - exponent) << 23;
    std::memcpy(&unit, &unit_bits, sizeof unit);
    std::memcpy(&inverse, &inverse_bits, sizeof inverse);
  }
};

// The lowest bytes of 32 numbers.
ALWAYS_INLINE void store_bytes(uint8_t* to, const Ints* v) {
  int32_t numbers[COUNT];
  std::memcpy(numbers, v, sizeof numbers);
  for (int i = 0; i < COUNT; i++) to[i] = static_cast<uint8_t>(numbers[i]);
}

// The numbers v as multiples of 2^BITS and rests from -2^(BITS - 1) to less than 2^(BITS - 1). Writes the rests, and
// leaves the multiples.
template <int BITS>
ALWAYS_INLINE void split(Ints* v, uint8_t* to) {
  Ints rests[VECTORS];
  for (int i = 0; i < VECTORS; i++) {
    rests[i] = v[i] << (32 - BITS) >> (32 - BITS);
    v[i] = (v[i] - rests[i]) >> BITS;
  }
  store_bytes(to, rests);
}

// 32 neighbours of a row of a tile of `tile` rows.
template <Digits DIGITS>
ALWAYS_INLINE void round_chunk(const float* x, int tile, uint8_t* bytes, float* unit_to, float* sum_to) {
  Floats v[VECTORS], largest = {}, not_finite = {};
  for (int i = 0; i < VECTORS; i++) {
    v[i] = load(x + i * LANES);
    largest = maximum(largest, maximum(v[i], -v[i]));
    not_finite += v[i] - v[i];
  }
  const float most = max_lanes(largest);
  float unit, inverse;
  if constexpr (DIGITS == Digits::one) {
    unit = most / 127, inverse = most > 0 ? 127 / most : 0;
  } else {
    const PowerOfTwo power(most);
    unit = power.unit, inverse = power.inverse;
  }
  Floats sum = {};
  Ints integers[VECTORS];
  for (int i = 0; i < VECTORS; i++) {
    const Floats scaled = opaque(v[i] * inverse);  // not one with the addition: rounded alike everywhere
    const Floats half = select(scaled < 0.0f, broadcast(-0.5f), broadcast(0.5f));
    integers[i] = __builtin_convertvector(scaled + half, Ints);
    sum += __builtin_convertvector(integers[i], Floats);
  }
  if constexpr (DIGITS == Digits::three) {
    split<8>(integers, bytes + 2 * tile * COUNT);
    split<8>(integers, bytes + tile * COUNT);
  } else if constexpr (DIGITS == Digits::pairs) {
    uint8_t* second = bytes + 2 * tile * COUNT;
    split<4>(integers, second + COUNT);
    split<8>(integers, second);
    split<4>(integers, bytes + COUNT);
  }
  store_bytes(bytes, integers);
  const Floats sums = sum_lanes(sum, not_finite, sum, not_finite);
  *unit_to = unit + sums[1];
  *sum_to = sums[0] * unit + sums[1];
}

template <Digits DIGITS>
void round_tile(const float* x, ptrdiff_t x_stride, const DigitRows& to, int tile) {
  constexpr int BYTES_A_ROW = DIGITS == Digits::pairs ? 2 * COUNT : COUNT;
  const int T = to.tile, present = std::min(T, to.rows - tile * T);
  uint8_t* bytes = to.bytes + tile * to.tile_bytes();
  float* floats = to.floats + tile * to.tile_floats();
  if (present < T) {
    std::fill_n(bytes, to.tile_bytes(), 0);
    std::fill_n(floats, to.tile_floats(), 0.0f);
  }
  for (int row = 0; row < present; row++) {
    const float* from = x + (static_cast<ptrdiff_t>(tile) * T + row) * x_stride;
    uint8_t* bytes_to = bytes + row * BYTES_A_ROW;
    float* floats_to = floats + row;
    for (int chunk = 0; chunk < to.chunks(); chunk++) {
      round_chunk<DIGITS>(from, T, bytes_to, floats_to, floats_to + T);
      from += COUNT, bytes_to += to.chunk_bytes(), floats_to += 2 * T;
    }
  }
}

}  // namespace

void DigitRows::place(float* memory) {
  memory += (64 - reinterpret_cast<uintptr_t>(memory) % 64) % 64 / sizeof(float);
  bytes = reinterpret_cast<uint8_t*>(memory);
  floats = memory + tiles() * (tile_bytes() / 4);
}

void to_digits(const float* x, ptrdiff_t x_stride, const DigitRows& to, Parallel& parallel) {
  auto round = [&](int tile, int) {
    switch (to.digits) {
      case Digits::one: return round_tile<Digits::one>(x, x_stride, to, tile);
      case Digits::three: return round_tile<Digits::three>(x, x_stride, to, tile);
      case Digits::pairs: return round_tile<Digits::pairs>(x, x_stride, to, tile);
    }
  };
  if (static_cast<int64_t>(to.rows) * to.columns > 8192) {
    parallel.for_each(to.tiles(), round);
  } else {
    for (int tile = 0; tile < to.tiles(); tile++) round(tile, 0);
  }
}

}  // namespace course
