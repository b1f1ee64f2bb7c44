// Quantized matmul as an MLX operation, of a matrix as it is packed.
#include "../reference/quantized_matmul.h"

#include "arguments.h"
#include "cpu_primitive.h"
#include "operations.h"
#include "thread_pool.h"

namespace course {

namespace {

class QuantizedMatmul final : public CpuPrimitive {
 public:
  QuantizedMatmul(mx::Stream stream, const PackedShape& weight) : CpuPrimitive(stream), weight_(weight) {}

  const char* name() const override { return "QuantizedMatmul"; }

  bool is_equivalent(const mx::Primitive& other) const override {
    return weight_ == static_cast<const QuantizedMatmul&>(other).weight_;
  }

 protected:
  void eval(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs,
            mx::cpu::CommandEncoder& encoder) override {
    mx::array& out = outputs[0];
    allocate(out);
    if (out.size() == 0) return;
    const Rows x = rows(inputs[0], encoder);
    const QuantizedMatrix w = matrix(weight_, inputs, 1, encoder);
    const int M = static_cast<int>(out.size() / w.rows);
    const auto pool = shared_pool();
    float* memory = scratch(quantized_matmul_scratch(M, w, pool->workers()), encoder);
    encoder.dispatch([=, x = x.array.data<float>(), stride = x.stride, y = out.data<float>()] {
      quantized_matmul(x, stride, w, y, M, memory, *pool);
    });
  }

 private:
  PackedShape weight_;
};

}  // namespace

mx::array quantized_matmul(const mx::array& x, const Packed& weight, mx::StreamOrDevice where) {
  static const char* const name = "quantized_matmul";
  const mx::Stream stream = cpu_stream(name, where);
  expect_float32(name, "x", x);
  if (x.ndim() == 0) refuse(name, "x is a single number; wanted [..., K]");
  const PackedShape shape = checked(name, x, x.shape(-1), weight);
  mx::Shape out = x.shape();
  out.back() = shape.rows;
  const auto& [w, scales, biases, group_size, bits] = weight;
  return mx::array(std::move(out), mx::float32, std::make_shared<QuantizedMatmul>(stream, shape), {x, w, scales, biases});
}

}  // namespace course
