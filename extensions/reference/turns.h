// By how much RoPE turns tokens.
#pragma once

#include <cstddef>
#include <cstdint>

#include "parallel.h"

namespace course {

// Cosines and sines by which tokens are turned: those of a step serve the queries and keys of all layers.
struct Turns {
  int width;            // of a row: dims / 2, up to whole vectors
  const float* cosines;  // [tokens, width]
  const float* sines;

  static int padded(int dims);
  // Floats of memory for the turns of so many tokens.
  static size_t floats(int tokens, int dims) { return size_t{2} * tokens * padded(dims); }
};

// The turns of B rows of L tokens each, row after row, into Turns::floats(B * L, dims) floats. The other arguments: rope.h.
Turns turns_of(int batch, int tokens, const int32_t* positions, const double* speeds, int dims, float* memory,
               Parallel& parallel);

}  // namespace course
