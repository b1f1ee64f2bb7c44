// A kernel becomes an MLX operation: notebook 02 walks through this file.
#include "arguments.h"
#include "cpu_primitive.h"
#include "ladder.h"
#include "thread_pool.h"

namespace course {

namespace {

class QuantizedMatmulBy final : public CpuPrimitive {
 public:
  QuantizedMatmulBy(mx::Stream stream, const QuantizedMatmulRung& kernel, const PackedShape& weight)
      : CpuPrimitive(stream), kernel_(kernel), weight_(weight) {}

  const char* name() const override { return "QuantizedMatmulBy"; }

  // May MLX compute two such operations on the same inputs once?
  bool is_equivalent(const mx::Primitive& other) const override {
    const auto& o = static_cast<const QuantizedMatmulBy&>(other);
    return kernel_.run == o.kernel_.run && weight_ == o.weight_;
  }

 protected:
  // Called when the result is needed, on the thread that asks for it.
  void eval(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs,
            mx::cpu::CommandEncoder& encoder) override {
    mx::array& out = outputs[0];
    allocate(out);
    if (out.size() == 0) return;
    const Rows x = rows(inputs[0], encoder);                          // where x lies, and how its rows do
    const QuantizedMatrix w = matrix(weight_, inputs, 1, encoder);    // the same for W
    const int M = static_cast<int>(out.size() / w.rows);
    const auto pool = shared_pool();
    float* memory = scratch(kernel_.scratch(M, w, pool->workers()), encoder);
    // Run later, on the stream's own thread, after whatever still writes the inputs.
    encoder.dispatch([=, run = kernel_.run, x = x.array.data<float>(), stride = x.stride, y = out.data<float>()] {
      run(x, stride, w, y, M, memory, *pool);
    });
  }

 private:
  QuantizedMatmulRung kernel_;
  PackedShape weight_;
};

}  // namespace

LoadedQuantizedMatmul::LoadedQuantizedMatmul(const std::string& library, const std::string& name) {
  auto* find = quantized_matmul_rung;
  if (!library.empty()) find = reinterpret_cast<decltype(find)>(symbol_of(library, "course_quantized_matmul"));
  rung = find(name.c_str());
  if (rung == nullptr) refuse("quantized_matmul", "no rung is called " + name);
}

// Called at once: checks the arguments and returns an array that knows how it will be computed.
mx::array quantized_matmul_by(const LoadedQuantizedMatmul& kernel, const mx::array& x, const Packed& weight,
                              mx::StreamOrDevice where) {
  static const char* const name = "quantized_matmul";
  const mx::Stream stream = cpu_stream(name, where);
  expect_float32(name, "x", x);
  if (x.ndim() == 0) refuse(name, "x is a single number; wanted [..., K]");
  const PackedShape packed = checked(name, x, x.shape(-1), weight);
  mx::Shape shape = x.shape();
  shape.back() = packed.rows;
  const auto& [w, scales, biases, group_size, bits] = weight;
  auto primitive = std::make_shared<QuantizedMatmulBy>(stream, *kernel.rung, packed);
  return mx::array(std::move(shape), mx::float32, std::move(primitive), {x, w, scales, biases});
}

}  // namespace course
