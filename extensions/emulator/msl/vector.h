// Metal's vectors: vec<T, 2>, vec<T, 3>, vec<T, 4>, their swizzles and operators.
#pragma once

#include "interface.h"
#include "scalar.h"

namespace metal {

template <class T, int N> struct vec;

}  // namespace metal

namespace emulator {

// How many components, of what: a scalar counts as one.
template <class V> struct components {
  static constexpr int count = 1;
  using type = V;
};
template <class T, int N> struct components<metal::vec<T, N>> {
  static constexpr int count = N;
  using type = T;
};

template <class T, int N> struct fields;
template <class T> struct fields<T, 2> {
  T x, y;
};
template <class T> struct fields<T, 3> {
  T x, y, z;
};
template <class T> struct fields<T, 4> {
  T x, y, z, w;
};

// A swizzle that is assigned to: v.xz = ...
template <class T, int N, int... I> struct swizzle {
  metal::vec<T, N>& of;
  using value = metal::vec<T, sizeof...(I)>;
  operator value() const { return value(of[I]...); }
  swizzle& operator=(value v) {
    int k = 0;
    ((of[I] = v[k++]), ...);
    return *this;
  }
  swizzle& operator=(const swizzle& other) { return *this = value(other); }
#define SWIZZLE_ASSIGN(op) \
  template <class V> swizzle& operator op##=(V v) { return *this = value(value(*this) op v); }
  SWIZZLE_ASSIGN(+)
  SWIZZLE_ASSIGN(-)
  SWIZZLE_ASSIGN(*)
  SWIZZLE_ASSIGN(/)
#undef SWIZZLE_ASSIGN
};

}  // namespace emulator

namespace metal {

template <class T, int N> struct alignas(sizeof(T) * (N == 3 ? 4 : N)) vec : emulator::fields<T, N> {
  vec() = default;
  template <class S, class = std::enable_if_t<emulator::is_scalar<S> && std::is_convertible_v<S, float>>>
  constexpr vec(S s) {
    for (int i = 0; i < N; i++) (*this)[i] = T(s);
  }
  template <class U> constexpr explicit vec(vec<U, N> v) {
    for (int i = 0; i < N; i++) (*this)[i] = T(v[i]);
  }
  template <class A, class B, class... Rest,
            class = std::enable_if_t<(emulator::components<A>::count + emulator::components<B>::count +
                                      (0 + ... + emulator::components<Rest>::count)) == N>>
  constexpr vec(A a, B b, Rest... rest) {
    int k = 0;
    put(k, a);
    put(k, b);
    (put(k, rest), ...);
  }

  constexpr T& operator[](long i) {
    if (__builtin_is_constant_evaluated()) return component(i);
#if EMULATOR_CHECKED
    if (i < 0 || i >= N) {
      emulator_index(i, N);
      i = 0;
    }
#endif
    return (&this->x)[i];
  }
  constexpr const T& operator[](long i) const { return const_cast<vec&>(*this)[i]; }

  template <int... I> vec<T, sizeof...(I)> get() const { return vec<T, sizeof...(I)>((*this)[I]...); }
  template <int... I> emulator::swizzle<T, N, I...> set() { return {*this}; }

 private:
  template <class A> constexpr void put(int& k, A a) {
    if constexpr (emulator::components<A>::count == 1) (*this)[k++] = T(a);
    else
      for (int i = 0; i < emulator::components<A>::count; i++) (*this)[k++] = T(a[i]);
  }
  constexpr T& component(long i) {  // array arithmetic over fields is no constant expression
    if (i == 0) return this->x;
    if (i == 1) return this->y;
    if constexpr (N >= 3)
      if (i == 2) return this->z;
    if constexpr (N >= 4)
      if (i == 3) return this->w;
    __builtin_unreachable();
  }
};

#define VECTOR_OPERATOR(op)                                                                               \
  template <class T, int N> constexpr vec<T, N> operator op(vec<T, N> a, vec<T, N> b) {                    \
    for (int i = 0; i < N; i++) a[i] = T(a[i] op b[i]);                                                    \
    return a;                                                                                             \
  }                                                                                                       \
  template <class T, int N> constexpr vec<T, N> operator op(vec<T, N> a, std::type_identity_t<T> b) {      \
    for (int i = 0; i < N; i++) a[i] = T(a[i] op b);                                                       \
    return a;                                                                                             \
  }                                                                                                       \
  template <class T, int N> constexpr vec<T, N> operator op(std::type_identity_t<T> a, vec<T, N> b) {      \
    for (int i = 0; i < N; i++) b[i] = T(a op b[i]);                                                       \
    return b;                                                                                             \
  }                                                                                                       \
  template <class T, int N, class B> constexpr vec<T, N>& operator op##=(vec<T, N>& a, B b) {              \
    return a = a op b;                                                                                     \
  }
VECTOR_OPERATOR(+)
VECTOR_OPERATOR(-)
VECTOR_OPERATOR(*)
VECTOR_OPERATOR(/)
VECTOR_OPERATOR(%)
VECTOR_OPERATOR(&)
VECTOR_OPERATOR(|)
VECTOR_OPERATOR(^)
VECTOR_OPERATOR(<<)
VECTOR_OPERATOR(>>)
#undef VECTOR_OPERATOR

#define VECTOR_COMPARISON(op)                                                                              \
  template <class T, int N> constexpr vec<bool, N> operator op(vec<T, N> a, vec<T, N> b) {                  \
    vec<bool, N> r;                                                                                        \
    for (int i = 0; i < N; i++) r[i] = a[i] op b[i];                                                        \
    return r;                                                                                              \
  }                                                                                                        \
  template <class T, int N> constexpr vec<bool, N> operator op(vec<T, N> a, std::type_identity_t<T> b) {    \
    return a op vec<T, N>(b);                                                                               \
  }                                                                                                        \
  template <class T, int N> constexpr vec<bool, N> operator op(std::type_identity_t<T> a, vec<T, N> b) {    \
    return vec<T, N>(a) op b;                                                                               \
  }
VECTOR_COMPARISON(==)
VECTOR_COMPARISON(!=)
VECTOR_COMPARISON(<)
VECTOR_COMPARISON(>)
VECTOR_COMPARISON(<=)
VECTOR_COMPARISON(>=)
VECTOR_COMPARISON(&&)
VECTOR_COMPARISON(||)
#undef VECTOR_COMPARISON

template <class T, int N> constexpr vec<T, N> operator-(vec<T, N> a) {
  for (int i = 0; i < N; i++) a[i] = T(-a[i]);
  return a;
}
template <class T, int N> constexpr vec<T, N> operator+(vec<T, N> a) { return a; }
template <class T, int N> constexpr vec<T, N> operator~(vec<T, N> a) {
  for (int i = 0; i < N; i++) a[i] = T(~a[i]);
  return a;
}
template <int N> constexpr vec<bool, N> operator!(vec<bool, N> a) {
  for (int i = 0; i < N; i++) a[i] = !a[i];
  return a;
}

// A vector as it lies in a packed buffer: aligned as its components are.
template <class T, int N> struct packed_vec {
  T data[N];
  packed_vec() = default;
  constexpr packed_vec(vec<T, N> v) {
    for (int i = 0; i < N; i++) data[i] = v[i];
  }
  constexpr operator vec<T, N>() const {
    vec<T, N> v;
    for (int i = 0; i < N; i++) v[i] = data[i];
    return v;
  }
  constexpr T& operator[](long i) { return data[i]; }
  constexpr const T& operator[](long i) const { return data[i]; }
};

template <class T, size_t N> struct array {
  T data_[N];
  constexpr T& operator[](size_t i) { return data_[i]; }
  constexpr const T& operator[](size_t i) const { return data_[i]; }
  static constexpr size_t size() { return N; }
};

}  // namespace metal

#define VECTOR_NAMES(name, T)               \
  using name##2 = metal::vec<T, 2>;         \
  using name##3 = metal::vec<T, 3>;         \
  using name##4 = metal::vec<T, 4>;         \
  using packed_##name##2 = metal::packed_vec<T, 2>; \
  using packed_##name##3 = metal::packed_vec<T, 3>; \
  using packed_##name##4 = metal::packed_vec<T, 4>;
VECTOR_NAMES(float, float)
VECTOR_NAMES(half, half)
VECTOR_NAMES(bfloat, bfloat)
VECTOR_NAMES(int, int)
VECTOR_NAMES(uint, uint)
VECTOR_NAMES(short, short)
VECTOR_NAMES(ushort, ushort)
VECTOR_NAMES(char, char)
VECTOR_NAMES(uchar, uchar)
VECTOR_NAMES(long, long)
VECTOR_NAMES(ulong, ulong)
VECTOR_NAMES(bool, bool)
#undef VECTOR_NAMES
