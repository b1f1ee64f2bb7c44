// <metal_simdgroup_matrix>: 8 x 8 matrices, each of whose elements one lane of a SIMD-group holds.
#pragma once

#include "simdgroup.h"

#define INLINE inline __attribute__((always_inline))  // so that an access is charged to the caller's line

namespace metal {

template <class T, int ROWS = 8, int COLUMNS = 8> struct simdgroup_matrix {
  static_assert(ROWS == 8 && COLUMNS == 8, "a simdgroup_matrix is 8 x 8");
  static_assert(emulator::is_float<T>, "a simdgroup_matrix holds float, half or bfloat");

  simdgroup_matrix() = default;
  explicit simdgroup_matrix(T diagonal) {
    const int row = first_row(emulator::lane()), column = first_column(emulator::lane());
    elements_ = vec<T, 2>(row == column ? diagonal : T(0), row == column + 1 ? diagonal : T(0));
  }
  // This lane's two elements: (row, column) and (row, column + 1). Metal does not document the layout; it is
  // the one that MLX's kernels rely on.
  vec<T, 2>& thread_elements() { return elements_; }
  const vec<T, 2>& thread_elements() const { return elements_; }

  static int first_row(int lane) { return (lane / 4 & 4) + lane / 2 % 4; }
  static int first_column(int lane) { return (lane / 4 & 2) * 2 + lane % 2 * 2; }

 private:
  vec<T, 2> elements_;
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;

template <class T, int ROWS = 8, int COLUMNS = 8>
inline simdgroup_matrix<T, ROWS, COLUMNS> make_filled_simdgroup_matrix(T value) {
  simdgroup_matrix<T, ROWS, COLUMNS> m;
  m.thread_elements() = vec<T, 2>(value, value);
  return m;
}

// Element (row, column) lies at from[(origin.y + row) * stride + origin.x + column]; transposed, row and column
// are swapped.
template <class T>
INLINE void simdgroup_load(simdgroup_matrix<T, 8, 8>& m, const T* from, ulong stride = 8, ulong2 origin = ulong2(0),
                           bool transpose = false) {
  const auto row = m.first_row(emulator::lane()), column = m.first_column(emulator::lane());
  const T* corner = from + (origin.y * stride + origin.x);
  if (transpose) {
    m.thread_elements().x = corner[column * stride + row];
    m.thread_elements().y = corner[(column + 1) * stride + row];
  } else {  // both elements in one access
    __builtin_memcpy(&m.thread_elements(), corner + (row * stride + column), 2 * sizeof(T));
  }
}
template <class T>
INLINE void simdgroup_store(const simdgroup_matrix<T, 8, 8>& m, T* to, ulong stride = 8, ulong2 origin = ulong2(0),
                            bool transpose = false) {
  const auto row = m.first_row(emulator::lane()), column = m.first_column(emulator::lane());
  T* corner = to + (origin.y * stride + origin.x);
  if (transpose) {
    corner[column * stride + row] = m.thread_elements().x;
    corner[(column + 1) * stride + row] = m.thread_elements().y;
  } else {
    __builtin_memcpy(corner + (row * stride + column), &m.thread_elements(), 2 * sizeof(T));
  }
}

// d = a b + c, each element summed in float.
template <class D, class A, class B, class C>
inline void simdgroup_multiply_accumulate(simdgroup_matrix<D, 8, 8>& d, const simdgroup_matrix<A, 8, 8>& a,
                                          const simdgroup_matrix<B, 8, 8>& b, const simdgroup_matrix<C, 8, 8>& c, HERE) {
  const auto& x = a.thread_elements();
  const auto& y = b.thread_elements();
  const auto& z = c.thread_elements();
  const float in[6] = {float(x.x), float(x.y), float(y.x), float(y.y), float(z.x), float(z.y)};
  float out[2];
  emulator_collective(emulator_matrix_multiply, in, out, "simdgroup_multiply_accumulate", true, place);
  d.thread_elements() = vec<D, 2>(D(out[0]), D(out[1]));
}
template <class D, class A, class B>
inline void simdgroup_multiply(simdgroup_matrix<D, 8, 8>& d, const simdgroup_matrix<A, 8, 8>& a,
                               const simdgroup_matrix<B, 8, 8>& b, HERE) {
  simdgroup_multiply_accumulate(d, a, b, make_filled_simdgroup_matrix<float, 8, 8>(0.0f), place);
}

}  // namespace metal
#undef INLINE
