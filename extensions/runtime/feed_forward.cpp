// The last step of a layer: its MLP, with the normalisation before and the addition after.
#include <array>

#include "../reference/rms_norm.h"
#include "../reference/swiglu.h"
#include "cpu_primitive.h"
#include "operations.h"
#include "step.h"

namespace course {

namespace {

void check_rows(const char* name, const char* what, const PackedShape& shape, int wanted) {
  if (shape.rows == wanted) return;
  refuse(name, std::string(what) + " has " + std::to_string(shape.rows) + " rows; wanted " + std::to_string(wanted));
}

// Inputs: x, norm, gate (3), up (3), down (3).
class FeedForward final : public CpuPrimitive {
 public:
  struct Options {
    float eps;
    FloatType norm_type;
    std::array<PackedShape, 3> gate_up_down;
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
    std::array<QuantizedMatrix, 3> w;
    for (int i = 0; i < 3; i++) w[i] = matrix(options_.gate_up_down[i], inputs, 2 + 3 * i, encoder);
    const int F = w[0].rows;
    const Matmuls matmul(M, encoder, w[0], w[1], w[2]);
    float* normed = scratch(static_cast<size_t>(M) * E, encoder);
    float* gate = scratch(static_cast<size_t>(M) * F, encoder);
    float* up = scratch(static_cast<size_t>(M) * F, encoder);
    encoder.dispatch([=, x = x.array.data<float>(), stride = x.stride, norm = norm.data<void>(), o = options_,
                      y = out.data<float>()] {
      rms_norm(x, stride, norm, o.norm_type, o.eps, normed, M, E, *matmul.pool);
      matmul(normed, E, w[0], gate, M);
      matmul(normed, E, w[1], up, M);
      swiglu(gate, F, up, F, gate, M, F, *matmul.pool);  // in place
      matmul(gate, F, w[2], y, M);
      add(x, stride, y, M, E);
    });
  }

 private:
  Options options_;
};

}  // namespace

mx::array feed_forward(const mx::array& x, const mx::array& norm, float eps, const Packed& gate, const Packed& up,
                       const Packed& down, mx::StreamOrDevice where) {
  static const char* const name = "feed_forward";
  const mx::Stream stream = cpu_stream(name, where);
  const FloatType norm_type = check_norm(name, x, norm);
  const int E = x.shape(-1);
  const PackedShape g = checked(name, x, E, gate), u = checked(name, x, E, up), d = checked(name, x, g.rows, down);
  check_rows(name, "up", u, g.rows);
  check_rows(name, "down", d, E);
  std::vector<mx::array> inputs{x, norm};
  for (const Packed* weight : {&gate, &up, &down}) append(inputs, *weight);
  FeedForward::Options options{eps, norm_type, {g, u, d}};
  return mx::array(x.shape(), mx::float32, std::make_shared<FeedForward>(stream, options), std::move(inputs));
}

}  // namespace course
