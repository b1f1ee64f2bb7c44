#include "packed.h"

#include "arguments.h"

namespace course {

PackedShape checked(const char* operation, const mx::array& x, int columns, const Packed& weight) {
  const auto& [w, scales, biases, group_size, bits] = weight;
  if (bits != 4 && bits != 8) refuse(operation, "bits is " + std::to_string(bits) + "; wanted 4 or 8");
  if (group_size != 32 && group_size != 64 && group_size != 128) {
    refuse(operation, "group_size is " + std::to_string(group_size) + "; wanted 32, 64 or 128");
  }
  const FloatType scale_type = float_type(operation, "scales", scales);
  if (biases.dtype() != scales.dtype()) {
    refuse(operation, "biases are " + describe(biases) + "; wanted the scales' dtype, " + describe(scales));
  }
  if (w.dtype() != mx::uint32 || w.ndim() != 2) {
    refuse(operation, "w is " + describe(w) + "; wanted uint32 [N, K * bits / 32], as mx.quantize returns it");
  }
  const int N = w.shape(0), K = columns, per_word = 32 / bits;
  if (K % group_size != 0 || K == 0) {
    refuse(operation, "x is " + describe(x) + ", so K = " + std::to_string(K) + "; wanted a multiple of the group_size " +
                          std::to_string(group_size));
  }
  if (w.shape(1) != K / per_word) {
    refuse(operation, "w is " + describe(w) + " and x is " + describe(x) + "; wanted w [N, " +
                          std::to_string(K / per_word) + "], " + std::to_string(per_word) + " weights of " +
                          std::to_string(bits) + " bits in a word");
  }
  const mx::Shape groups{N, K / group_size};
  if (scales.shape() != groups || biases.shape() != groups) {
    refuse(operation, "scales are " + describe(scales) + " and biases " + describe(biases) + "; wanted " +
                          describe(groups) + ", one for each group of " + std::to_string(group_size) + " weights");
  }
  return {N, K, group_size, bits, scale_type};
}

QuantizedMatrix matrix(const PackedShape& shape, const std::vector<mx::array>& inputs, int first,
                       mx::cpu::CommandEncoder& encoder) {
  const mx::array words = in_order(inputs[first], encoder);
  const mx::array scales = in_order(inputs[first + 1], encoder), biases = in_order(inputs[first + 2], encoder);
  return {words.data<uint32_t>(), scales.data<void>(), biases.data<void>(), shape.scale_type,
          shape.rows, shape.columns, shape.group_size, shape.bits};
}

}  // namespace course
