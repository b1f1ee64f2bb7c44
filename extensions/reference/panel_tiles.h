// Panels with many tokens, on processors that multiply matrices of bytes (Intel's AMX). See panel_tiles.cpp for how.
#pragma once

#include "digits.h"
#include "panel_product.h"

namespace course {

constexpr int TILE_TOKENS = 16;  // of a tile

// How x has to be written for tiles, to as many digits.
Digits tile_digits(int bits, Digits digits);

// Floats of scratch memory that a worker needs.
size_t tiles_scratch(int K, int bits);

// While one exists, its thread may use tiles for x in such digits.
class TilesInUse {
 public:
  explicit TilesInUse(Digits digits);
  ~TilesInUse();
  TilesInUse(const TilesInUse&) = delete;
};

// Multiplies the tokens from `begin` to `end`, in x's tiles of TILE_TOKENS, with one panel of a product. For use where
// byte_products() is `tiles`, while the thread has them in use.
void multiply_in_tiles(const Product& to, int panel, const DigitRows& x, int begin, int end, float* scratch);

}  // namespace course
