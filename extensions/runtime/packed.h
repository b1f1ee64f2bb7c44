// A quantized weight as Python hands it over, and as the kernels read it.
#pragma once

#include <tuple>
#include <vector>

#include "../reference/quantized_matrix.h"
#include "mlx/array.h"
#include "mlx/backend/cpu/encoder.h"

namespace course {

namespace mx = mlx::core;

// w, scales, biases, group_size, bits: the arguments of quantized_matmul behind x.
using Packed = std::tuple<mx::array, mx::array, mx::array, int, int>;

// What is known of a weight [N, K] before its data are there.
struct PackedShape {
  int rows, columns;  // N, K
  int group_size, bits;
  FloatType scale_type;

  bool operator==(const PackedShape&) const = default;
};

// Checks the weight against an input of K = `columns` features. Refuses with what was given and wanted.
PackedShape checked(const char* operation, const mx::array& x, int columns, const Packed& weight);

// At evaluation: the weight whose three arrays start at inputs[first].
QuantizedMatrix matrix(const PackedShape& shape, const std::vector<mx::array>& inputs, int first,
                       mx::cpu::CommandEncoder& encoder);

}  // namespace course
