// The kernels as MLX operations: each checks its arguments and returns an array that is computed when
// MLX evaluates it.
#pragma once

#include <optional>
#include <variant>

#include "mlx/array.h"
#include "mlx/utils.h"

namespace course {

namespace mx = mlx::core;

mx::array quantized_matmul(const mx::array& x, const mx::array& w, const mx::array& scales,
                           const mx::array& biases, int group_size, int bits, mx::StreamOrDevice where);

mx::array attention(const mx::array& queries, const mx::array& keys, const mx::array& values, float scale,
                    bool causal, const std::optional<mx::array>& mask, mx::StreamOrDevice where);

mx::array rms_norm(const mx::array& x, const mx::array& weight, float eps, mx::StreamOrDevice where);

mx::array rope(const mx::array& x, int dims, bool traditional, std::optional<float> base, float scale,
               const std::variant<int, mx::array>& offset, const std::optional<mx::array>& freqs,
               mx::StreamOrDevice where);

mx::array swiglu(const mx::array& gate, const mx::array& up, mx::StreamOrDevice where);

}  // namespace course
