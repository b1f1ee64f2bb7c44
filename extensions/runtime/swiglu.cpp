// SwiGLU as an MLX operation.
#include "../reference/swiglu.h"

#include "arguments.h"
#include "cpu_primitive.h"
#include "operations.h"
#include "thread_pool.h"

namespace course {

namespace {

class SwiGLU final : public CpuPrimitive {
 public:
  using CpuPrimitive::CpuPrimitive;

  const char* name() const override { return "SwiGLU"; }
  bool is_equivalent(const mx::Primitive&) const override { return true; }

 protected:
  void eval(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs,
            mx::cpu::CommandEncoder& encoder) override {
    mx::array& out = outputs[0];
    allocate(out);
    if (out.size() == 0) return;
    const Rows gate = rows(inputs[0], encoder), up = rows(inputs[1], encoder);
    const int D = out.shape(-1), M = static_cast<int>(out.size() / D);
    encoder.dispatch([=, gate = gate.array.data<float>(), gate_stride = gate.stride, up = up.array.data<float>(),
                      up_stride = up.stride, y = out.data<float>(), pool = shared_pool()] {
      swiglu(gate, gate_stride, up, up_stride, y, M, D, *pool);
    });
  }
};

}  // namespace

mx::array swiglu(const mx::array& gate, const mx::array& up, mx::StreamOrDevice where) {
  static const char* const name = "swiglu";
  const mx::Stream stream = cpu_stream(name, where);
  expect_float32(name, "gate", gate);
  expect_float32(name, "up", up);
  if (gate.ndim() == 0 || gate.shape() != up.shape()) {
    refuse(name, "gate is " + describe(gate) + " and up " + describe(up) + "; wanted two of the same shape [..., F]");
  }
  return mx::array(gate.shape(), mx::float32, std::make_shared<SwiGLU>(stream), {gate, up});
}

}  // namespace course
