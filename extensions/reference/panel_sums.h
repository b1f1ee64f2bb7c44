// From sums of products of bytes to floats: what all ways to multiply panels by bytes have in common. (panel_floats.cpp
// uses parts of it.)
//
// In a chunk of 32 columns, with D digits a number,
//
//   sum over k of r[k] w[k] = unit * scale * sum over k of integer[k] q[k]  +  bias * sum over k of r[k]
//
// The sum of integers is computed digit by digit and is exact, in whatever order and by whatever instruction. Only here
// do floats come in, always in the same order: chunk after chunk, for each row of W on its own. So all ways to multiply bytes agree
// to the last bit.
#pragma once

#include "digits.h"
#include "float_type.h"
#include "panels.h"
#include "vector.h"

namespace course {

// The vector's share of a panel's 16 scales or biases.
template <FloatType TYPE>
ALWAYS_INLINE Floats panel_scales(const uint8_t* scales, int row) {
  if constexpr (TYPE == FloatType::float32) {
    return load(scales + 4 * row);
  } else {
    typedef uint16_t Halves __attribute__((vector_size(VECTOR_BYTES / 2)));
    const Halves halves = load<Halves>(scales + 2 * row);
    if constexpr (TYPE == FloatType::bfloat16) return bfloat_to_float(__builtin_convertvector(halves, Words));
    return half_to_float(__builtin_convertvector(halves, Words));
  }
}

// The sum of a chunk's integers, rounded to float: once where a weight has 4 bits, since the sum of the two lower digits
// is a float already, and then all three ways to write x give the same; twice where it has 8.
//
//   one    [sum]
//   three  [highest digits' sum, the others' together: 256 times the middle digits' sum plus the lowest digits']
//   pairs  [sum of the first numbers, sum of the second]
template <Digits DIGITS>
ALWAYS_INLINE Floats whole(Ints high, Ints low) {
  const Floats floats = __builtin_convertvector(high, Floats);
  if constexpr (DIGITS == Digits::one) return floats;
  return floats * (DIGITS == Digits::three ? 65536.0f : 4096.0f) + __builtin_convertvector(low, Floats);
}

// The chunk's share of the dot products.
ALWAYS_INLINE Floats add_chunk(Floats total, Floats whole, Floats scale, Floats bias, float unit, float sum) {
  total += whole * (scale * unit);
  return total + bias * sum;
}

}  // namespace course
