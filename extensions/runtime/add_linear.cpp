// The second step of a layer: what attention gathered, projected and added to the residual stream.
#include "cpu_primitive.h"
#include "operations.h"
#include "step.h"

namespace course {

namespace {

// Inputs: residual, x.
class AddLinear final : public CpuPrimitive {
 public:
  AddLinear(mx::Stream stream, WeightPointer weight) : CpuPrimitive(stream), weight_(std::move(weight)) {}

  const char* name() const override { return "AddLinear"; }
  bool is_equivalent(const mx::Primitive& other) const override {
    return weight_ == static_cast<const AddLinear&>(other).weight_;
  }

 protected:
  void eval(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs,
            mx::cpu::CommandEncoder& encoder) override {
    mx::array& out = outputs[0];
    allocate(out);
    if (out.size() == 0) return;
    const Rows residual = rows(inputs[0], encoder), x = rows(inputs[1], encoder);
    const int M = rows_of(out);
    const Multiply multiply(M, encoder, {weight_});
    encoder.dispatch([=, residual = residual.array.data<float>(), residual_stride = residual.stride,
                      x = x.array.data<float>(), x_stride = x.stride, y = out.data<float>(), w = weight_] {
      copy_rows(residual, residual_stride, y, M, w->rows());
      multiply(x, x_stride, M, {{&w->linear(), y, true}});
    });
  }

 private:
  WeightPointer weight_;
};

}  // namespace

mx::array add_linear(const mx::array& residual, const mx::array& x, const WeightPointer& weight,
                     mx::StreamOrDevice where) {
  static const char* const name = "add_linear";
  const mx::Stream stream = cpu_stream(name, where);
  expect_float32(name, "residual", residual);
  check_input(name, x, *weight);
  mx::Shape out = x.shape();
  out.back() = weight->rows();
  if (residual.shape() != out) {
    refuse(name, "residual is " + describe(residual) + "; wanted the product's shape, " + describe(out));
  }
  return mx::array(std::move(out), mx::float32, std::make_shared<AddLinear>(stream, weight), {residual, x});
}

}  // namespace course
