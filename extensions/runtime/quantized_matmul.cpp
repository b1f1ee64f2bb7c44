// Quantized matmul as an MLX operation: with x as it is, and with x rounded to 8 bits.
#include "../reference/quantized_matmul.h"

#include "../reference/int8_matmul.h"
#include "arguments.h"
#include "cpu_primitive.h"
#include "operations.h"
#include "thread_pool.h"

namespace course {

namespace {

// The kernels, which have the operations' names.
using Kernel = void(const float*, ptrdiff_t, const QuantizedMatrix&, float*, int, float*, Parallel&);
Kernel* const with_floats = quantized_matmul;
Kernel* const with_bytes = int8_matmul;

class QuantizedMatmul final : public CpuPrimitive {
 public:
  QuantizedMatmul(mx::Stream stream, const PackedShape& weight, bool int8)
      : CpuPrimitive(stream), weight_(weight), int8_(int8) {}

  const char* name() const override { return int8_ ? "Int8Matmul" : "QuantizedMatmul"; }

  bool is_equivalent(const mx::Primitive& other) const override {
    const auto& o = static_cast<const QuantizedMatmul&>(other);
    return weight_ == o.weight_ && int8_ == o.int8_;
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
    const auto scratch_of = int8_ ? int8_matmul_scratch : quantized_matmul_scratch;
    float* memory = scratch(scratch_of(M, w, pool->workers()), encoder);
    encoder.dispatch([=, run = int8_ ? with_bytes : with_floats, x = x.array.data<float>(), stride = x.stride,
                      y = out.data<float>()] { run(x, stride, w, y, M, memory, *pool); });
  }

 private:
  PackedShape weight_;
  bool int8_;
};

mx::array matmul(const char* name, const mx::array& x, const Packed& weight, bool int8, mx::StreamOrDevice where) {
  const mx::Stream stream = cpu_stream(name, where);
  expect_float32(name, "x", x);
  if (x.ndim() == 0) refuse(name, "x is a single number; wanted [..., K]");
  const PackedShape shape = checked(name, x, x.shape(-1), weight);
  mx::Shape out = x.shape();
  out.back() = shape.rows;
  const auto& [w, scales, biases, group_size, bits] = weight;
  return mx::array(std::move(out), mx::float32, std::make_shared<QuantizedMatmul>(stream, shape, int8),
                   {x, w, scales, biases});
}

}  // namespace

mx::array quantized_matmul(const mx::array& x, const Packed& weight, mx::StreamOrDevice where) {
  return matmul("quantized_matmul", x, weight, false, where);
}

mx::array int8_matmul(const mx::array& x, const Packed& weight, mx::StreamOrDevice where) {
  return matmul("int8_matmul", x, weight, true, where);
}

}  // namespace course
