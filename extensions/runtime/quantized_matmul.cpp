#include "../reference/quantized_matmul.h"

#include "arguments.h"
#include "cpu_primitive.h"
#include "operations.h"
#include "thread_pool.h"

namespace course {

namespace {

class QuantizedMatmul final : public CpuPrimitive {
 public:
  QuantizedMatmul(mx::Stream stream, int group_size, int bits, FloatType scale_type)
      : CpuPrimitive(stream), group_size_(group_size), bits_(bits), scale_type_(scale_type) {}

  const char* name() const override { return "QuantizedMatmul"; }

  bool is_equivalent(const mx::Primitive& other) const override {
    const auto& o = static_cast<const QuantizedMatmul&>(other);
    return group_size_ == o.group_size_ && bits_ == o.bits_;
  }

 protected:
  void eval(const std::vector<mx::array>& inputs, mx::array& out, mx::cpu::CommandEncoder& encoder) override {
    allocate(out);
    if (out.size() == 0) return;
    const Rows x = rows(inputs[0], encoder);
    const mx::array words = in_order(inputs[1], encoder);
    const mx::array scales = in_order(inputs[2], encoder), biases = in_order(inputs[3], encoder);
    const int N = words.shape(0), K = scales.shape(1) * group_size_;
    const int M = static_cast<int>(out.size() / N);
    const QuantizedMatrix w{words.data<uint32_t>(), scales.data<void>(), biases.data<void>(), scale_type_, N, K,
                            group_size_, bits_};
    const auto pool = shared_pool();
    float* memory = scratch(quantized_matmul_scratch(M, w, pool->workers()), encoder);
    encoder.dispatch([=, x = x.array.data<float>(), stride = x.stride, y = out.data<float>()] {
      quantized_matmul(x, stride, w, y, M, memory, *pool);
    });
  }

 private:
  int group_size_, bits_;
  FloatType scale_type_;
};

}  // namespace

mx::array quantized_matmul(const mx::array& x, const mx::array& w, const mx::array& scales,
                           const mx::array& biases, int group_size, int bits, mx::StreamOrDevice where) {
  static const char* const name = "quantized_matmul";
  const mx::Stream stream = cpu_stream(name, where);
  if (bits != 4 && bits != 8) refuse(name, "bits is " + std::to_string(bits) + "; wanted 4 or 8");
  if (group_size != 32 && group_size != 64 && group_size != 128) {
    refuse(name, "group_size is " + std::to_string(group_size) + "; wanted 32, 64 or 128");
  }
  expect_float32(name, "x", x);
  const FloatType scale_type = float_type(name, "scales", scales);
  if (biases.dtype() != scales.dtype()) {
    refuse(name, "biases are " + describe(biases) + "; wanted the scales' dtype, " + describe(scales));
  }
  if (x.ndim() == 0) refuse(name, "x is a single number; wanted [..., K]");
  if (w.dtype() != mx::uint32 || w.ndim() != 2) {
    refuse(name, "w is " + describe(w) + "; wanted uint32 [N, K * bits / 32], as mx.quantize returns it");
  }
  const int K = x.shape(-1), N = w.shape(0), per_word = 32 / bits;
  if (K % group_size != 0 || K == 0) {
    refuse(name, "x is " + describe(x) + ", so K = " + std::to_string(K) + "; wanted a multiple of the group_size " +
                     std::to_string(group_size));
  }
  if (w.shape(1) != K / per_word) {
    refuse(name, "w is " + describe(w) + " and x is " + describe(x) + "; wanted w [N, " +
                     std::to_string(K / per_word) + "], " + std::to_string(per_word) + " weights of " +
                     std::to_string(bits) + " bits in a word");
  }
  const mx::Shape groups{N, K / group_size};
  if (scales.shape() != groups || biases.shape() != groups) {
    refuse(name, "scales are " + describe(scales) + " and biases " + describe(biases) + "; wanted " +
                     describe(groups) + ", one for each group of " + std::to_string(group_size) + " weights");
  }
  mx::Shape shape = x.shape();
  shape.back() = N;
  return mx::array(std::move(shape), mx::float32,
                   std::make_shared<QuantizedMatmul>(stream, group_size, bits, scale_type),
                   {x, w, scales, biases});
}

}  // namespace course
