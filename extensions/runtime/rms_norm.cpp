// RMSNorm as an MLX operation.
#include "../reference/rms_norm.h"

#include "arguments.h"
#include "cpu_primitive.h"
#include "operations.h"
#include "thread_pool.h"

namespace course {

namespace {

class RmsNorm final : public CpuPrimitive {
 public:
  RmsNorm(mx::Stream stream, float eps, FloatType weight_type)
      : CpuPrimitive(stream), eps_(eps), weight_type_(weight_type) {}

  const char* name() const override { return "RmsNorm"; }

  bool is_equivalent(const mx::Primitive& other) const override {
    return eps_ == static_cast<const RmsNorm&>(other).eps_;
  }

 protected:
  void eval(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs,
            mx::cpu::CommandEncoder& encoder) override {
    mx::array& out = outputs[0];
    allocate(out);
    if (out.size() == 0) return;
    const Rows x = rows(inputs[0], encoder);
    const mx::array weight = in_order(inputs[1], encoder);
    const int D = out.shape(-1), M = static_cast<int>(out.size() / D);
    encoder.dispatch([=, x = x.array.data<float>(), stride = x.stride, w = weight.data<void>(), eps = eps_,
                      type = weight_type_, y = out.data<float>(), pool = shared_pool()] {
      rms_norm(x, stride, w, type, eps, y, M, D, *pool);
    });
  }

 private:
  float eps_;
  FloatType weight_type_;
};

}  // namespace

mx::array rms_norm(const mx::array& x, const mx::array& weight, float eps, mx::StreamOrDevice where) {
  static const char* const name = "rms_norm";
  const mx::Stream stream = cpu_stream(name, where);
  expect_float32(name, "x", x);
  const FloatType type = float_type(name, "weight", weight);
  if (x.ndim() == 0 || weight.ndim() != 1 || weight.shape(0) != x.shape(-1)) {
    refuse(name, "x is " + describe(x) + " and weight " + describe(weight) + "; wanted x [..., D] and weight [D]");
  }
  return mx::array(x.shape(), mx::float32, std::make_shared<RmsNorm>(stream, eps, type), {x, weight});
}

}  // namespace course
