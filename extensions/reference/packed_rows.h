// One token with packed weight rows: every weight is used once, so it is unpacked in registers, multiplied
// and forgotten.
//
// The inner loop of quantized_matmul_vectors.cpp, for several rows side by side.
#pragma once

#include "quantized_blocks.h"
#include "vector.h"

namespace course {

// Weight rows that one token is multiplied with at the same time: while one row's addition is under way,
// the others' can start, and each vector of x is loaded once for all of them.
constexpr int ROWS_AT_ONCE = REGISTERS >= 32 ? 4 : 2;
// How far ahead weights are asked for, in bytes. The processor's own prefetcher follows one stream well,
// several rows at once badly.
constexpr int AHEAD = 3072;

// A strip of weight rows with their scales as floats.
struct Strip {
  const uint32_t* words;  // of its first row
  const float* scales;    // [rows, groups]
  const float* biases;
  int groups;
};

// The dot products of one token with ROWS weight rows, from row `first` of the strip on, not yet
// summed over the lanes.
template <int BITS, int GROUP_WORDS, int ROWS>
ALWAYS_INLINE void dot_packed(const float* arranged, Blocks blocks, const Strip& strip, int first,
                              Floats* sums) {
  const uint32_t* words = strip.words + static_cast<size_t>(first) * blocks.words;
  const float* scales = strip.scales + first * strip.groups;
  const float* biases = strip.biases + first * strip.groups;
  Floats even[ROWS] = {}, odd[ROWS] = {};
  for (int block = 0; block < blocks.count; block++) {
    const int word = blocks.first_word(block), group = word / GROUP_WORDS;
    for (int byte = 0; byte < ROWS * VECTOR_BYTES; byte += 64) {
      // In the order of memory, whichever row it belongs to. A hint: past the end it does nothing.
      __builtin_prefetch(reinterpret_cast<const char*>(words) + block * ROWS * VECTOR_BYTES + byte + AHEAD);
    }
    Words packed[ROWS];
    Floats scale[ROWS], bias[ROWS];
    for (int r = 0; r < ROWS; r++) {
      packed[r] = load<Words>(words + static_cast<size_t>(r) * blocks.words + word);
      scale[r] = spread<GROUP_WORDS>(scales + r * strip.groups + group);
      bias[r] = spread<GROUP_WORDS>(biases + r * strip.groups + group);
    }
    for (int j = 0; j < PER_WORD<BITS>; j += 2, arranged += 2 * LANES) {
      Floats x0 = load(arranged), x1 = load(arranged + LANES);
      for (int r = 0; r < ROWS; r++) {
        even[r] += x0 * unpack<BITS>(packed[r], j, scale[r], bias[r]);
        odd[r] += x1 * unpack<BITS>(packed[r], j + 1, scale[r], bias[r]);
      }
    }
  }
  for (int r = 0; r < ROWS; r++) sums[r] = even[r] + odd[r];
}

// One token with the strip's rows: y [rows].
template <int BITS, int GROUP_WORDS>
inline void multiply_one(const float* arranged, Blocks blocks, const Strip& strip, int rows, float* y) {
  int n = 0;
  for (; n + 4 <= rows; n += 4) {
    Floats sums[4];
    for (int r = 0; r < 4; r += ROWS_AT_ONCE) {
      dot_packed<BITS, GROUP_WORDS, ROWS_AT_ONCE>(arranged, blocks, strip, n + r, sums + r);
    }
    Floats four = sum_lanes(sums[0], sums[1], sums[2], sums[3]);
    for (int r = 0; r < 4; r++) y[n + r] = four[r];
  }
  for (; n < rows; n++) {
    Floats sums;
    dot_packed<BITS, GROUP_WORDS, 1>(arranged, blocks, strip, n, &sums);
    y[n] = sum_lanes(sums);
  }
}

}  // namespace course
