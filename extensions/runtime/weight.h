// A quantized weight that was made ready for the kernels once, not at every step.
#pragma once

#include <initializer_list>
#include <memory>
#include <optional>

#include "../reference/linear.h"
#include "packed.h"

namespace course {

namespace mx = mlx::core;

// Evaluates its arrays and lays them out in panels.
class Weight : public std::enable_shared_from_this<Weight> {
 public:
  // Throws std::invalid_argument where the arrays do not fit each other.
  Weight(const Packed& arrays, const std::optional<mx::array>& bias, bool int8);
  Weight(const Weight&) = delete;

  int rows() const { return linear_.rows(); }
  int columns() const { return linear_.columns(); }
  const Linear& linear() const { return linear_; }
  bool int8() const { return int8_; }
  size_t nbytes() const;  // of the panels: beside the arrays that Python holds

 private:
  std::optional<Panels> panels_;
  std::optional<mx::array> bias_;
  Linear linear_{};  // points into both
  bool int8_;
};

using WeightPointer = std::shared_ptr<const Weight>;

// Refuses weights of which some round x to 8 bits and some do not: those of a step share x.
void check_alike(const char* operation, std::initializer_list<const Weight*> weights);

// Refuses an input that does not have the weight's K features.
void check_input(const char* operation, const mx::array& x, const Weight& weight);

}  // namespace course
