#include "weight.h"

#include "arguments.h"
#include "mlx/ops.h"
#include "thread_pool.h"

namespace course {

namespace {

const char* const NAME = "Weight";

mx::array ready(const mx::array& a) {
  mx::array whole = mx::contiguous(a, false, mx::Device::cpu);
  whole.eval();
  return whole;
}

// K, of which the arrays tell by their shapes alone.
int columns_of(const Packed& arrays) {
  const mx::array& w = std::get<0>(arrays);
  const int bits = std::get<4>(arrays);
  return w.ndim() == 2 && (bits == 4 || bits == 8) ? w.shape(1) * (32 / bits) : 0;
}

}  // namespace

Weight::Weight(const Packed& arrays, const std::optional<mx::array>& bias, bool int8) : int8_(int8) {
  const auto& [words, scales, biases, group_size, bits] = arrays;
  const int columns = columns_of(arrays);
  const bool groups = group_size == 32 || group_size == 64 || group_size == 128;
  if (groups && columns % group_size != 0) {
    refuse(NAME, "w is " + describe(words) + ", so K = " + std::to_string(columns) +
                     "; wanted a multiple of the group_size " + std::to_string(group_size));
  }
  const PackedShape shape = checked(NAME, words, columns, arrays);
  const mx::array w = ready(words), s = ready(scales), b = ready(biases);
  const QuantizedMatrix matrix{w.data<uint32_t>(), s.data<void>(), b.data<void>(), shape.scale_type,
                               shape.rows,         shape.columns,  group_size,     bits};
  linear_.panels = &panels_.emplace(matrix, *shared_pool());
  if (bias) {
    expect_float32(NAME, "bias", *bias);
    if (bias->ndim() != 1 || bias->shape(0) != shape.rows) {
      refuse(NAME, "bias is " + describe(*bias) + "; wanted [" + std::to_string(shape.rows) + "]");
    }
    bias_ = ready(*bias);
    linear_.bias = bias_->data<float>();
  }
}

size_t Weight::nbytes() const { return panels_->bytes(); }

void check_alike(const char* operation, std::initializer_list<const Weight*> weights) {
  for (const Weight* weight : weights) {
    if (weight->int8() == (*weights.begin())->int8()) continue;
    refuse(operation, "some weights round their input to 8 bits and some do not; wanted all alike");
  }
}

void check_input(const char* operation, const mx::array& x, const Weight& weight) {
  expect_float32(operation, "x", x);
  if (x.ndim() == 0 || x.shape(-1) != weight.columns()) {
    refuse(operation, "x is " + describe(x) + "; wanted [..., " + std::to_string(weight.columns()) + "]");
  }
}

}  // namespace course
