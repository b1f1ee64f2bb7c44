// The last step of a layer: its MLP, with the normalisation before and the addition after.
#include "../reference/rms_norm.h"
#include "../reference/swiglu.h"
#include "cpu_primitive.h"
#include "operations.h"
#include "step.h"

namespace course {

namespace {

void check_shape(const char* name, const char* what, const Weight& weight, int rows, int columns) {
  if (weight.rows() == rows && weight.columns() == columns) return;
  refuse(name, std::string(what) + " is [" + std::to_string(weight.rows()) + ", " + std::to_string(weight.columns()) +
                   "]; wanted [" + std::to_string(rows) + ", " + std::to_string(columns) + "]");
}

// Inputs: x, norm.
class FeedForward final : public CpuPrimitive {
 public:
  struct Options {
    float eps;
    FloatType norm_type;
    WeightPointer gate, up, down;
    bool operator==(const Options&) const = default;
  };
  FeedForward(mx::Stream stream, Options options) : CpuPrimitive(stream), options_(std::move(options)) {}

  const char* name() const override { return "FeedForward"; }
  bool is_equivalent(const mx::Primitive& other) const override {
    return options_ == static_cast<const FeedForward&>(other).options_;
  }

 protected:
  void eval(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs,
            mx::cpu::CommandEncoder& encoder) override {
    mx::array& out = outputs[0];
    allocate(out);
    if (out.size() == 0) return;
    const Rows x = rows(inputs[0], encoder);
    const int E = out.shape(-1), M = rows_of(out);
    const mx::array norm = in_order(inputs[1], encoder);
    const int F = options_.gate->rows();
    const Multiply multiply(M, encoder, {options_.gate, options_.up, options_.down});
    float* normed = scratch(static_cast<size_t>(M) * E, encoder);
    float* gate = scratch(static_cast<size_t>(M) * F, encoder);
    float* up = scratch(static_cast<size_t>(M) * F, encoder);
    encoder.dispatch([=, x = x.array.data<float>(), stride = x.stride, norm = norm.data<void>(), o = options_,
                      y = out.data<float>()] {
      rms_norm(x, stride, norm, o.norm_type, o.eps, normed, M, E, *multiply.pool);
      multiply(normed, E, M, {{&o.gate->linear(), gate, false}, {&o.up->linear(), up, false}});
      swiglu(gate, F, up, F, gate, M, F, *multiply.pool);  // in place
      copy_rows(x, stride, y, M, E);
      multiply(gate, F, M, {{&o.down->linear(), y, true}});
    });
  }

 private:
  Options options_;
};

}  // namespace

mx::array feed_forward(const mx::array& x, const mx::array& norm, float eps, const WeightPointer& gate,
                       const WeightPointer& up, const WeightPointer& down, mx::StreamOrDevice where) {
  static const char* const name = "feed_forward";
  const mx::Stream stream = cpu_stream(name, where);
  const FloatType norm_type = check_norm(name, x, norm);
  check_input(name, x, *gate);
  check_alike(name, {gate.get(), up.get(), down.get()});
  const int E = x.shape(-1), F = gate->rows();
  check_shape(name, "up", *up, F, E);
  check_shape(name, "down", *down, E, F);
  FeedForward::Options options{eps, norm_type, gate, up, down};
  return mx::array(x.shape(), mx::float32, std::make_shared<FeedForward>(stream, options), {x, norm});
}

}  // namespace course
