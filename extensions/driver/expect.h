// Random inputs and comparisons for the driver.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../reference/float_type.h"

namespace course {

// The same numbers on every machine: xorshift (Marsaglia, https://doi.org/10.18637/jss.v008.i14).
class Random {
 public:
  explicit Random(uint32_t seed) : state_(seed * 2654435761u + 1) {}
  uint32_t bits() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 17;
    return state_ ^= state_ << 5;
  }
  int below(int n) { return static_cast<int>(bits() % static_cast<uint32_t>(n)); }
  float uniform(float from, float to) { return from + (to - from) * (bits() >> 8) * 0x1p-24f; }
  // Mostly between -1 and 1; one in 64 is ten times larger, as activations are.
  float activation() { return uniform(-1, 1) * (below(64) == 0 ? 10.0f : 1.0f); }
  std::vector<float> activations(size_t count) {
    std::vector<float> x(count);
    for (float& v : x) v = activation();
    return x;
  }

 private:
  uint32_t state_;
};

// Numbers in one of the types that weights come in, and what they are exactly.
struct Stored {
  std::vector<uint8_t> bytes;
  std::vector<double> exact;
};

// Rounds towards zero to the type's precision; the numbers must be normal in it.
inline Stored stored(const std::vector<float>& numbers, FloatType type) {
  Stored s;
  for (float number : numbers) {
    uint32_t word;
    std::memcpy(&word, &number, 4);
    if (type == FloatType::bfloat16) word &= 0xffff0000;
    if (type == FloatType::float16) word &= 0xffffe000;
    float exact;
    std::memcpy(&exact, &word, 4);
    s.exact.push_back(exact);
    uint16_t narrow = static_cast<uint16_t>(word >> 16);
    if (type == FloatType::float16) {
      // Below 2^-24 nothing is left; below 2^-14 the number is not normal, so it is not used here.
      narrow = number == 0 ? 0 : static_cast<uint16_t>((word >> 16 & 0x8000) | ((word - (112u << 23)) >> 13 & 0x7fff));
    }
    const uint8_t* from = type == FloatType::float32 ? reinterpret_cast<uint8_t*>(&word) : reinterpret_cast<uint8_t*>(&narrow);
    s.bytes.insert(s.bytes.end(), from, from + bytes_of(type));
  }
  return s;
}

[[noreturn]] inline void fail(const std::string& what, const char* message) {
  std::printf("FAILED %s: %s\n", what.c_str(), message);
  std::exit(1);
}

// |got - want| <= tolerance[i], element by element; NaN only where NaN is wanted.
inline void expect_close(const std::string& what, const std::vector<float>& got, const std::vector<double>& want,
                         const std::vector<double>& tolerance) {
  for (size_t i = 0; i < got.size(); i++) {
    if (std::isnan(want[i]) ? std::isnan(got[i]) : std::fabs(got[i] - want[i]) <= tolerance[i]) continue;
    char message[160];
    std::snprintf(message, sizeof message, "element %zu is %.9g, wanted %.9g within %.2g", i, got[i], want[i],
                  tolerance[i]);
    fail(what, message);
  }
}

inline void expect_same_bits(const std::string& what, const float* got, const float* want, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (std::memcmp(got + i, want + i, sizeof(float)) == 0 || got[i] == want[i]) continue;
    char message[160];
    std::snprintf(message, sizeof message, "element %zu is %.9g, elsewhere %.9g", i, got[i], want[i]);
    fail(what, message);
  }
}

}  // namespace course
