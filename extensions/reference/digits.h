// Rows of x as integers of one or three bytes, so that products with packed weights are products of bytes.
//
// Each 32 neighbours of a row share a unit, and each becomes a whole number of units:
//
//   one byte      unit = the largest |x| / 127: rounded to 8 bits, which costs precision
//   three bytes   unit = a power of two, such that the largest |x| is 2^22 to 2^23 units. A float has 24 bits, so what
//                 is lost is what the largest of 32 neighbours would lose in one more addition of floats.
//
// A number's bytes are its digits to the base 256, each from -128 to 127, the first the highest. Pairs write the same
// three bytes as two numbers of 12 bits, 4096 first + second, and each of those as 16 high + low.
#pragma once

#include <cstddef>
#include <cstdint>

#include "parallel.h"

namespace course {

enum class Digits { one = 1, three = 3, pairs = 4 };

// Rows in tiles of `tile` rows: tile after tile, in it chunk after chunk of 32 columns.
//
//   bytes   of a chunk: one, three: [digit, row of the tile, 32]; pairs: [first or second, row, high or low, 32]
//   floats  of a chunk: [unit or sum, row of the tile]; the sum is of the chunk's x as they were rounded
struct DigitRows {
  int rows, columns, tile;
  Digits digits;
  uint8_t* bytes;
  float* floats;

  int chunks() const { return columns / 32; }
  int tiles() const { return (rows + tile - 1) / tile; }
  size_t chunk_bytes() const { return static_cast<size_t>(digits) * tile * 32; }
  size_t tile_bytes() const { return chunks() * chunk_bytes(); }
  size_t tile_floats() const { return static_cast<size_t>(chunks()) * 2 * tile; }
  // Memory behind bytes and floats together, in floats.
  size_t scratch() const { return 16 + tiles() * (tile_bytes() / 4 + tile_floats()); }
  // Puts both into scratch() floats.
  void place(float* memory);
};

// x [rows, columns], rows x_stride floats apart, to digits. Rows that the last tile lacks become zeros. A chunk that
// holds an infinity or a NaN gets the unit NaN.
void to_digits(const float* x, ptrdiff_t x_stride, const DigitRows& to, Parallel& parallel);

}  // namespace course
