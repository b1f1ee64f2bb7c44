// The types that weights' scales come in, and how they become floats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "vector.h"

namespace course {

enum class FloatType { float16, bfloat16, float32 };

constexpr size_t bytes_of(FloatType type) { return type == FloatType::float32 ? 4 : 2; }

// Half precision to float. A half is 1 sign, 5 exponent and 10 fraction bits, a float 1, 8 and 23: shift
// the fraction into place and mend the exponent's offset (127 - 15 = 112) by a multiplication, which
// is right for halves too small to be normal as well. Infinities and NaNs become large numbers: no
// weight is either.
ALWAYS_INLINE Floats half_to_float(Words halves) {
  Floats magnitude = (Floats)((halves & 0x7fff) << 13) * 0x1p112f;
  return (Floats)((Words)magnitude | (halves & 0x8000) << 16);
}

// bfloat16 is the upper half of a float.
ALWAYS_INLINE Floats bfloat_to_float(Words halves) { return (Floats)(halves << 16); }

// `count` numbers, from element `first` on, as floats. Writes up to LANES - 1 floats more than that.
inline void to_floats(const void* numbers, FloatType type, size_t first, int count, float* out) {
  if (type == FloatType::float32) {
    std::memcpy(out, static_cast<const float*>(numbers) + first, count * sizeof(float));
    return;
  }
  typedef uint16_t Halves __attribute__((vector_size(VECTOR_BYTES / 2)));
  const uint16_t* from = static_cast<const uint16_t*>(numbers) + first;
  for (int i = 0; i < count; i += LANES) {
    Halves halves = {};
    if (i + LANES <= count) {
      halves = load<Halves>(from + i);
    } else {
      for (int j = 0; j < count - i; j++) halves[j] = from[i + j];
    }
    Words words = __builtin_convertvector(halves, Words);
    store(out + i, type == FloatType::float16 ? half_to_float(words) : bfloat_to_float(words));
  }
}

}  // namespace course
