// Metal's library as declarations, in C++ for OpenCL: for clang to check types and address spaces against.
//
// Nothing here is ever run. The names are those of ../msl, so that what the emulator runs can be checked.
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#pragma OPENCL EXTENSION __cl_clang_function_pointers : enable
#include "../msl/constants.h"

typedef unsigned char uchar, uint8_t;
typedef unsigned short ushort, uint16_t;
typedef unsigned int uint, uint32_t;
typedef unsigned long ulong, uint64_t, size_t;
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long int64_t, ptrdiff_t;
typedef __bf16 bfloat, bfloat16_t;
typedef half float16_t;

namespace metal {
template <class T, int N> using vec = T __attribute__((ext_vector_type(N)));
template <class T, int N> struct packed_vec {
  T data[N];
  packed_vec(vec<T, N>);
  operator vec<T, N>() const;
  T operator[](long) const;
};
template <class T, size_t N> struct array {
  T data[N];
  __private T& operator[](size_t);
};
}  // namespace metal
#define VECTORS(name, T)                \
  using name##2 = metal::vec<T, 2>;     \
  using name##3 = metal::vec<T, 3>;     \
  using name##4 = metal::vec<T, 4>;     \
  using packed_##name##2 = metal::packed_vec<T, 2>; \
  using packed_##name##3 = metal::packed_vec<T, 3>; \
  using packed_##name##4 = metal::packed_vec<T, 4>;
VECTORS(float, float) VECTORS(half, half) VECTORS(bfloat, bfloat) VECTORS(int, int) VECTORS(uint, uint)
VECTORS(short, short) VECTORS(ushort, ushort) VECTORS(char, char) VECTORS(uchar, uchar) VECTORS(long, long)
VECTORS(ulong, ulong) VECTORS(bool, uchar)

// The translation of `float4(a, b)`, of a threadgroup variable, and of as_type.
template <class V, class... A> V msl_make(A... parts);
template <class T> __local T* msl_threadgroup();
template <class T, class U> T as_type(U);

namespace metal {

template <class T, T v> struct integral_constant {
  static constexpr __constant T value = v;
  using type = integral_constant;
  constexpr operator T() const { return v; }
};
template <bool B> using bool_constant = integral_constant<bool, B>;
using true_type = bool_constant<true>;
using false_type = bool_constant<false>;
template <class T, class U> struct is_same : bool_constant<__is_same(T, U)> {};
template <class T> struct is_integral : bool_constant<__is_integral(T)> {};
template <class T> struct is_floating_point : bool_constant<__is_floating_point(T)> {};
template <class T, class U> constexpr __constant bool is_same_v = __is_same(T, U);
template <class T, class U> constexpr __constant bool is_convertible_v = __is_convertible_to(T, U);
template <class T> constexpr __constant bool is_integral_v = __is_integral(T);
template <class T> constexpr __constant bool is_floating_point_v = __is_floating_point(T);
template <class T> constexpr __constant bool is_signed_v = __is_signed(T);
template <class T> constexpr __constant bool is_unsigned_v = __is_unsigned(T);
template <class T> constexpr __constant bool is_arithmetic_v = __is_arithmetic(T);
template <bool B, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <bool B, class T = void> using enable_if_t = typename enable_if<B, T>::type;
template <bool B, class T, class F> struct conditional { typedef T type; };
template <class T, class F> struct conditional<false, T, F> { typedef F type; };
template <bool B, class T, class F> using conditional_t = typename conditional<B, T, F>::type;
template <class T> using remove_cv_t = __remove_cv(T);
template <class T> using remove_reference_t = __remove_reference_t(T);
template <class T> using make_unsigned_t = __make_unsigned(T);
template <class T> using uniform = T;
template <class T> constexpr T make_uniform(T x) { return x; }
template <class T> struct numeric_limits {
  static constexpr T max() { return T(); }
  static constexpr T min() { return T(); }
  static constexpr T lowest() { return T(); }
  static constexpr T infinity() { return T(); }
  static constexpr T quiet_NaN() { return T(); }
  static constexpr T epsilon() { return T(); }
};

#define MATH_1(F)                                                                                             \
  F(exp) F(exp2) F(exp10) F(log) F(log2) F(log10) F(sqrt) F(rsqrt) F(sin) F(cos) F(tan) F(asin) F(acos)       \
  F(atan) F(sinh) F(cosh) F(tanh) F(asinh) F(acosh) F(atanh) F(sinpi) F(cospi) F(tanpi) F(fabs) F(floor)      \
  F(ceil) F(round) F(rint) F(trunc) F(fract) F(sign) F(saturate)
#define MATH_2(F) \
  F(pow) F(powr) F(fmin) F(fmax) F(fmod) F(atan2) F(copysign) F(fdim) F(step) F(divide) F(nextafter)
#define MATH_3(F) F(fma) F(mix) F(smoothstep)
template <class T> struct same { typedef T type; };
template <class T, int N> using same_vec = typename same<vec<T, N>>::type;
#define DECLARE_1(name) \
  float name(float);    \
  half name(half);      \
  bfloat name(bfloat);  \
  template <class T, int N> vec<T, N> name(vec<T, N>);
#define DECLARE_2(name)          \
  float name(float, float);      \
  half name(half, half);         \
  bfloat name(bfloat, bfloat);   \
  template <class T, int N> vec<T, N> name(vec<T, N>, same_vec<T, N>);
#define DECLARE_3(name)                  \
  float name(float, float, float);       \
  half name(half, half, half);           \
  bfloat name(bfloat, bfloat, bfloat);   \
  template <class T, int N> vec<T, N> name(vec<T, N>, same_vec<T, N>, same_vec<T, N>);
MATH_1(DECLARE_1) MATH_2(DECLARE_2) MATH_3(DECLARE_3)
#define ORDERED(T)    \
  T max(T, T);        \
  T min(T, T);        \
  T clamp(T, T, T);   \
  T abs(T);           \
  T max3(T, T, T);    \
  T min3(T, T, T);    \
  T median3(T, T, T);
ORDERED(char) ORDERED(int8_t) ORDERED(uchar) ORDERED(short) ORDERED(ushort) ORDERED(int) ORDERED(uint) ORDERED(long)
ORDERED(ulong) ORDERED(half) ORDERED(bfloat) ORDERED(float)
template <class T, int N> vec<T, N> max(vec<T, N>, same_vec<T, N>);
template <class T, int N> vec<T, N> min(vec<T, N>, same_vec<T, N>);
template <class T, int N> vec<T, N> clamp(vec<T, N>, same_vec<T, N>, same_vec<T, N>);
template <class T, int N> vec<T, N> abs(vec<T, N>);
#define TEST(name)     \
  bool name(float);    \
  bool name(half);     \
  bool name(bfloat);   \
  template <class T, int N> vec<uchar, N> name(vec<T, N>);
TEST(isnan) TEST(isinf) TEST(isfinite) TEST(isnormal) TEST(signbit)
float ldexp(float, int);
half ldexp(half, int);
float frexp(float, __private int&);
float modf(float, __private float&);
float sincos(float, __private float&);
template <class T> T select(T, T, bool);
template <class T, int N, class B> vec<T, N> select(vec<T, N>, vec<T, N>, vec<B, N>);
template <class T, int N> bool any(vec<T, N>);
template <class T, int N> bool all(vec<T, N>);
bool any(bool);
bool all(bool);
template <class T, int N> T dot(vec<T, N>, same_vec<T, N>);
template <class T, int N> T length(vec<T, N>);
template <class T, int N> T length_squared(vec<T, N>);
template <class T, int N> T distance(vec<T, N>, same_vec<T, N>);
template <class T, int N> vec<T, N> normalize(vec<T, N>);
template <class T> vec<T, 3> cross(vec<T, 3>, vec<T, 3>);
#define INTEGER_1(name) template <class T> T name(T);
INTEGER_1(popcount) INTEGER_1(clz) INTEGER_1(ctz) INTEGER_1(reverse_bits)
#define INTEGER_2(name) template <class T> T name(T, T);
INTEGER_2(rotate) INTEGER_2(mulhi) INTEGER_2(hadd) INTEGER_2(rhadd) INTEGER_2(addsat) INTEGER_2(subsat)
INTEGER_2(mul24) INTEGER_2(absdiff)
template <class T> T madhi(T, T, T);
template <class T> T mad24(T, T, T);
template <class T> T extract_bits(T, uint, uint);
template <class T> T insert_bits(T, T, uint, uint);
#define USE(name) using metal::name;
namespace fast {
MATH_1(USE) MATH_2(USE) MATH_3(USE) using metal::max; using metal::min; using metal::clamp; using metal::abs;
using metal::sincos;
}  // namespace fast
namespace precise {
MATH_1(USE) MATH_2(USE) MATH_3(USE) using metal::max; using metal::min; using metal::clamp; using metal::abs;
using metal::sincos;
}  // namespace precise

enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2, mem_texture = 4 };
constexpr mem_flags operator|(mem_flags a, mem_flags b) { return mem_flags(int(a) | int(b)); }
void threadgroup_barrier(mem_flags);
void simdgroup_barrier(mem_flags);
#define REDUCTION(name) template <class T> T name(T);
REDUCTION(simd_sum) REDUCTION(simd_product) REDUCTION(simd_max) REDUCTION(simd_min) REDUCTION(simd_and)
REDUCTION(simd_or) REDUCTION(simd_xor) REDUCTION(quad_sum) REDUCTION(quad_product) REDUCTION(quad_max)
REDUCTION(quad_min) REDUCTION(quad_and) REDUCTION(quad_or) REDUCTION(quad_xor) REDUCTION(simd_broadcast_first)
REDUCTION(simd_prefix_inclusive_sum) REDUCTION(simd_prefix_exclusive_sum) REDUCTION(quad_prefix_inclusive_sum)
REDUCTION(simd_prefix_inclusive_product) REDUCTION(simd_prefix_exclusive_product) REDUCTION(quad_prefix_exclusive_sum)
#define SHUFFLE(name) template <class T> T name(T, ushort);
SHUFFLE(simd_shuffle) SHUFFLE(simd_shuffle_xor) SHUFFLE(simd_shuffle_up) SHUFFLE(simd_shuffle_down)
SHUFFLE(simd_broadcast) SHUFFLE(simd_shuffle_rotate_up) SHUFFLE(simd_shuffle_rotate_down) SHUFFLE(quad_broadcast)
SHUFFLE(quad_shuffle) SHUFFLE(quad_shuffle_xor)
template <class T> T simd_shuffle_and_fill_up(T, T, ushort);
template <class T> T simd_shuffle_and_fill_down(T, T, ushort);
bool simd_any(bool);
bool simd_all(bool);
bool simd_is_first();
struct simd_vote {
  using vote_t = ulong;
  explicit operator vote_t() const;
  bool all() const;
  bool any() const;
};
simd_vote simd_ballot(bool);
simd_vote simd_active_threads_mask();

// In Metal a vector of 64, of which elements 0 and 1 are the lane's: not a vec<T, 2>.
template <class T> struct matrix_elements {
  __private T& operator[](int) __private;
  T operator[](int) const __private;
#define CHANGED(by)                                    \
  __private matrix_elements& operator by(T) __private; \
  __private matrix_elements& operator by(const __private matrix_elements&) __private;
  CHANGED(+=) CHANGED(-=) CHANGED(*=) CHANGED(/=)
#undef CHANGED
  T elements[2];
};
template <class T, int R = 8, int C = 8> struct simdgroup_matrix {
  simdgroup_matrix() __private;
  explicit simdgroup_matrix(T) __private;
  __private matrix_elements<T>& thread_elements() __private;
  const __private matrix_elements<T>& thread_elements() const __private;
  matrix_elements<T> elements;
};
typedef simdgroup_matrix<float> simdgroup_float8x8;
typedef simdgroup_matrix<half> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat> simdgroup_bfloat8x8;
template <class T, int R = 8, int C = 8> simdgroup_matrix<T, R, C> make_filled_simdgroup_matrix(T);
#define MATRIX_MEMORY(space)                                                                                   \
  template <class T>                                                                                           \
  void simdgroup_load(__private simdgroup_matrix<T>&, const space T*, ulong = 8, ulong2 = (ulong2)(0), bool = false); \
  template <class T>                                                                                           \
  void simdgroup_store(simdgroup_matrix<T>, space T*, ulong = 8, ulong2 = (ulong2)(0), bool = false);
MATRIX_MEMORY(__global) MATRIX_MEMORY(__local)
template <class D, class A, class B, class C>
void simdgroup_multiply_accumulate(__private simdgroup_matrix<D>&, simdgroup_matrix<A>, simdgroup_matrix<B>,
                                   simdgroup_matrix<C>);
template <class D, class A, class B>
void simdgroup_multiply(__private simdgroup_matrix<D>&, simdgroup_matrix<A>, simdgroup_matrix<B>);

enum memory_order { memory_order_relaxed };
template <class T> struct _atomic { T value; };
template <class T> using atomic = _atomic<T>;
// OpenCL has types of its own by these names, in the global namespace.
#define atomic_int metal_atomic_int
#define atomic_uint metal_atomic_uint
#define atomic_float metal_atomic_float
#define atomic_ulong metal_atomic_ulong
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<bool> atomic_bool;
typedef atomic<float> atomic_float;
typedef atomic<ulong> atomic_ulong;
#define ATOMIC_FETCH(name, space) \
  template <class T> T name(volatile space _atomic<T>*, typename same<T>::type, memory_order);
#define ATOMICS(space)                                                                                          \
  template <class T> T atomic_load_explicit(const volatile space _atomic<T>*, memory_order);                    \
  template <class T> void atomic_store_explicit(volatile space _atomic<T>*, typename same<T>::type, memory_order); \
  template <class T>                                                                                            \
  bool atomic_compare_exchange_weak_explicit(volatile space _atomic<T>*, __private T*, typename same<T>::type,  \
                                             memory_order, memory_order);                                       \
  ATOMIC_FETCH(atomic_exchange_explicit, space) ATOMIC_FETCH(atomic_fetch_add_explicit, space)                  \
  ATOMIC_FETCH(atomic_fetch_sub_explicit, space) ATOMIC_FETCH(atomic_fetch_min_explicit, space)                 \
  ATOMIC_FETCH(atomic_fetch_max_explicit, space) ATOMIC_FETCH(atomic_fetch_and_explicit, space)                 \
  ATOMIC_FETCH(atomic_fetch_or_explicit, space) ATOMIC_FETCH(atomic_fetch_xor_explicit, space)
ATOMICS(__global) ATOMICS(__local)

}  // namespace metal
using namespace metal;

// What of MLX's utils.h kernels use.
template <class I = int64_t, class E> I elem_to_loc(E, __constant const int*, __constant const int64_t*, int);
template <class I = int64_t> I elem_to_loc_1(uint, __constant const int64_t&);
template <class I = int64_t> I elem_to_loc_2(uint2, __constant const int64_t*);
template <class I = int64_t> I elem_to_loc_3(uint3, __constant const int64_t*);
template <class T, class U> T ceildiv(T, U);
template <class U> struct Limits {
  static constexpr __constant U max = U(), min = U(), finite_max = U(), finite_min = U();
};
float log1p(float);
float hypot(float, float);
