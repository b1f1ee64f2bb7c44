// A matrix packed to 4 or 8 bits a weight, as MLX stores it (`mx.quantize`, mode "affine").
//
// Row n is K / (32 / bits) words of 32 bits; weight k of a word's 32 / bits weights sits in its bits
// k * bits and up. Each group of `group_size` weights shares a scale and an offset ("bias"):
//
//   weight[n, k] = scales[n, k / group_size] * q[n, k] + biases[n, k / group_size]
#pragma once

#include <cstddef>
#include <cstdint>

#include "float_type.h"

namespace course {

struct QuantizedMatrix {
  const uint32_t* words;  // [rows, columns * bits / 32]
  const void* scales;     // [rows, columns / group_size] of scale_type
  const void* biases;     // the same
  FloatType scale_type;
  int rows;        // N, output features
  int columns;     // K, input features; a multiple of group_size
  int group_size;  // 32, 64 or 128
  int bits;        // 4 or 8

  int words_per_row() const { return columns / (32 / bits); }
  int groups_per_row() const { return columns / group_size; }
};

}  // namespace course
