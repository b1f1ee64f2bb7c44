#include "../reference/rope.h"

#include <cmath>
#include <map>
#include <mutex>
#include <tuple>

#include "arguments.h"
#include "cpu_primitive.h"
#include "mlx/ops.h"
#include "operations.h"
#include "thread_pool.h"

namespace course {

namespace {

using Speeds = std::shared_ptr<const std::vector<double>>;

// Radians a position, for each pair of features. Every layer asks for the same ones, so they are kept.
Speeds speeds_of(int dims, float base, float scale) {
  static std::mutex lock;
  static std::map<std::tuple<int, float, float>, Speeds> kept;
  std::lock_guard guard(lock);
  Speeds& speeds = kept[{dims, base, scale}];
  if (!speeds) {
    auto made = std::make_shared<std::vector<double>>(dims / 2);
    for (int i = 0; i < dims / 2; i++) (*made)[i] = scale * std::pow(static_cast<double>(base), -2.0 * i / dims);
    speeds = made;
  }
  return speeds;
}

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
  void eval(const std::vector<mx::array>& inputs, mx::array& out, mx::cpu::CommandEncoder& encoder) override {
    // [B, H, L, D] where features are neighbours is read as it lies, and the result laid out like it.
    mx::array x = inputs[0];
    const bool as_it_lies = x.ndim() == 4 && x.flags().contiguous && x.strides(3) == 1;
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

    const int32_t* offsets = nullptr;  // one, or one a row
    ptrdiff_t offset_stride = 0;
    if (!offset_) {
      const mx::array& a = inputs[1];
      offsets = a.data<int32_t>();
      offset_stride = a.size() == 1 ? 0 : a.strides(0);
    }
    const float* freqs = nullptr;
    if (!speeds_) freqs = in_order(inputs.back(), encoder).data<float>();

    encoder.dispatch([=, x = x.data<float>(), y = out.data<float>(), speeds = speeds_, offset = offset_,
                      scale = scale_, traditional = traditional_, pool = shared_pool()]() mutable {
      std::vector<int32_t> positions(size.batch);
      for (int b = 0; b < size.batch; b++) positions[b] = offset ? *offset : offsets[b * offset_stride];
      if (freqs != nullptr) {
        auto given = std::make_shared<std::vector<double>>(size.dims / 2);
        for (int i = 0; i < size.dims / 2; i++) (*given)[i] = static_cast<double>(scale) / freqs[i];
        speeds = given;
      }
      rope(x, strides, y, strides, size, positions.data(), speeds->data(), traditional, *pool);
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
               const std::variant<int, mx::array>& offset, const std::optional<mx::array>& freqs,
               mx::StreamOrDevice where) {
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
  std::optional<int> number;
  if (const int* position = std::get_if<int>(&offset)) {
    number = *position;
  } else {
    const mx::array& rows = std::get<mx::array>(offset);
    const bool one = rows.ndim() == 0 || (rows.ndim() == 1 && (rows.shape(0) == 1 || rows.shape(0) == x.shape(0)));
    if (!one || !mx::issubdtype(rows.dtype(), mx::integer)) {
      refuse(name, "offset is " + describe(rows) + " and x " + describe(x) +
                       "; wanted an integer, or integers [B] = [" + std::to_string(x.shape(0)) + "]");
    }
    inputs.push_back(mx::astype(rows, mx::int32, stream));
  }
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
