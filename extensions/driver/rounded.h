// x as it is rounded before a product with panels, by the definition in digits.h.
#pragma once

#include <algorithm>

#include "../reference/digits.h"
#include "expect.h"

namespace course {

struct Rounded {
  std::vector<double> numbers;   // [K], whole multiples of their unit
  std::vector<double> integers;  // [K], how many
};

// A row of x; K is a multiple of 32.
inline Rounded rounded(const float* x, int K, Digits digits) {
  Rounded row;
  for (int begin = 0; begin < K; begin += 32) {
    const float* chunk = x + begin;
    float most = 0;
    bool finite = true;
    for (int i = 0; i < 32; i++) {
      finite = finite && std::isfinite(chunk[i]);
      most = std::fmax(most, std::fabs(chunk[i]));
    }
    double unit;
    float inverse = 0;
    if (digits == Digits::one) {
      unit = most / 127;
      // No float is the inverse of a unit so small. All is 0 then.
      inverse = 127 / most < INFINITY ? 127 / most : 0;
    } else {
      // The largest has less than 2^23 units: as many as all ways to write three bytes hold. No unit is below 2^-124.
      unit = std::ldexp(1.0, most > 0 && finite ? std::max(std::ilogb(most) - 22, -124) : -124);
      if (most >= 0x7f77f7 * unit) unit *= 2;
    }
    for (int i = 0; i < 32; i++) {
      const double scaled = digits == Digits::one ? chunk[i] * inverse : chunk[i] / unit;
      const double integer = finite ? std::copysign(std::floor(std::fabs(scaled) + 0.5), scaled) : NAN;
      row.integers.push_back(integer);
      row.numbers.push_back(integer * unit);
    }
  }
  return row;
}

}  // namespace course
