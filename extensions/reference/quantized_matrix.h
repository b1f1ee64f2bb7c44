// A matrix packed to 4 or 8 bits a weight, as MLX stores it (`mx.quantize`, mode "affine").
//
// Row n is K / (32 / bits) words of 32 bits; weight k of a word's 32 / bits weights sits in its bits
// k * bits and up. Each group of `group_size` weights shares a scale and an offset ("bias"):
//
//   weight[n, k] = scales[n, k / group_size] * q[n, k] + biases[n, k / group_size]
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "vector.h"

namespace course {

enum class ScaleType { float16, bfloat16, float32 };

constexpr size_t scale_bytes(ScaleType type) { return type == ScaleType::float32 ? 4 : 2; }

struct QuantizedMatrix {
  const uint32_t* words;  // [rows, columns * bits / 32]
  const void* scales;     // [rows, columns / group_size] of scale_type
  const void* biases;     // the same
  ScaleType scale_type;
  int rows;        // N, output features
  int columns;     // K, input features; a multiple of group_size
  int group_size;  // 32, 64 or 128
  int bits;        // 4 or 8

  int words_per_row() const { return columns / (32 / bits); }
  int groups_per_row() const { return columns / group_size; }
};

// Half precision to float. A half is 1 sign, 5 exponent and 10 fraction bits, a float 1, 8 and 23: shift
// the fraction into place and mend the exponent's offset (127 - 15 = 112) by a multiplication, which
// is right for halves too small to be normal as well. Infinities and NaNs become large numbers:
// no scale is either.
ALWAYS_INLINE Floats half_to_float(Words halves) {
  Floats magnitude = (Floats)((halves & 0x7fff) << 13) * 0x1p112f;
  return (Floats)((Words)magnitude | (halves & 0x8000) << 16);
}

// bfloat16 is the upper half of a float.
ALWAYS_INLINE Floats bfloat_to_float(Words halves) { return (Floats)(halves << 16); }

// `count` scales, from element `first` on, as floats. Writes up to LANES - 1 floats more than that.
inline void scales_to_float(const void* scales, ScaleType type, size_t first, int count, float* out) {
  if (type == ScaleType::float32) {
    std::memcpy(out, static_cast<const float*>(scales) + first, count * sizeof(float));
    return;
  }
  typedef uint16_t Halves __attribute__((vector_size(VECTOR_BYTES / 2)));
  const uint16_t* from = static_cast<const uint16_t*>(scales) + first;
  for (int i = 0; i < count; i += LANES) {
    Halves halves = {};
    if (i + LANES <= count) {
      halves = load<Halves>(from + i);
    } else {
      for (int j = 0; j < count - i; j++) halves[j] = from[i + j];
    }
    Words words = __builtin_convertvector(halves, Words);
    store(out + i, type == ScaleType::float16 ? half_to_float(words) : bfloat_to_float(words));
  }
}

}  // namespace course
