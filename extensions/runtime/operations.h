// The kernels as MLX operations: each checks its arguments and returns an array that is computed when
// MLX evaluates it.
#pragma once

#include <optional>
#include <vector>

#include "mlx/array.h"
#include "mlx/utils.h"
#include "packed.h"
#include "rotation.h"
#include "weight.h"

namespace course {

namespace mx = mlx::core;

// One kernel each.

mx::array quantized_matmul(const mx::array& x, const Packed& weight, mx::StreamOrDevice where);

// A weight that was made ready before: by the fastest kernel here, with x rounded to 8 bits if the weight says so.
mx::array linear(const mx::array& x, const WeightPointer& weight, mx::StreamOrDevice where);

mx::array attention(const mx::array& queries, const mx::array& keys, const mx::array& values, float scale,
                    bool causal, const std::optional<mx::array>& mask, mx::StreamOrDevice where);

mx::array rms_norm(const mx::array& x, const mx::array& weight, float eps, mx::StreamOrDevice where);

mx::array rope(const mx::array& x, int dims, bool traditional, std::optional<float> base, float scale,
               const Offset& offset, const std::optional<mx::array>& freqs, mx::StreamOrDevice where);

mx::array swiglu(const mx::array& gate, const mx::array& up, mx::StreamOrDevice where);

// Steps of a layer: several kernels, one after the other, as one operation. While a token is decoded most
// of them run for some microseconds, no longer than MLX takes to start an operation. They call the same
// kernels, so the results are the same to the last bit.

// x [B, L, E] -> queries [B, heads, L, D], keys and values [B, kv_heads, L, D], turned by RoPE.
std::vector<mx::array> project(const mx::array& x, const mx::array& norm, float eps, const WeightPointer& q,
                               const WeightPointer& k, const WeightPointer& v, int head_dim, bool traditional, float base, float scale,
                               const Offset& offset, mx::StreamOrDevice where);

// residual [..., N] + linear(x [..., K]).
mx::array add_linear(const mx::array& residual, const mx::array& x, const WeightPointer& weight,
                     mx::StreamOrDevice where);

// x + down(swiglu(gate(n), up(n))), where n = rms_norm(x).
mx::array feed_forward(const mx::array& x, const mx::array& norm, float eps, const WeightPointer& gate,
                       const WeightPointer& up, const WeightPointer& down, mx::StreamOrDevice where);

}  // namespace course
