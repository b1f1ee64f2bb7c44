// <metal_integer>.
#pragma once

#include "math.h"

namespace metal {

#define SIGNED_ABS(T) inline T abs(T a) { return a < 0 ? T(-a) : a; }
SIGNED_ABS(char) SIGNED_ABS(int8_t) SIGNED_ABS(short) SIGNED_ABS(int) SIGNED_ABS(long)
#undef SIGNED_ABS
#define UNSIGNED_ABS(T) inline T abs(T a) { return a; }
UNSIGNED_ABS(uchar) UNSIGNED_ABS(ushort) UNSIGNED_ABS(uint) UNSIGNED_ABS(ulong)
#undef UNSIGNED_ABS
template <class T, int N> inline vec<T, N> abs(vec<T, N> a) {
  for (int i = 0; i < N; i++) a[i] = abs(a[i]);
  return a;
}

template <class T> using if_integer = std::enable_if_t<std::is_integral_v<T>>;
template <class T, class = if_integer<T>> inline std::make_unsigned_t<T> absdiff(T a, T b) {
  using U = std::make_unsigned_t<T>;
  return a < b ? U(U(b) - U(a)) : U(U(a) - U(b));
}
template <class T, class = if_integer<T>> inline T popcount(T x) {
  return T(__builtin_popcountll(std::make_unsigned_t<T>(x)));
}
template <class T, class = if_integer<T>> inline T clz(T x) {
  constexpr int bits = 8 * sizeof(T);
  return x ? T(__builtin_clzll(std::make_unsigned_t<T>(x)) - (64 - bits)) : T(bits);
}
template <class T, class = if_integer<T>> inline T ctz(T x) {
  return x ? T(__builtin_ctzll(std::make_unsigned_t<T>(x))) : T(8 * sizeof(T));
}
template <class T, class = if_integer<T>> inline T reverse_bits(T x) {
  std::make_unsigned_t<T> from = x, to = 0;
  for (unsigned i = 0; i < 8 * sizeof(T); i++) to |= (from >> i & 1) << (8 * sizeof(T) - 1 - i);
  return T(to);
}
template <class T, class = if_integer<T>> inline T extract_bits(T x, uint offset, uint count) {
  using U = std::make_unsigned_t<T>;
  constexpr uint bits = 8 * sizeof(T);
  if (count == 0) return 0;
  const U up = U(U(x) << (bits - offset - count));  // a signed field keeps its sign
  return T(T(up) >> (bits - count));
}
template <class T, class = if_integer<T>> inline T insert_bits(T base, T insert, uint offset, uint count) {
  using U = std::make_unsigned_t<T>;
  const U mask = U((count >= 8 * sizeof(T) ? ~U(0) : U((U(1) << count) - 1)) << offset);
  return T((U(base) & ~mask) | (U(U(insert) << offset) & mask));
}
template <class T, class = if_integer<T>> inline T rotate(T x, T by) {
  using U = std::make_unsigned_t<T>;
  constexpr unsigned bits = 8 * sizeof(T);
  const unsigned n = unsigned(by) % bits;
  return n ? T(U(U(x) << n) | U(U(x) >> (bits - n))) : x;
}
template <class T, class = if_integer<T>> inline T mulhi(T a, T b) {
  using Wide = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
  return T((Wide(a) * Wide(b)) >> (8 * sizeof(T)));
}
template <class T, class = if_integer<T>> inline T madhi(T a, T b, T c) { return T(mulhi(a, b) + c); }
template <class T, class = if_integer<T>> inline T hadd(T a, T b) { return T((__int128(a) + b) >> 1); }
template <class T, class = if_integer<T>> inline T rhadd(T a, T b) { return T((__int128(a) + b + 1) >> 1); }
template <class T> inline T saturated_(__int128 x) {
  const __int128 low = numeric_limits<T>::min(), high = numeric_limits<T>::max();
  return T(x < low ? low : x > high ? high : x);
}
template <class T, class = if_integer<T>> inline T addsat(T a, T b) { return saturated_<T>(__int128(a) + b); }
template <class T, class = if_integer<T>> inline T subsat(T a, T b) { return saturated_<T>(__int128(a) - b); }
inline int mad24(int a, int b, int c) { return a * b + c; }
inline uint mad24(uint a, uint b, uint c) { return a * b + c; }
inline int mul24(int a, int b) { return a * b; }
inline uint mul24(uint a, uint b) { return a * b; }

}  // namespace metal
