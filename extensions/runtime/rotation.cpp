#include "rotation.h"

#include <cmath>
#include <map>
#include <mutex>
#include <tuple>

#include "arguments.h"
#include "mlx/ops.h"

namespace course {

// Every layer asks for the same ones, so they are kept.
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

std::optional<int> checked_offset(const char* operation, const mx::array& x, const Offset& offset,
                                  std::vector<mx::array>& inputs, mx::Stream stream) {
  if (const int* number = std::get_if<int>(&offset)) return *number;
  const mx::array& rows = std::get<mx::array>(offset);
  const bool one = rows.ndim() == 0 || (rows.ndim() == 1 && (rows.shape(0) == 1 || rows.shape(0) == x.shape(0)));
  if (!one || !mx::issubdtype(rows.dtype(), mx::integer)) {
    refuse(operation, "offset is " + describe(rows) + " and x " + describe(x) +
                          "; wanted an integer, or integers [B] = [" + std::to_string(x.shape(0)) + "]");
  }
  inputs.push_back(mx::astype(rows, mx::int32, stream));
  return std::nullopt;
}

Positions::Positions(const mx::array& given)
    : given_(given.data<int32_t>()), stride_(given.size() == 1 ? 0 : given.strides(0)) {}

std::vector<int32_t> Positions::of_rows(int batch) const {
  std::vector<int32_t> positions(batch, number_);
  for (int b = 0; b < batch && given_ != nullptr; b++) positions[b] = given_[b * stride_];
  return positions;
}

}  // namespace course
