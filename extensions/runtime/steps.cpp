// Steps of a layer: what stands between two layers' attention, as one MLX operation each (operations.h says why).
#include <algorithm>
#include <array>

#include "../reference/quantized_matmul.h"
#include "../reference/rms_norm.h"
#include "../reference/rope.h"
#include "../reference/swiglu.h"
#include "arguments.h"
#include "cpu_primitive.h"
#include "mlx/backend/common/utils.h"
#include "operations.h"
#include "thread_pool.h"

namespace course {

namespace {

// One evaluation's view of a step: the pool, and the scratch memory of its matmuls, which take turns with it.
struct Matmuls {
  std::shared_ptr<ThreadPool> pool = shared_pool();
  float* memory = nullptr;

  template <class... Matrices>
  Matmuls(int M, mx::cpu::CommandEncoder& encoder, const Matrices&... w) {
    memory = scratch(std::max({quantized_matmul_scratch(M, w, pool->workers())...}), encoder);
  }
  void operator()(const float* x, ptrdiff_t stride, const QuantizedMatrix& w, float* y, int M) const {
    quantized_matmul(x, stride, w, y, M, memory, *pool);
  }
};

void add(const float* x, ptrdiff_t stride, float* to, int M, int D) {
  for (int m = 0; m < M; m++, x += stride, to += D) {
    for (int d = 0; d < D; d++) to[d] += x[d];
  }
}

void append(std::vector<mx::array>& inputs, const Packed& weight) {
  inputs.insert(inputs.end(), {std::get<0>(weight), std::get<1>(weight), std::get<2>(weight)});
}

int rows_of(const mx::array& x) { return static_cast<int>(x.size() / x.shape(-1)); }

FloatType check_norm(const char* name, const mx::array& x, const mx::array& norm) {
  expect_float32(name, "x", x);
  if (x.ndim() == 0 || norm.ndim() != 1 || norm.shape(0) != x.shape(-1)) {
    refuse(name, "x is " + describe(x) + " and norm " + describe(norm) + "; wanted x [..., E] and norm [E]");
  }
  return float_type(name, "norm", norm);
}

void check_rows(const char* name, const char* what, const PackedShape& shape, int wanted) {
  if (shape.rows == wanted) return;
  refuse(name, std::string(what) + " has " + std::to_string(shape.rows) + " rows; wanted " + std::to_string(wanted));
}

// Inputs: x, norm, q (3), k (3), v (3), and the offset where that is an array.
class Project final : public CpuPrimitive {
 public:
  struct Options {
    float eps;
    FloatType norm_type;
    std::array<PackedShape, 3> qkv;
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
    std::array<QuantizedMatrix, 3> w;
    std::array<float*, 3> y;
    for (int i = 0; i < 3; i++) {
      w[i] = matrix(options_.qkv[i], inputs, 2 + 3 * i, encoder);
      y[i] = outputs[i].data<float>();
    }
    const Positions positions = options_.offset ? Positions(*options_.offset) : Positions(inputs.back());
    const Matmuls matmul(M, encoder, w[0], w[1], w[2]);
    float* normed = scratch(static_cast<size_t>(M) * E, encoder);
    encoder.dispatch([=, B = inputs[0].shape(0), L = inputs[0].shape(1), x = x.array.data<float>(),
                      stride = x.stride, norm = norm.data<void>(), o = options_] {
      rms_norm(x, stride, norm, o.norm_type, o.eps, normed, M, E, *matmul.pool);
      for (int i = 0; i < 3; i++) matmul(normed, E, w[i], y[i], M);
      const std::vector<int32_t> starts = positions.of_rows(B);
      for (int i = 0; i < 2; i++) {  // queries and keys, in place
        const RopeStrides lie{ptrdiff_t(L) * w[i].rows, o.head_dim, w[i].rows};
        const RopeSize size{B, w[i].rows / o.head_dim, L, o.head_dim, o.head_dim};
        rope(y[i], lie, y[i], lie, size, starts.data(), o.speeds->data(), o.traditional, *matmul.pool);
      }
    });
  }

 private:
  Options options_;
};

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

std::vector<mx::array> project(const mx::array& x, const mx::array& norm, float eps, const Packed& q, const Packed& k,
                               const Packed& v, int head_dim, bool traditional, float base, float scale,
                               const Offset& offset, mx::StreamOrDevice where) {
  static const char* const name = "project";
  const mx::Stream stream = cpu_stream(name, where);
  const FloatType norm_type = check_norm(name, x, norm);
  if (x.ndim() != 3) refuse(name, "x is " + describe(x) + "; wanted [B, L, E]");
  std::array<PackedShape, 3> qkv;
  std::vector<mx::array> inputs{x, norm};
  std::vector<mx::Shape> shapes;
  int i = 0;
  for (const Packed* weight : {&q, &k, &v}) {
    qkv[i] = checked(name, x, x.shape(-1), *weight);
    if (head_dim < 2 || head_dim % 2 != 0 || qkv[i].rows % head_dim != 0) {
      refuse(name, "head_dim is " + std::to_string(head_dim) + " and a weight has " + std::to_string(qkv[i].rows) +
                       " rows; wanted an even divisor of the rows");
    }
    append(inputs, *weight);
    shapes.push_back({x.shape(0), qkv[i].rows / head_dim, x.shape(1), head_dim});
    i++;
  }
  const std::optional<int> number = checked_offset(name, x, offset, inputs, stream);
  Project::Options options{eps, norm_type, qkv, head_dim, traditional, speeds_of(head_dim, base, scale), number};
  return mx::array::make_arrays(std::move(shapes), {mx::float32, mx::float32, mx::float32},
                                std::make_shared<Project>(stream, std::move(options)), inputs);
}

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
