// Vectors of floats, written once for every CPU.
//
// GCC and Clang offer vector types that add, multiply, compare and shift lane by lane, and translate
// them to whatever the machine has: AVX on x86, NEON on Arm. No intrinsics, so one source serves all.
//
// https://gcc.gnu.org/onlinedocs/gcc/Vector-Extensions.html
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

// Bytes in a vector register. Wider than the machine's own would be split up and spilled; narrower
// leaves lanes unused.
#ifndef VECTOR_BYTES
#if defined(__AVX512F__) && defined(__AVX512VL__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#endif

#define ALWAYS_INLINE inline __attribute__((always_inline))

namespace course {

constexpr int LANES = VECTOR_BYTES / 4;

typedef float Floats __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t Ints __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t Words __attribute__((vector_size(VECTOR_BYTES)));

// Registers that a tile of accumulators may count on.
#if defined(__AVX512VL__) || defined(__aarch64__)
constexpr int REGISTERS = 32;
#else
constexpr int REGISTERS = 16;
#endif

// From memory of any alignment.
template <class Vector = Floats>
ALWAYS_INLINE Vector load(const void* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

ALWAYS_INLINE void store(float* to, Floats v) { std::memcpy(to, &v, sizeof v); }

ALWAYS_INLINE Floats broadcast(float x) { return x - Floats{}; }

// v, of which GCC may assume nothing: the empty statement claims to change it.
ALWAYS_INLINE Floats opaque(Floats v) {
#if defined(__GNUC__) && !defined(__clang__)
#if defined(__x86_64__)
  __asm__("" : "+v"(v));
#elif defined(__aarch64__)
  __asm__("" : "+w"(v));
#else
  __asm__("" : "+m"(v));
#endif
#endif
  return v;
}

// A load that stays in its register however often it is used. GCC otherwise repeats the load at every
// use, which halves the speed of a tile of dot products.
ALWAYS_INLINE Floats load_once(const void* from) { return opaque(load(from)); }

// Sums of lanes.
//
// A vector is folded in half until one lane is left: lane i is added to lane i + LANES/2, then
// LANES/4, and so on. Folding four accumulators together costs little more than folding one, and adds
// in the same order, so that a result does not depend on which accumulators were folded with it.
namespace fold_detail {

// `a` holds N accumulators of LANES/N lanes each, so does `b`. Where does lane `lane` of the result,
// which holds 2N accumulators, come from? HALF 0: the lower half of its accumulator, 1: the upper.
template <int N, int HALF>
constexpr int source(int lane) {
  constexpr int before = LANES / N, after = before / 2;
  int accumulator = lane / after, position = lane % after;
  int vector = accumulator / N;  // 0: from a, 1: from b
  return vector * LANES + (accumulator % N) * before + HALF * after + position;
}

template <int N, int... lane>
ALWAYS_INLINE Floats fold(Floats a, Floats b, std::integer_sequence<int, lane...>) {
  return __builtin_shufflevector(a, b, source<N, 0>(lane)...) +
         __builtin_shufflevector(a, b, source<N, 1>(lane)...);
}

template <int N>
ALWAYS_INLINE Floats fold(Floats a, Floats b) {
  return fold<N>(a, b, std::make_integer_sequence<int, LANES>{});
}

}  // namespace fold_detail

// Lanes 0 to 3 of the result are the sums of a, b, c and d.
ALWAYS_INLINE Floats sum_lanes(Floats a, Floats b, Floats c, Floats d) {
  using fold_detail::fold;
  Floats sums = fold<2>(fold<1>(a, b), fold<1>(c, d));
  if constexpr (LANES >= 8) sums = fold<4>(sums, sums);
  if constexpr (LANES >= 16) sums = fold<8>(sums, sums);
  return sums;
}

ALWAYS_INLINE float sum_lanes(Floats a) { return sum_lanes(a, a, a, a)[0]; }

ALWAYS_INLINE Floats select(Ints condition, Floats yes, Floats no) {
  return condition ? yes : no;
}

ALWAYS_INLINE Floats maximum(Floats a, Floats b) { return select(a > b, a, b); }

namespace fold_detail {

// The larger of lane i and lane i + DISTANCE.
template <int DISTANCE, int... lane>
ALWAYS_INLINE Floats larger(Floats v, std::integer_sequence<int, lane...>) {
  return maximum(v, __builtin_shufflevector(v, v, (lane + DISTANCE) % LANES...));
}

template <int DISTANCE>
ALWAYS_INLINE Floats largest(Floats v) {
  if constexpr (DISTANCE == 0) {
    return v;
  } else {
    return largest<DISTANCE / 2>(larger<DISTANCE>(v, std::make_integer_sequence<int, LANES>{}));
  }
}

}  // namespace fold_detail

ALWAYS_INLINE float max_lanes(Floats v) { return fold_detail::largest<LANES / 2>(v)[0]; }

// e^x, to 2 units in the last place; 0 below -87.3 (also for -infinity), infinity above 88.7, NaN for NaN.
//
// e^x = 2^n e^r with n the integer nearest to x / ln 2, so that |r| <= ln 2 / 2, where seven terms of
// e^r's series are exact to float. 2^n is an addition to the exponent's bits.
ALWAYS_INLINE Floats exp(Floats x) {
  constexpr float LOG2_E = 1.44269504f, LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
  constexpr float ROUND = 12582912.0f;  // 1.5 * 2^23: adding it leaves no bits for a fraction
  Floats bounded = select(x < -88.0f, broadcast(-88.0f), x);
  bounded = select(bounded > 89.0f, broadcast(89.0f), bounded);
  Floats shifted = bounded * LOG2_E + ROUND;
  Floats n = shifted - ROUND;
  Floats r = bounded - n * LN2_HIGH - n * LN2_LOW;
  Floats power = r * (1.0f / 5040) + 1.0f / 720;
  power = power * r + 1.0f / 120;
  power = power * r + 1.0f / 24;
  power = power * r + 1.0f / 6;
  power = power * r + 0.5f;
  power = power * r + 1.0f;
  power = power * r + 1.0f;
  Floats result = (Floats)((Words)power + ((Words)shifted << 23));  // n sits in shifted's low bits
  result = select(x < -87.3f, Floats{}, result);
  result = select(x > 88.72f, broadcast(__builtin_inff()), result);
  return select(x != x, x, result);
}

ALWAYS_INLINE float exp(float x) { return exp(broadcast(x))[0]; }

}  // namespace course
