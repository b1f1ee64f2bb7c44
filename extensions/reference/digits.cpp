#include "digits.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "vector.h"

namespace course {

namespace {

constexpr int COUNT = 32;  // rounded together
constexpr int VECTORS = COUNT / LANES;

typedef uint8_t Bytes __attribute__((vector_size(VECTOR_BYTES)));

ALWAYS_INLINE Ints larger(Ints a, Ints b) { return a > b ? a : b; }

template <int DISTANCE, int... lane>
ALWAYS_INLINE Ints larger_half(Ints v, std::integer_sequence<int, lane...>) {
  return larger(v, __builtin_shufflevector(v, v, (lane + DISTANCE) % LANES...));
}

// The largest |x| of 32, as a float's bits. As integers these are in the order of the floats, and what is not finite comes
// last.
ALWAYS_INLINE uint32_t largest_bits(const Floats* v) {
  Ints largest = {};
  for (int i = 0; i < VECTORS; i++) largest = larger(largest, (Ints)v[i] & 0x7fffffff);
  constexpr auto lanes = std::make_integer_sequence<int, LANES>{};
  if constexpr (LANES >= 16) largest = larger_half<8>(largest, lanes);
  if constexpr (LANES >= 8) largest = larger_half<4>(largest, lanes);
  largest = larger_half<2>(largest, lanes);
  return static_cast<uint32_t>(larger_half<1>(largest, lanes)[0]);
}

constexpr uint32_t NOT_FINITE = 0x7f800000;

ALWAYS_INLINE float of_bits(uint32_t bits) {
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}

struct Unit {
  float unit, inverse;
};

// A power of two so that the largest is from 2^22 to less than 2^23 units: less, because 127, 127, 127 are the highest
// three digits, and 16 * 127 + 7, 16 * 127 + 7 the highest pair.
ALWAYS_INLINE Unit power_of_two(uint32_t largest) {
  constexpr uint32_t BIAS = 127, SMALLEST = 25, STEP = 1 << 23;
  constexpr uint32_t LESS = 2 * (STEP - 0x7f77f7);  // added, the bits of what is too large become the next power's
  const uint32_t exponent = std::clamp((largest + LESS) / STEP, SMALLEST, 2 * BIAS + 1);
  return {of_bits((exponent - 22) * STEP), of_bits((2 * BIAS + 22 - exponent) * STEP)};
}

// Each lane's four bytes: byte b of lane i comes to place b * LANES + i.
template <int... place>
ALWAYS_INLINE Bytes gather(Words v, std::integer_sequence<int, place...>) {
  const Bytes bytes = (Bytes)v;
  return __builtin_shufflevector(bytes, bytes, (place % LANES * 4 + place / LANES)...);
}

// Byte b of each lane to `to[b]`, LANES bytes.
template <int COUNTED>
ALWAYS_INLINE void store_bytes(Words v, uint8_t* const* to, int offset) {
  const Bytes gathered = gather(v, std::make_integer_sequence<int, VECTOR_BYTES>{});
  for (int b = 0; b < COUNTED; b++) std::memcpy(to[b] + offset, reinterpret_cast<const char*>(&gathered) + b * LANES, LANES);
}

// 32 neighbours of a row of a tile of `tile` rows.
template <Digits DIGITS>
ALWAYS_INLINE void round_chunk(const float* x, int tile, uint8_t* bytes, float* unit_to, float* sum_to) {
  Floats v[VECTORS];
  for (int i = 0; i < VECTORS; i++) v[i] = load(x + i * LANES);
  const uint32_t largest = largest_bits(v);
  Unit of;
  if constexpr (DIGITS == Digits::one) {
    const float most = of_bits(largest);
    const float inverse = 127 / most;
    of = {most / 127, inverse < __builtin_inff() ? inverse : 0};  // infinite: of less than 4e-37, which become 0
  } else {
    of = power_of_two(largest);
  }
  const int apart = tile * COUNT;
  uint8_t* const places[4] = {
      DIGITS == Digits::one ? bytes : DIGITS == Digits::three ? bytes + 2 * apart : bytes + 2 * apart + COUNT,
      DIGITS == Digits::three ? bytes + apart : bytes + 2 * apart,
      DIGITS == Digits::three ? bytes : bytes + COUNT,
      bytes};
  Floats sum = {};
  for (int i = 0; i < VECTORS; i++) {
    const Floats scaled = opaque(v[i] * of.inverse);  // not one with the addition: rounded alike everywhere
    const Floats half = (Floats)(((Ints)scaled & INT32_MIN) | (Ints)broadcast(0.5f));
    const Ints integers = __builtin_convertvector(scaled + half, Ints);
    sum += __builtin_convertvector(integers, Floats);
    // A digit from -128 to 127 is one from 0 to 255 less 128: so is every digit of a number to which 128 times each
    // power was added. The same with 8 where a digit has 4 bits.
    if constexpr (DIGITS == Digits::one) {
      store_bytes<1>((Words)integers, places, i * LANES);
    } else if constexpr (DIGITS == Digits::three) {
      store_bytes<3>(((Words)integers + 0x808080) ^ 0x808080, places, i * LANES);
    } else {
      const Words raised = (Words)integers + 0x808808;
      const Words fields = (raised & 0xf) | (raised << 4 & 0xff00) | (raised << 4 & 0xf0000) | (raised << 8 & 0xff000000);
      store_bytes<4>((Words)((Bytes)fields - (Bytes)(Words{} + 0x80088008)), places, i * LANES);
    }
  }
  const float lost = largest >= NOT_FINITE ? __builtin_nanf("") : 0.0f;
  *unit_to = of.unit + lost;
  *sum_to = sum_lanes(sum) * of.unit + lost;
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
