// Rotary position embedding (https://arxiv.org/abs/2104.09864).
#pragma once

#include <cstddef>
#include <cstdint>

#include "parallel.h"
#include "turns.h"

namespace course {

struct RopeSize {
  int batch;   // B
  int heads;   // H
  int tokens;  // L
  int D;       // features of a head
  int dims;    // the first ones, which are rotated; even
};

// A tensor's strides, in floats; features are contiguous.
struct RopeStrides {
  ptrdiff_t batch, head, token;
};

// Turns each pair of features by an angle proportional to the token's position.
//
//   x          [B, H, L, D]
//   out        [B, H, L, D]; may be x where `to` is `from`
//   positions  [B]: where the first token of each row stands
//   speeds     [dims / 2]: radians that a pair turns by from one position to the next
//
// A pair is features 2i and 2i + 1 if `traditional`, else i and i + dims / 2. Features from dims on
// are copied. Each token's result depends, to the last bit, on that token and its position alone.
void rope(const float* x, const RopeStrides& from, float* out, const RopeStrides& to, const RopeSize& size,
          const int32_t* positions, const double* speeds, bool traditional, Parallel& parallel);

// The same by turns that were made before, of B * L tokens.
void apply_turns(const float* x, const RopeStrides& from, float* out, const RopeStrides& to, const RopeSize& size,
                 const Turns& turns, bool traditional, Parallel& parallel);

}  // namespace course
