// All layers of a model as one operation.
#pragma once

#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "../reference/decoder_layer.h"
#include "mlx/array.h"
#include "mlx/utils.h"
#include "weight.h"

namespace course {

namespace mx = mlx::core;

// A model's layers, made once: weights are checked and found here, not at every step.
class Decoder : public std::enable_shared_from_this<Decoder> {
 public:
  // Norms before attention and before the MLP, of queries and of keys; then q, k, v, o, gate, up, down.
  using LayerArrays = std::tuple<mx::array, mx::array, std::optional<mx::array>, std::optional<mx::array>,
                                 std::vector<WeightPointer>>;

  // Throws std::invalid_argument where the weights do not fit each other.
  Decoder(int heads, int kv_heads, int head_dim, float eps, float scale, bool traditional, std::vector<double> speeds,
          const std::vector<LayerArrays>& layers);

  const DecoderShape& shape() const { return shape_; }
  const std::vector<DecoderLayer>& layers() const { return layers_; }

 private:
  mx::array kept(const mx::array& a);
  Norm norm(const mx::array& weight, int width);
  const Linear& linear(const WeightPointer& weight, int columns, int rows);

  std::vector<double> speeds_;
  DecoderShape shape_;
  std::vector<DecoderLayer> layers_;
  std::vector<mx::array> arrays_;  // what the pointers in layers_ point into, as do
  std::vector<WeightPointer> weights_;
};

// first, row, rows, tokens: a Segment.
using SegmentNumbers = std::tuple<int, int, int, int>;

// One step through all layers.
//
//   h             float32 [..., E], the step's tokens
//   keys, values  one array a layer, float32 [rows, kv_heads, room, D]; each row holds `lengths` tokens
//   capacity      tokens of room that each row shall have; where there is less, all rows go to new memory
//
// Returns h behind the last layer, and all keys and values with the step's among them. These are written in place:
// the arrays that were given must not be read any more, nor anything that shares their memory, and that is for the
// caller to see to.
std::vector<mx::array> decode(const std::shared_ptr<const Decoder>& decoder, const mx::array& h,
                              const std::vector<mx::array>& keys, const std::vector<mx::array>& values,
                              const std::vector<SegmentNumbers>& segments, const std::vector<int>& lengths,
                              int capacity, mx::StreamOrDevice where);

}  // namespace course
