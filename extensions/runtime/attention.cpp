// Attention as an MLX operation.
#include "../reference/attention_ladder.h"

#include "arguments.h"
#include "cpu_primitive.h"
#include "ladder.h"
#include "mlx/backend/common/utils.h"
#include "mlx/ops.h"
#include "operations.h"
#include "thread_pool.h"

namespace course {

namespace {

Heads heads(const mx::array& a) {
  return {a.data<float>(), a.strides(0), a.strides(1), a.strides(2), a.strides(3)};
}

// An array that broadcasts to [B, H, L, S]: the axes it lacks, or has once, have stride 0.
Mask mask_of(const mx::array& a, Mask::Kind kind) {
  ptrdiff_t strides[4] = {};
  const int axes = static_cast<int>(a.ndim());
  for (int axis = 0; axis < axes; axis++) {
    if (a.shape(axis) != 1) strides[4 - axes + axis] = a.strides(axis);
  }
  return {kind, a.data<void>(), strides[0], strides[1], strides[2], strides[3]};
}

class Attention final : public CpuPrimitive {
 public:
  Attention(mx::Stream stream, const AttentionRung& kernel, float scale, Mask::Kind mask)
      : CpuPrimitive(stream), kernel_(kernel), scale_(scale), mask_(mask) {}

  const char* name() const override { return "Attention"; }

  bool is_equivalent(const mx::Primitive& other) const override {
    const auto& o = static_cast<const Attention&>(other);
    return kernel_.run == o.kernel_.run && scale_ == o.scale_ && mask_ == o.mask_;
  }

 protected:
  void eval(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs,
            mx::cpu::CommandEncoder& encoder) override {
    mx::array& out = outputs[0];
    const mx::array &q = inputs[0], &k = inputs[1], &v = inputs[2];
    const int B = q.shape(0), H = q.shape(1), L = q.shape(2), D = q.shape(3);
    // In memory [B, L, H, D]: the model's next step joins the heads of a token, which then costs no copy.
    const mx::Strides strides{int64_t(L) * H * D, D, int64_t(H) * D, 1};
    const auto [size, row_contiguous, col_contiguous] = mx::check_contiguity(out.shape(), strides);
    out.set_data(mx::allocator::malloc(out.nbytes()), out.size(), strides,
                 {.contiguous = true, .row_contiguous = row_contiguous, .col_contiguous = col_contiguous});
    if (out.size() == 0) return;
    Mask mask;
    mask.kind = mask_;
    if (inputs.size() > 3) mask = mask_of(inputs[3], mask_);
    const AttentionSize sizes{B, H, k.shape(1), L, k.shape(2), D};
    const HeadsOut to{out.data<float>(), strides[0], strides[1], strides[2]};
    const auto pool = shared_pool();
    float* memory = scratch(kernel_.scratch(sizes, pool->workers()), encoder);
    encoder.dispatch([=, run = kernel_.run, q = heads(q), k = heads(k), v = heads(v), scale = scale_] {
      run(q, k, v, to, mask, sizes, scale, memory, *pool);
    });
  }

 private:
  AttentionRung kernel_;
  float scale_;
  Mask::Kind mask_;
};

void check_shapes(const mx::array& q, const mx::array& k, const mx::array& v, bool causal) {
  static const char* const name = "scaled_dot_product_attention";
  const std::string given =
      "queries are " + describe(q) + ", keys " + describe(k) + " and values " + describe(v) + "; ";
  const std::string wanted = given + "wanted queries [B, H, L, D], keys and values [B, H_kv, S, D]";
  if (q.ndim() != 4 || k.ndim() != 4 || v.ndim() != 4) refuse(name, wanted);
  if (k.shape() != v.shape() || q.shape(0) != k.shape(0) || q.shape(3) != k.shape(3)) refuse(name, wanted);
  if (k.shape(1) == 0 || q.shape(1) % k.shape(1) != 0) refuse(name, wanted + ", H a multiple of H_kv");
  if (q.shape(3) < 1 || q.shape(3) > 256) refuse(name, given + "wanted D from 1 to 256");
  if (causal && q.shape(2) > k.shape(2)) {
    refuse(name, given + "wanted no more queries than keys (L <= S) with a causal mask, where the last query "
                         "sees the last key");
  }
}

mx::array checked_mask(const mx::array& mask, const mx::Shape& scores) {
  static const char* const name = "scaled_dot_product_attention";
  const std::string given = "mask is " + describe(mask) + "; ";
  bool fits = mask.ndim() <= 4;
  for (int axis = 1; axis <= static_cast<int>(mask.ndim()) && fits; axis++) {
    fits = mask.shape(-axis) == 1 || mask.shape(-axis) == scores[4 - axis];
  }
  if (!fits) refuse(name, given + "wanted one that broadcasts to [B, H, L, S] = " + describe(scores));
  if (mask.dtype() == mx::bool_ || mask.dtype() == mx::float32) return mask;
  if (mx::issubdtype(mask.dtype(), mx::floating)) return mx::astype(mask, mx::float32, mx::Device::cpu);
  refuse(name, given + "wanted bool (True: may attend) or floating (added to the scores)");
}

}  // namespace

mx::array attention(const mx::array& queries, const mx::array& keys, const mx::array& values, float scale,
                    bool causal, const std::optional<mx::array>& mask, mx::StreamOrDevice where) {
  static const LoadedAttention kernel("", "threads");
  return attention_by(kernel, queries, keys, values, scale, causal, mask, where);
}

mx::array attention_by(const LoadedAttention& kernel, const mx::array& queries, const mx::array& keys,
                       const mx::array& values, float scale, bool causal, const std::optional<mx::array>& mask,
                       mx::StreamOrDevice where) {
  static const char* const name = "scaled_dot_product_attention";
  const mx::Stream stream = cpu_stream(name, where);
  expect_float32(name, "queries", queries);
  expect_float32(name, "keys", keys);
  expect_float32(name, "values", values);
  check_shapes(queries, keys, values, causal);
  std::vector<mx::array> inputs{queries, keys, values};
  Mask::Kind kind = causal ? Mask::causal : Mask::none;
  if (mask) {
    inputs.push_back(checked_mask(*mask, {queries.shape(0), queries.shape(1), queries.shape(2), keys.shape(2)}));
    kind = inputs.back().dtype() == mx::bool_ ? Mask::boolean : Mask::additive;
  }
  return mx::array(queries.shape(), mx::float32, std::make_shared<Attention>(stream, *kernel.rung, scale, kind),
                   std::move(inputs));
}

}  // namespace course
