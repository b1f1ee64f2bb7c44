// Packed weights in blocks of LANES words, and how to unpack them without shuffling.
//
// Load a vector of LANES packed words and peel the same weight off every word with one shift and one mask:
// lane i then holds weight j of word i, not neighbours. So x is put into that order first, once,
// and every weight row runs over it as it is.
#pragma once

#include <algorithm>
#include <utility>

#include "vector.h"

namespace course {

// How a row of words is cut into blocks of LANES words. Where the last block would be short it starts
// earlier, so that it ends with the row, and meets zeros in x where it repeats the block before.
struct Blocks {
  int words;  // in a row
  int count;

  explicit Blocks(int words_per_row) : words(words_per_row), count((words_per_row + LANES - 1) / LANES) {}
  int first_word(int block) const { return std::min(block * LANES, words - LANES); }
  int repeated(int block) const { return block * LANES - first_word(block); }
};

template <int BITS>
constexpr int PER_WORD = 32 / BITS;

// Floats in a row of x or of unpacked weights, in blocks.
template <int BITS>
int arranged_length(Blocks blocks) {
  return blocks.count * LANES * PER_WORD<BITS>;
}

// x [K] to the order in which unpack() yields weights: [block, weight in its word, lane].
template <int BITS>
inline void arrange(const float* x, Blocks blocks, float* arranged) {
  for (int block = 0; block < blocks.count; block++) {
    const float* from = x + blocks.first_word(block) * PER_WORD<BITS>;
    const int repeated = blocks.repeated(block);
    for (int j = 0; j < PER_WORD<BITS>; j++, arranged += LANES) {
      for (int lane = 0; lane < LANES; lane++) {
        arranged[lane] = lane < repeated ? 0.0f : from[lane * PER_WORD<BITS> + j];
      }
    }
  }
}

// Lane i gets the scale of word i, where GROUP_WORDS neighbouring words share one.
template <int GROUP_WORDS>
ALWAYS_INLINE Floats spread(const float* scales) {
  if constexpr (GROUP_WORDS >= LANES) {
    return broadcast(*scales);
  } else {
    auto shuffle = [&]<int... lane>(std::integer_sequence<int, lane...>) __attribute__((always_inline)) {
      Floats s = load(scales);
      return __builtin_shufflevector(s, s, (lane / GROUP_WORDS)...);
    };
    return shuffle(std::make_integer_sequence<int, LANES>{});
  }
}

// The lowest BITS bits of every word, as a float.
template <int BITS>
ALWAYS_INLINE Floats lowest(Words words) {
#if defined(__GNUC__) && !defined(__clang__) && VECTOR_BYTES == 64
  // A vector of 16 floats is a table of all 4-bit numbers, and looking up reads no more than 4 bits of a lane: one
  // instruction in place of a mask and a conversion.
  if constexpr (BITS == 4) {
    const Floats table{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return __builtin_shuffle(table, (Ints)words);
  }
#endif
  return __builtin_convertvector((Ints)(words & ((1u << BITS) - 1)), Floats);
}

// Weight j of every word.
template <int BITS>
ALWAYS_INLINE Floats unpack(Words words, int j, Floats scale, Floats bias) {
  return lowest<BITS>(words >> (BITS * j)) * scale + bias;
}

}  // namespace course
