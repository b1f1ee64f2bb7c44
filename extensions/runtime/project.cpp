// The first step of a layer: normalise, make queries, keys and values, turn them by RoPE.
#include <array>

#include "../reference/rms_norm.h"
#include "../reference/rope.h"
#include "cpu_primitive.h"
#include "mlx/backend/common/utils.h"
#include "operations.h"
#include "step.h"

namespace course {

namespace {

// Inputs: x, norm, and the offset where that is an array.
class Project final : public CpuPrimitive {
 public:
  struct Options {
    float eps;
    FloatType norm_type;
    std::array<WeightPointer, 3> qkv;
    int head_dim;
    bool traditional;
    Speeds speeds;
    std::optional<int> offset;
    bool operator==(const Options&) const = default;
  };
  Project(mx::Stream stream, Options options) : CpuPrimitive(stream), options_(std::move(options)) {}

  const char* name() const override { return "Project"; }
  bool is_equivalent(const mx::Primitive& other) const override {
    return options_ == static_cast<const Project&>(other).options_;
  }

 protected:
  void eval(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs,
            mx::cpu::CommandEncoder& encoder) override {
    for (mx::array& out : outputs) {  // in memory [B, L, H, D], as the matmuls write them
      const int64_t H = out.shape(1), L = out.shape(2), D = out.shape(3);
      const mx::Strides strides{L * H * D, D, H * D, 1};
      const auto [size, row_contiguous, col_contiguous] = mx::check_contiguity(out.shape(), strides);
      out.set_data(mx::allocator::malloc(out.nbytes()), out.size(), strides,
                   {.contiguous = true, .row_contiguous = row_contiguous, .col_contiguous = col_contiguous});
    }
    const Rows x = rows(inputs[0], encoder);
    const int E = inputs[0].shape(-1), M = rows_of(inputs[0]);
    if (M == 0) return;
    const mx::array norm = in_order(inputs[1], encoder);
    std::array<float*, 3> y;
    for (int i = 0; i < 3; i++) y[i] = outputs[i].data<float>();
    const Positions positions = options_.offset ? Positions(*options_.offset) : Positions(inputs.back());
    const Multiply multiply(M, encoder, {options_.qkv.begin(), options_.qkv.end()});
    float* normed = scratch(static_cast<size_t>(M) * E, encoder);
    encoder.dispatch([=, B = inputs[0].shape(0), L = inputs[0].shape(1), x = x.array.data<float>(),
                      stride = x.stride, norm = norm.data<void>(), o = options_] {
      rms_norm(x, stride, norm, o.norm_type, o.eps, normed, M, E, *multiply.pool);
      const auto& [q, k, v] = o.qkv;
      multiply(normed, E, M, {{&q->linear(), y[0], false}, {&k->linear(), y[1], false}, {&v->linear(), y[2], false}});
      const std::vector<int32_t> starts = positions.of_rows(B);
      for (int i = 0; i < 2; i++) {  // queries and keys, in place
        const int width = o.qkv[i]->rows();
        const RopeStrides lie{ptrdiff_t(L) * width, o.head_dim, width};
        const RopeSize size{B, width / o.head_dim, L, o.head_dim, o.head_dim};
        rope(y[i], lie, y[i], lie, size, starts.data(), o.speeds->data(), o.traditional, *multiply.pool);
      }
    });
  }

 private:
  Options options_;
};

}  // namespace

std::vector<mx::array> project(const mx::array& x, const mx::array& norm, float eps, const WeightPointer& q,
                               const WeightPointer& k, const WeightPointer& v, int head_dim, bool traditional, float base, float scale,
                               const Offset& offset, mx::StreamOrDevice where) {
  static const char* const name = "project";
  const mx::Stream stream = cpu_stream(name, where);
  const FloatType norm_type = check_norm(name, x, norm);
  if (x.ndim() != 3) refuse(name, "x is " + describe(x) + "; wanted [B, L, E]");
  check_alike(name, {q.get(), k.get(), v.get()});
  std::vector<mx::array> inputs{x, norm};
  std::vector<mx::Shape> shapes;
  for (const WeightPointer& weight : {q, k, v}) {
    check_input(name, x, *weight);
    if (head_dim < 2 || head_dim % 2 != 0 || weight->rows() % head_dim != 0) {
      refuse(name, "head_dim is " + std::to_string(head_dim) + " and a weight has " + std::to_string(weight->rows()) +
                       " rows; wanted an even divisor of the rows");
    }
    shapes.push_back({x.shape(0), weight->rows() / head_dim, x.shape(1), head_dim});
  }
  const std::optional<int> number = checked_offset(name, x, offset, inputs, stream);
  Project::Options options{eps, norm_type, {q, k, v}, head_dim, traditional, speeds_of(head_dim, base, scale), number};
  return mx::array::make_arrays(std::move(shapes), {mx::float32, mx::float32, mx::float32},
                                std::make_shared<Project>(stream, std::move(options)), inputs);
}

}  // namespace course
