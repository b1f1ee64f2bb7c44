// The second step of a layer: what attention gathered, projected and added to the residual stream.
#include "cpu_primitive.h"
#include "operations.h"
#include "step.h"

namespace course {

namespace {

// Inputs: residual, x, weight (3).
class AddMatmul final : public CpuPrimitive {
 public:
  AddMatmul(mx::Stream stream, const PackedShape& weight) : CpuPrimitive(stream), weight_(weight) {}

  const char* name() const override { return "AddMatmul"; }
  bool is_equivalent(const mx::Primitive& other) const override {
    return weight_ == static_cast<const AddMatmul&>(other).weight_;
  }

 protected:
  void eval(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs,
            mx::cpu::CommandEncoder& encoder) override {
    mx::array& out = outputs[0];
    allocate(out);
    if (out.size() == 0) return;
    const Rows residual = rows(inputs[0], encoder), x = rows(inputs[1], encoder);
    const QuantizedMatrix w = matrix(weight_, inputs, 2, encoder);
    const int M = rows_of(out);
    const Matmuls matmul(M, encoder, w);
    encoder.dispatch([=, residual = residual.array.data<float>(), residual_stride = residual.stride,
                      x = x.array.data<float>(), x_stride = x.stride, y = out.data<float>()] {
      matmul(x, x_stride, w, y, M);
      add(residual, residual_stride, y, M, w.rows);
    });
  }

 private:
  PackedShape weight_;
};

}  // namespace

mx::array add_matmul(const mx::array& residual, const mx::array& x, const Packed& weight, mx::StreamOrDevice where) {
  static const char* const name = "add_matmul";
  const mx::Stream stream = cpu_stream(name, where);
  expect_float32(name, "residual", residual);
  expect_float32(name, "x", x);
  if (x.ndim() == 0) refuse(name, "x is a single number; wanted [..., K]");
  const PackedShape shape = checked(name, x, x.shape(-1), weight);
  mx::Shape out = x.shape();
  out.back() = shape.rows;
  if (residual.shape() != out) {
    refuse(name, "residual is " + describe(residual) + "; wanted the product's shape, " + describe(out));
  }
  std::vector<mx::array> inputs{residual, x};
  append(inputs, weight);
  return mx::array(std::move(out), mx::float32, std::make_shared<AddMatmul>(stream, shape), std::move(inputs));
}

}  // namespace course
