// Metal's scalar types.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#if !defined(__FLT16_MANT_DIG__)
#error "this compiler has no _Float16 in C++: on x86-64 take g++ 12 or later, on Arm g++ 13 or later, or clang"
#endif

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
// Each operation is rounded to half: the build forbids the compiler to carry more precision.
typedef _Float16 half;
typedef half float16_t;

// A bfloat computes in float and rounds after each operation. As in Metal, float becomes bfloat only on request.
struct bfloat {
  uint16_t bits;
  bfloat() = default;
  template <class T, class = std::enable_if_t<std::is_arithmetic_v<T> || std::is_same_v<T, half>>>
  constexpr explicit bfloat(T value) : bits(rounded(static_cast<float>(value))) {}
  constexpr operator float() const { return __builtin_bit_cast(float, uint32_t(bits) << 16); }

  static constexpr bfloat from_bits(uint16_t bits) {
    bfloat value{};
    value.bits = bits;
    return value;
  }
  // To nearest, ties to even; a NaN stays one.
  static constexpr uint16_t rounded(float value) {
    const uint32_t u = __builtin_bit_cast(uint32_t, value);
    if ((u & 0x7fffffffu) > 0x7f800000u) return uint16_t((u >> 16) | 0x40);
    return uint16_t((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
  }
};
typedef bfloat bfloat16_t;

namespace emulator {
template <class T> inline constexpr bool is_integer = std::is_integral_v<T>;
template <class T> inline constexpr bool is_native = std::is_arithmetic_v<T> || std::is_same_v<T, half>;
template <class T> inline constexpr bool is_float =
    std::is_floating_point_v<T> || std::is_same_v<T, half> || std::is_same_v<T, bfloat>;
template <class T> inline constexpr bool is_scalar = is_native<T> || std::is_same_v<T, bfloat>;
// bfloat with an integer is bfloat; with float, float; with half, float.
template <class T> using with_bfloat = std::conditional_t<is_integer<T>, bfloat, float>;
}  // namespace emulator

#define BFLOAT_OPERATOR(op)                                                                        \
  constexpr bfloat operator op(bfloat a, bfloat b) { return bfloat(float(a) op float(b)); }         \
  template <class T, class = std::enable_if_t<emulator::is_native<T>>>                              \
  constexpr auto operator op(bfloat a, T b) {                                                       \
    return emulator::with_bfloat<T>(float(a) op float(b));                                          \
  }                                                                                                \
  template <class T, class = std::enable_if_t<emulator::is_native<T>>>                              \
  constexpr auto operator op(T a, bfloat b) {                                                       \
    return emulator::with_bfloat<T>(float(a) op float(b));                                          \
  }                                                                                                \
  template <class T, class = std::enable_if_t<emulator::is_scalar<T>>>                              \
  constexpr bfloat& operator op##=(bfloat& a, T b) {                                                \
    return a = bfloat(float(a) op float(b));                                                        \
  }                                                                                                \
  template <class T, class = std::enable_if_t<emulator::is_native<T>>>                              \
  constexpr T& operator op##=(T& a, bfloat b) {                                                     \
    return a = T(a op float(b));                                                                    \
  }
BFLOAT_OPERATOR(+)
BFLOAT_OPERATOR(-)
BFLOAT_OPERATOR(*)
BFLOAT_OPERATOR(/)
#undef BFLOAT_OPERATOR
constexpr bfloat operator-(bfloat a) { return bfloat::from_bits(uint16_t(a.bits ^ 0x8000)); }
constexpr bfloat operator+(bfloat a) { return a; }
constexpr bfloat& operator++(bfloat& a) { return a = bfloat(float(a) + 1); }
constexpr bfloat& operator--(bfloat& a) { return a = bfloat(float(a) - 1); }

template <class To, class From> inline To as_type(From from) {
  static_assert(sizeof(To) == sizeof(From), "as_type needs two types of the same size");
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}
