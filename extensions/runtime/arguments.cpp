#include "arguments.h"

#include <cstring>
#include <sstream>

#include "mlx/allocator.h"

namespace course {

void refuse(const char* operation, const std::string& given_and_wanted) {
  throw std::invalid_argument(std::string(operation) + ": " + given_and_wanted);
}

std::string describe(const mx::Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); i++) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

std::string describe(const mx::array& a) {
  std::ostringstream text;
  text << a.dtype();
  return text.str() + " " + describe(a.shape());
}

namespace {

// Where MLX has no GPU backend, to_stream would complain about that instead.
bool is_gpu(const mx::StreamOrDevice& where) {
  if (const auto* device = std::get_if<mx::Device>(&where)) return *device == mx::Device::gpu;
  if (const auto* type = std::get_if<mx::Device::DeviceType>(&where)) return *type == mx::Device::gpu;
  return mx::to_stream(where).device == mx::Device::gpu;
}

}  // namespace

mx::Stream cpu_stream(const char* operation, const mx::StreamOrDevice& where) {
  if (is_gpu(where)) {
    refuse(operation, "this kernel runs on the CPU, and was to run on the GPU; pass stream=mx.cpu, or use MLX's "
                      "own operation there");
  }
  return mx::to_stream(where);
}

void expect_float32(const char* operation, const char* name, const mx::array& a) {
  if (a.dtype() == mx::float32) return;
  refuse(operation, std::string(name) + " is " + describe(a) + "; wanted float32: " + name +
                        ".astype(mx.float32)");
}

FloatType float_type(const char* operation, const char* name, const mx::array& a) {
  if (a.dtype() == mx::float32) return FloatType::float32;
  if (a.dtype() == mx::float16) return FloatType::float16;
  if (a.dtype() == mx::bfloat16) return FloatType::bfloat16;
  refuse(operation, std::string(name) + " is " + describe(a) + "; wanted float16, bfloat16 or float32");
}

namespace {

// Copies the elements of a strided array in order. `Element` is as wide as the array's.
template <class Element>
void copy(const void* from, const mx::Shape& shape, const mx::Strides& strides, int axis, Element*& to) {
  const Element* source = static_cast<const Element*>(from);
  if (axis == static_cast<int>(shape.size())) {
    *to++ = *source;
  } else if (axis + 1 == static_cast<int>(shape.size())) {
    for (int i = 0; i < shape[axis]; i++) *to++ = source[i * strides[axis]];
  } else {
    for (int i = 0; i < shape[axis]; i++) copy(source + i * strides[axis], shape, strides, axis + 1, to);
  }
}

mx::array copied(const mx::array& a, mx::cpu::CommandEncoder& encoder) {
  mx::array result(mx::allocator::malloc(a.nbytes()), a.shape(), a.dtype());
  encoder.add_temporary(result);
  encoder.dispatch([from = a.data<void>(), to = result.data<void>(), shape = a.shape(), strides = a.strides(),
                    bytes = a.itemsize()] {
    auto run = [&](auto* out) { copy(from, shape, strides, 0, out); };
    switch (bytes) {
      case 1: return run(static_cast<uint8_t*>(to));
      case 2: return run(static_cast<uint16_t*>(to));
      case 4: return run(static_cast<uint32_t*>(to));
      case 8: return run(static_cast<uint64_t*>(to));
    }
  });
  return result;
}

}  // namespace

mx::array in_order(const mx::array& a, mx::cpu::CommandEncoder& encoder) {
  return a.flags().row_contiguous ? a : copied(a, encoder);
}

Rows rows(const mx::array& a, mx::cpu::CommandEncoder& encoder) {
  const int axes = static_cast<int>(a.ndim());
  if (a.flags().row_contiguous) return {a, a.shape(-1)};
  bool in_rows = a.shape(-1) == 1 || a.strides(-1) == 1;
  // Each leading axis must step over all of the next, so that one stride serves them all.
  ptrdiff_t stride = 0;
  int64_t expected = 0;
  for (int axis = axes - 2; axis >= 0 && in_rows; axis--) {
    if (a.shape(axis) == 1) continue;
    if (stride == 0) stride = a.strides(axis);
    in_rows = stride > 0 && (expected == 0 || a.strides(axis) == expected);
    expected = a.strides(axis) * a.shape(axis);
  }
  if (in_rows) return {a, stride};
  return {copied(a, encoder), a.shape(-1)};
}

float* scratch(size_t floats, mx::cpu::CommandEncoder& encoder) {
  if (floats == 0) return nullptr;
  mx::array memory(mx::allocator::malloc(floats * sizeof(float)), {1}, mx::float32);
  encoder.add_temporary(memory);
  return memory.data<float>();
}

}  // namespace course
