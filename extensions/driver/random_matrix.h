// A random packed matrix, and what its weights are exactly.
#pragma once

#include "../reference/quantized_matrix.h"
#include "expect.h"

namespace course {

struct RandomMatrix {
  int rows, columns, bits, group_size;
  FloatType type;
  std::vector<uint32_t> words;
  Stored scales, biases;

  // Weights between about -size / 2 and size. Some groups are of equal weights, some have no offset.
  RandomMatrix(Random& random, int rows, int columns, int bits, int group_size, FloatType type, float size = 0.3f)
      : rows(rows), columns(columns), bits(bits), group_size(group_size), type(type),
        words(static_cast<size_t>(rows) * columns / (32 / bits)) {
    for (uint32_t& word : words) word = random.bits();
    std::vector<float> s(static_cast<size_t>(rows) * groups()), b(s.size());
    const float values = static_cast<float>(1 << bits);
    for (size_t g = 0; g < s.size(); g++) {
      s[g] = random.uniform(0.1f, 1) * size / values;
      b[g] = -random.uniform(0.25f, 0.5f) * values * s[g];
      if (g % 7 == 0) s[g] = 0;
      if (g % 11 == 0) b[g] = 0;
    }
    scales = stored(s, type), biases = stored(b, type);
  }

  // Valid while this lives and stays where it is.
  QuantizedMatrix matrix() const {
    return {words.data(), scales.bytes.data(), biases.bytes.data(), type, rows, columns, group_size, bits};
  }
  int groups() const { return columns / group_size; }
  size_t group(int n, int k) const { return static_cast<size_t>(n) * groups() + k / group_size; }
  uint32_t q(int n, int k) const {
    const int per_word = 32 / bits;
    const uint32_t word = words[static_cast<size_t>(n) * (columns / per_word) + k / per_word];
    return word >> (k % per_word * bits) & ((1u << bits) - 1);
  }
  double scaled(int n, int k) const { return scales.exact[group(n, k)] * q(n, k); }
  double offset(int n, int k) const { return biases.exact[group(n, k)]; }
  double weight(int n, int k) const { return scaled(n, k) + offset(n, k); }
};

}  // namespace course
