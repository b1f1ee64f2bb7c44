// <metal_math>, <metal_geometric>, <metal_relational>: computed in float and rounded to the argument's type.
//
// Each function takes exactly float, half, bfloat or a vector of them, so a call that mixes types is
// ambiguous, as it is in Metal. fast:: and precise:: are the same here: both are precise.
#pragma once

#include "traits.h"

namespace emulator {
inline float rsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
inline float fract(float x) { return __builtin_fminf(x - __builtin_floorf(x), 0x1.fffffep-1f); }
inline float sign(float x) { return x > 0 ? 1.0f : x < 0 ? -1.0f : x == 0 ? x : 0.0f; }
inline float saturate(float x) { return __builtin_fminf(__builtin_fmaxf(x, 0.0f), 1.0f); }
inline float exp10(float x) { return __builtin_powf(10.0f, x); }
inline float sinpi(float x) { return float(__builtin_sin(3.14159265358979323846 * x)); }
inline float cospi(float x) { return float(__builtin_cos(3.14159265358979323846 * x)); }
inline float tanpi(float x) { return float(__builtin_tan(3.14159265358979323846 * x)); }
inline float step(float edge, float x) { return x < edge ? 0.0f : 1.0f; }
inline float divide(float x, float y) { return x / y; }
inline float mix(float a, float b, float t) { return a + (b - a) * t; }
inline float smoothstep(float a, float b, float x) {
  const float t = saturate((x - a) / (b - a));
  return t * t * (3.0f - 2.0f * t);
}
}  // namespace emulator

#define MATH_1(F)                                                                                            \
  F(exp, __builtin_expf) F(exp2, __builtin_exp2f) F(exp10, emulator::exp10) F(log, __builtin_logf)           \
  F(log2, __builtin_log2f) F(log10, __builtin_log10f) F(sqrt, __builtin_sqrtf) F(rsqrt, emulator::rsqrt)     \
  F(sin, __builtin_sinf) F(cos, __builtin_cosf) F(tan, __builtin_tanf) F(asin, __builtin_asinf)              \
  F(acos, __builtin_acosf) F(atan, __builtin_atanf) F(sinh, __builtin_sinhf) F(cosh, __builtin_coshf)        \
  F(tanh, __builtin_tanhf) F(asinh, __builtin_asinhf) F(acosh, __builtin_acoshf) F(atanh, __builtin_atanhf)  \
  F(sinpi, emulator::sinpi) F(cospi, emulator::cospi) F(tanpi, emulator::tanpi) F(fabs, __builtin_fabsf)     \
  F(floor, __builtin_floorf) F(ceil, __builtin_ceilf) F(round, __builtin_roundf) F(rint, __builtin_rintf)    \
  F(trunc, __builtin_truncf) F(fract, emulator::fract) F(sign, emulator::sign) F(saturate, emulator::saturate)
#define MATH_2(F)                                                                                            \
  F(pow, __builtin_powf) F(powr, __builtin_powf) F(fmin, __builtin_fminf) F(fmax, __builtin_fmaxf)           \
  F(fmod, __builtin_fmodf) F(atan2, __builtin_atan2f) F(copysign, __builtin_copysignf)                       \
  F(fdim, __builtin_fdimf) F(step, emulator::step) F(divide, emulator::divide)                               \
  F(nextafter, __builtin_nextafterf)
#define MATH_3(F) F(fma, __builtin_fmaf) F(mix, emulator::mix) F(smoothstep, emulator::smoothstep)

namespace metal {

#define DEFINE_1(name, f)                                                          \
  inline float name(float x) { return f(x); }                                      \
  inline half name(half x) { return half(f(float(x))); }                           \
  inline bfloat name(bfloat x) { return bfloat(f(float(x))); }                     \
  template <class T, int N> inline vec<T, N> name(vec<T, N> a) {                   \
    for (int i = 0; i < N; i++) a[i] = name(a[i]);                                 \
    return a;                                                                      \
  }
#define DEFINE_2(name, f)                                                                   \
  inline float name(float x, float y) { return f(x, y); }                                   \
  inline half name(half x, half y) { return half(f(float(x), float(y))); }                  \
  inline bfloat name(bfloat x, bfloat y) { return bfloat(f(float(x), float(y))); }          \
  template <class T, int N> inline vec<T, N> name(vec<T, N> a, std::type_identity_t<vec<T, N>> b) {  \
    for (int i = 0; i < N; i++) a[i] = name(a[i], b[i]);                                    \
    return a;                                                                               \
  }
#define DEFINE_3(name, f)                                                                                  \
  inline float name(float x, float y, float z) { return f(x, y, z); }                                      \
  inline half name(half x, half y, half z) { return half(f(float(x), float(y), float(z))); }               \
  inline bfloat name(bfloat x, bfloat y, bfloat z) { return bfloat(f(float(x), float(y), float(z))); }     \
  template <class T, int N>                                                                                \
  inline vec<T, N> name(vec<T, N> a, std::type_identity_t<vec<T, N>> b, std::type_identity_t<vec<T, N>> c) {  \
    for (int i = 0; i < N; i++) a[i] = name(a[i], b[i], c[i]);                                             \
    return a;                                                                                              \
  }
MATH_1(DEFINE_1)
MATH_2(DEFINE_2)
MATH_3(DEFINE_3)
#undef DEFINE_1
#undef DEFINE_2
#undef DEFINE_3

#define ORDERED(T)                                                                   \
  inline T max(T a, T b) { return a < b ? b : a; }                                   \
  inline T min(T a, T b) { return b < a ? b : a; }                                   \
  inline T clamp(T x, T low, T high) { return min(max(x, low), high); }              \
  inline T max3(T a, T b, T c) { return max(a, max(b, c)); }                         \
  inline T min3(T a, T b, T c) { return min(a, min(b, c)); }                         \
  inline T median3(T a, T b, T c) { return max(min(a, b), min(max(a, b), c)); }
ORDERED(char) ORDERED(int8_t) ORDERED(uchar) ORDERED(short) ORDERED(ushort) ORDERED(int) ORDERED(uint)
ORDERED(long) ORDERED(ulong)
#undef ORDERED
// A NaN loses against a number.
#define ORDERED_FLOAT(T)                                                             \
  inline T max(T a, T b) { return fmax(a, b); }                                      \
  inline T min(T a, T b) { return fmin(a, b); }                                      \
  inline T clamp(T x, T low, T high) { return fmin(fmax(x, low), high); }            \
  inline T max3(T a, T b, T c) { return fmax(a, fmax(b, c)); }                       \
  inline T min3(T a, T b, T c) { return fmin(a, fmin(b, c)); }                       \
  inline T fmax3(T a, T b, T c) { return fmax(a, fmax(b, c)); }                      \
  inline T fmin3(T a, T b, T c) { return fmin(a, fmin(b, c)); }                      \
  inline T median3(T a, T b, T c) { return fmax(fmin(a, b), fmin(fmax(a, b), c)); }
ORDERED_FLOAT(float) ORDERED_FLOAT(half) ORDERED_FLOAT(bfloat)
#undef ORDERED_FLOAT
#define ORDERED_VECTOR(name)                                                                         \
  template <class T, int N> inline vec<T, N> name(vec<T, N> a, std::type_identity_t<vec<T, N>> b) {  \
    for (int i = 0; i < N; i++) a[i] = name(a[i], b[i]);                                             \
    return a;                                                                                        \
  }
ORDERED_VECTOR(max) ORDERED_VECTOR(min)
#undef ORDERED_VECTOR
template <class T, int N>
inline vec<T, N> clamp(vec<T, N> x, std::type_identity_t<vec<T, N>> low, std::type_identity_t<vec<T, N>> high) {
  return min(max(x, low), high);
}

inline float abs(float a) { return __builtin_fabsf(a); }
inline half abs(half a) { return half(__builtin_fabsf(float(a))); }
inline bfloat abs(bfloat a) { return bfloat::from_bits(uint16_t(a.bits & 0x7fff)); }

#define TEST(name, f)                                                            \
  inline bool name(float x) { return f(x); }                                     \
  inline bool name(half x) { return f(float(x)); }                               \
  inline bool name(bfloat x) { return f(float(x)); }                             \
  template <class T, int N> inline vec<bool, N> name(vec<T, N> a) {              \
    vec<bool, N> r;                                                              \
    for (int i = 0; i < N; i++) r[i] = name(a[i]);                               \
    return r;                                                                    \
  }
TEST(isnan, __builtin_isnan) TEST(isinf, __builtin_isinf) TEST(isfinite, __builtin_isfinite)
TEST(isnormal, __builtin_isnormal) TEST(signbit, __builtin_signbit)
#undef TEST

inline float ldexp(float x, int exponent) { return __builtin_ldexpf(x, exponent); }
inline half ldexp(half x, int exponent) { return half(__builtin_ldexpf(float(x), exponent)); }
inline float frexp(float x, int& exponent) { return __builtin_frexpf(x, &exponent); }
inline float modf(float x, float& whole) { return __builtin_modff(x, &whole); }
inline float sincos(float x, float& c) { c = __builtin_cosf(x); return __builtin_sinf(x); }

template <class T, class = std::enable_if_t<emulator::is_scalar<T>>> inline T select(T a, T b, bool take_b) {
  return take_b ? b : a;
}
template <class T, int N> inline vec<T, N> select(vec<T, N> a, vec<T, N> b, vec<bool, N> take_b) {
  for (int i = 0; i < N; i++)
    if (take_b[i]) a[i] = b[i];
  return a;
}
template <int N> inline bool any(vec<bool, N> a) {
  for (int i = 0; i < N; i++)
    if (a[i]) return true;
  return false;
}
template <int N> inline bool all(vec<bool, N> a) {
  for (int i = 0; i < N; i++)
    if (!a[i]) return false;
  return true;
}
inline bool any(bool a) { return a; }
inline bool all(bool a) { return a; }

template <class T, int N> inline T dot(vec<T, N> a, std::type_identity_t<vec<T, N>> b) {
  T sum = T(a[0] * b[0]);
  for (int i = 1; i < N; i++) sum = T(sum + a[i] * b[i]);
  return sum;
}
template <class T, int N> inline T length_squared(vec<T, N> a) { return dot(a, a); }
template <class T, int N> inline T length(vec<T, N> a) { return sqrt(dot(a, a)); }
template <class T, int N> inline T distance(vec<T, N> a, std::type_identity_t<vec<T, N>> b) { return length(a - b); }
template <class T, int N> inline vec<T, N> normalize(vec<T, N> a) { return a * rsqrt(dot(a, a)); }
template <class T> inline vec<T, 3> cross(vec<T, 3> a, vec<T, 3> b) {
  return vec<T, 3>(T(a.y * b.z - a.z * b.y), T(a.z * b.x - a.x * b.z), T(a.x * b.y - a.y * b.x));
}

#define USE(name, f) using metal::name;
namespace fast {
MATH_1(USE) MATH_2(USE) MATH_3(USE)
using metal::abs, metal::clamp, metal::max, metal::min, metal::sincos;
}  // namespace fast
namespace precise {
MATH_1(USE) MATH_2(USE) MATH_3(USE)
using metal::abs, metal::clamp, metal::max, metal::min, metal::sincos;
}  // namespace precise
#undef USE
#undef MATH_1
#undef MATH_2
#undef MATH_3

}  // namespace metal
