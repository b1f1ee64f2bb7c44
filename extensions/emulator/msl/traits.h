// Type traits and numeric limits, as <metal_type_traits> and <metal_limits> have them.
#pragma once

#include "constants.h"
#include "vector.h"

namespace metal {

using std::bool_constant, std::conditional, std::conditional_t, std::decay_t, std::declval, std::enable_if;
using std::enable_if_t, std::false_type, std::integral_constant, std::is_arithmetic_v, std::is_convertible_v;
using std::is_integral, std::is_integral_v, std::is_pointer_v, std::is_same, std::is_same_v, std::is_signed_v;
using std::is_unsigned_v, std::is_void_v, std::make_signed_t, std::make_unsigned_t, std::remove_cv_t;
using std::remove_pointer_t, std::remove_reference_t, std::true_type;
template <class... B> using _disjunction = std::disjunction<B...>;
template <class... B> using _conjunction = std::conjunction<B...>;
template <class T> inline constexpr bool is_floating_point_v = emulator::is_float<T>;
template <class T> struct is_floating_point : bool_constant<emulator::is_float<T>> {};
template <class T> using remove_addrspace_t = std::remove_cv_t<T>;
template <class T> using uniform = T;
template <class T> constexpr T make_uniform(T x) { return x; }

template <class T> struct numeric_limits {
  static constexpr bool is_signed = T(-1) < T(0);
  static constexpr int digits = 8 * sizeof(T) - is_signed;
  static constexpr T max() { return is_signed ? T(~0ull >> (65 - 8 * sizeof(T))) : T(~0ull); }
  static constexpr T min() { return is_signed ? T(-max() - 1) : T(0); }
  static constexpr T lowest() { return min(); }
};
template <> struct numeric_limits<float> {
  static constexpr bool is_signed = true;
  static constexpr int digits = 24;
  static constexpr float max() { return FLT_MAX; }
  static constexpr float min() { return FLT_MIN; }
  static constexpr float lowest() { return -FLT_MAX; }
  static constexpr float infinity() { return INFINITY; }
  static constexpr float quiet_NaN() { return NAN; }
  static constexpr float epsilon() { return FLT_EPSILON; }
};
template <> struct numeric_limits<half> {
  static constexpr bool is_signed = true;
  static constexpr int digits = 11;
  static constexpr half max() { return HALF_MAX; }
  static constexpr half min() { return HALF_MIN; }
  static constexpr half lowest() { return -HALF_MAX; }
  static constexpr half infinity() { return half(INFINITY); }
  static constexpr half quiet_NaN() { return half(NAN); }
  static constexpr half epsilon() { return HALF_EPSILON; }
};
template <> struct numeric_limits<bfloat> {
  static constexpr bool is_signed = true;
  static constexpr int digits = 8;
  static constexpr bfloat max() { return bfloat::from_bits(0x7f7f); }
  static constexpr bfloat min() { return bfloat::from_bits(0x0080); }
  static constexpr bfloat lowest() { return bfloat::from_bits(0xff7f); }
  static constexpr bfloat infinity() { return bfloat::from_bits(0x7f80); }
  static constexpr bfloat quiet_NaN() { return bfloat::from_bits(0x7fc0); }
  static constexpr bfloat epsilon() { return bfloat::from_bits(0x3c00); }
};

}  // namespace metal
