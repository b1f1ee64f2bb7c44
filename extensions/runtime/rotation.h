// What RoPE is told besides x: how fast each pair of features turns, and where the tokens stand.
#pragma once

#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "mlx/array.h"
#include "mlx/utils.h"

namespace course {

namespace mx = mlx::core;

// Radians a position, for each pair of features: scale * base^(-2i / dims).
using Speeds = std::shared_ptr<const std::vector<double>>;
Speeds speeds_of(int dims, float base, float scale);

// The position of each row's first token, as it is given: one for all rows, or integers [B].
using Offset = std::variant<int, mx::array>;

// Checks the offset for `batch` rows of x. One that is an array becomes an input, as int32; one that is a
// number is returned.
std::optional<int> checked_offset(const char* operation, const mx::array& x, const Offset& offset,
                                  std::vector<mx::array>& inputs, mx::Stream stream);

// The same at evaluation. Reading it is for what is dispatched: before, the array may still be under way.
class Positions {
 public:
  explicit Positions(int number) : number_(number) {}
  explicit Positions(const mx::array& given);
  std::vector<int32_t> of_rows(int batch) const;

 private:
  int number_ = 0;
  const int32_t* given_ = nullptr;
  ptrdiff_t stride_ = 0;
};

}  // namespace course
