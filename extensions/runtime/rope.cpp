// RoPE as an MLX operation.
#include "../reference/rope.h"

#include "arguments.h"
#include "cpu_primitive.h"
#include "operations.h"
#include "thread_pool.h"

namespace course {

namespace {

class Rope final : public CpuPrimitive {
 public:
  // `speeds` is empty where they come as the last input (as their inverses).
  Rope(mx::Stream stream, int dims, bool traditional, float scale, Speeds speeds, std::optional<int> offset)
      : CpuPrimitive(stream), dims_(dims), traditional_(traditional), scale_(scale), speeds_(std::move(speeds)),
        offset_(offset) {}

  const char* name() const override { return "Rope"; }

  bool is_equivalent(const mx::Primitive& other) const override {
    const auto& o = static_cast<const Rope&>(other);
    return dims_ == o.dims_ && traditional_ == o.traditional_ && scale_ == o.scale_ && speeds_ == o.speeds_ &&
           offset_ == o.offset_;
  }

 protected:
  void eval(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs,
            mx::cpu::CommandEncoder& encoder) override {
    mx::array &out = outputs[0], x = inputs[0];
    // [B, H, L, D] where features are neighbours is read as it lies, and the result laid out like it. Not
    // where x is broadcast: its rows are one in memory, and differ once they are turned.
    const bool as_it_lies =
        x.ndim() == 4 && x.flags().contiguous && x.data_size() == x.size() && x.strides(3) == 1;
    if (!as_it_lies) x = in_order(x, encoder);
    if (as_it_lies) {
      out.set_data(mx::allocator::malloc(out.nbytes()), x.data_size(), x.strides(), x.flags());
    } else {
      allocate(out);
    }
    if (out.size() == 0) return;
    RopeSize size{x.shape(0), 1, x.shape(-2), x.shape(-1), dims_};
    for (int axis = 1; axis < static_cast<int>(x.ndim()) - 2; axis++) size.heads *= x.shape(axis);
    const RopeStrides strides = as_it_lies
                                    ? RopeStrides{x.strides(0), x.strides(1), x.strides(2)}
                                    : RopeStrides{ptrdiff_t(size.heads) * size.tokens * size.D,
                                                  ptrdiff_t(size.tokens) * size.D, size.D};
    const Positions positions = offset_ ? Positions(*offset_) : Positions(inputs[1]);
    const float* freqs = nullptr;
    if (!speeds_) freqs = in_order(inputs.back(), encoder).data<float>();

    encoder.dispatch([=, x = x.data<float>(), y = out.data<float>(), speeds = speeds_, scale = scale_,
                      traditional = traditional_, pool = shared_pool()]() mutable {
      if (freqs != nullptr) {
        auto given = std::make_shared<std::vector<double>>(size.dims / 2);
        for (int i = 0; i < size.dims / 2; i++) (*given)[i] = static_cast<double>(scale) / freqs[i];
        speeds = given;
      }
      rope(x, strides, y, strides, size, positions.of_rows(size.batch).data(), speeds->data(), traditional, *pool);
    });
  }

 private:
  int dims_;
  bool traditional_;
  float scale_;
  Speeds speeds_;
  std::optional<int> offset_;
};

}  // namespace

mx::array rope(const mx::array& x, int dims, bool traditional, std::optional<float> base, float scale,
               const Offset& offset, const std::optional<mx::array>& freqs, mx::StreamOrDevice where) {
  static const char* const name = "rope";
  const mx::Stream stream = cpu_stream(name, where);
  expect_float32(name, "x", x);
  if (x.ndim() < 3) refuse(name, "x is " + describe(x) + "; wanted [B, ..., L, D]");
  if (dims < 2 || dims % 2 != 0 || dims > x.shape(-1)) {
    refuse(name, "dims is " + std::to_string(dims) + " and x " + describe(x) + "; wanted an even number from 2 to D = " +
                     std::to_string(x.shape(-1)));
  }
  if (base.has_value() == freqs.has_value()) {
    refuse(name, base ? "both base and freqs are given; wanted one, the other None"
                      : "neither base nor freqs is given; wanted one of them");
  }
  std::vector<mx::array> inputs{x};
  const std::optional<int> number = checked_offset(name, x, offset, inputs, stream);
  if (freqs) {
    expect_float32(name, "freqs", *freqs);
    if (freqs->ndim() != 1 || freqs->shape(0) != dims / 2) {
      refuse(name, "freqs are " + describe(*freqs) + "; wanted [dims / 2] = [" + std::to_string(dims / 2) + "]");
    }
    inputs.push_back(*freqs);
  }
  Speeds speeds = base ? speeds_of(dims, *base, scale) : nullptr;
  return mx::array(x.shape(), mx::float32,
                   std::make_shared<Rope>(stream, dims, traditional, scale, std::move(speeds), number),
                   std::move(inputs));
}

}  // namespace course
