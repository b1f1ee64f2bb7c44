#include "decoder.h"

#include <algorithm>

#include "arguments.h"
#include "cpu_primitive.h"
#include "mlx/ops.h"
#include "mlx/transforms.h"
#include "step.h"

namespace course {

namespace {

const char* const NAME = "decode";
constexpr size_t WEIGHTS = 7;  // of a layer

// Inputs: h, all keys, all values. Outputs: the same.
class Decode final : public CpuPrimitive {
 public:
  Decode(mx::Stream stream, std::shared_ptr<const Decoder> decoder, Step step)
      : CpuPrimitive(stream), decoder_(std::move(decoder)), step_(std::move(step)) {}

  const char* name() const override { return "Decode"; }

 protected:
  void eval(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs,
            mx::cpu::CommandEncoder& encoder) override {
    const size_t layers = decoder_->layers().size();
    mx::array& h = outputs[0];
    allocate(h);
    const mx::array given = in_order(inputs[0], encoder);
    std::vector<Room> rooms(layers);
    std::vector<Move> moves;
    for (size_t i = 0; i < layers; i++) {
      float* places[2];
      for (size_t j = 0; j < 2; j++) {
        const mx::array& in = inputs[1 + j * layers + i];
        mx::array& out = outputs[1 + j * layers + i];
        if (in.shape(2) == out.shape(2)) {
          places[j] = take_over(in, out, encoder);
        } else {
          places[j] = move(in, out, encoder, moves);
        }
      }
      rooms[i] = {places[0], places[1], outputs[1 + i].shape(2)};
    }
    auto pool = shared_pool();
    size_t floats = 0;
    for (const DecoderLayer& layer : decoder_->layers()) {
      floats = std::max(floats, decoder_layer_scratch(decoder_->shape(), layer, step_, pool->workers()));
    }
    float* memory = scratch(floats, encoder);
    float* turns = scratch(Turns::floats(step_.tokens, decoder_->shape().head_dim), encoder);
    encoder.dispatch([decoder = decoder_, step = step_, rooms = std::move(rooms), moves = std::move(moves), from = given.data<float>(),
                      to = h.data<float>(), size = h.size(), memory, turns, pool]() mutable {
      std::copy_n(from, size, to);
      step.turn(decoder->shape(), turns, *pool);
      for (const Move& m : moves) m.run(step.lengths);
      for (size_t i = 0; i < rooms.size(); i++) {
        decoder_layer(decoder->shape(), decoder->layers()[i], step, rooms[i], to, memory, *pool);
      }
    });
  }

 private:
  // Rows whose tokens go to a larger place.
  struct Move {
    const float* from;
    float* to;
    int heads, capacity, larger, D;

    void run(const std::vector<int32_t>& lengths) const {
      for (size_t i = 0; i < lengths.size() * heads; i++) {
        std::copy_n(from + i * capacity * D, static_cast<size_t>(lengths[i / heads]) * D, to + i * larger * D);
      }
    }
  };

  // New memory for the output. What lies behind a row's tokens is not written, so that pages that are not needed yet do
  // not have to be there.
  static float* move(const mx::array& in, mx::array& out, mx::cpu::CommandEncoder& encoder, std::vector<Move>& moves) {
    allocate(out);
    if (in.size() == 0) return out.data<float>();
    const mx::array held = in_order(in, encoder);
    moves.push_back({held.data<float>(), out.data<float>(), in.shape(1), in.shape(2), out.shape(2), in.shape(3)});
    return out.data<float>();
  }

  // The output gets the input's memory, to write in; a copy of it where the input is a view with gaps.
  static float* take_over(const mx::array& in, mx::array& out, mx::cpu::CommandEncoder& encoder) {
    if (in.flags().row_contiguous) {
      out.copy_shared_buffer(in);
      return out.data<float>();
    }
    out.copy_shared_buffer(in_order(in, encoder));
    return out.data<float>();
  }

  std::shared_ptr<const Decoder> decoder_;
  Step step_;
};

Step checked_step(const std::vector<SegmentNumbers>& segments, const std::vector<int>& lengths, int rows, int capacity,
                  int tokens) {
  Step step{0, {}, {lengths.begin(), lengths.end()}};
  std::vector<bool> taken(lengths.size());
  for (const auto& [first, row, count, each] : segments) {
    const bool fits = first == step.tokens && row >= 0 && count > 0 && each > 0 && row + count <= rows &&
                      row + count <= static_cast<int>(lengths.size());
    if (!fits) refuse(NAME, "a segment does not fit the tokens before it or the rows of the cache");
    for (int r = row; r < row + count; r++) {
      if (taken[r]) refuse(NAME, "row " + std::to_string(r) + " is in two segments");
      taken[r] = true;
      if (lengths[r] >= 0 && lengths[r] + each <= capacity) continue;
      refuse(NAME, "row " + std::to_string(r) + " holds " + std::to_string(lengths[r]) + " tokens and gets " +
                       std::to_string(each) + "; there is room for " + std::to_string(capacity));
    }
    step.segments.push_back({first, row, count, each});
    step.tokens += count * each;
  }
  if (step.tokens != tokens) refuse(NAME, "the segments have other tokens than h");
  return step;
}

}  // namespace

Decoder::Decoder(int heads, int kv_heads, int head_dim, float eps, float scale, bool traditional,
                 std::vector<double> speeds, const std::vector<LayerArrays>& layers)
    : speeds_(std::move(speeds)) {
  if (layers.empty()) refuse(NAME, "there are no layers");
  if (kv_heads < 1 || heads % kv_heads != 0 || head_dim % 2 != 0 || head_dim > 256 ||
      speeds_.size() * 2 != static_cast<size_t>(head_dim)) {
    refuse(NAME, "heads, kv_heads, head_dim or RoPE's speeds do not fit each other");
  }
  const int E = std::get<0>(layers[0]).shape(0);
  const auto& first = std::get<4>(layers[0]);
  if (first.size() != WEIGHTS) refuse(NAME, "a layer has seven weights");
  const int F = first[4]->rows();
  const bool int8 = first[0]->int8();
  shape_ = {E, heads, kv_heads, head_dim, F, eps, scale, traditional, speeds_.data(), int8};
  const int wide = heads * head_dim, narrow = kv_heads * head_dim;
  for (const auto& [before_attention, before_mlp, of_queries, of_keys, linears] : layers) {
    if (linears.size() != WEIGHTS) refuse(NAME, "a layer has seven weights");
    DecoderLayer layer{};
    layer.before_attention = norm(before_attention, E);
    layer.before_mlp = norm(before_mlp, E);
    if (of_queries) layer.of_queries = norm(*of_queries, head_dim);
    if (of_keys) layer.of_keys = norm(*of_keys, head_dim);
    layer.q = linear(linears[0], E, wide);
    layer.k = linear(linears[1], E, narrow);
    layer.v = linear(linears[2], E, narrow);
    layer.o = linear(linears[3], wide, E);
    layer.gate = linear(linears[4], E, F);
    layer.up = linear(linears[5], E, F);
    layer.down = linear(linears[6], F, E);
    layers_.push_back(layer);
  }
}

mx::array Decoder::kept(const mx::array& a) {
  mx::array whole = mx::contiguous(a, false, mx::Device::cpu);
  whole.eval();
  arrays_.push_back(whole);
  return whole;
}

Norm Decoder::norm(const mx::array& weight, int width) {
  if (weight.ndim() != 1 || weight.shape(0) != width) {
    refuse(NAME, "a norm is " + describe(weight) + "; wanted [" + std::to_string(width) + "]");
  }
  const FloatType type = float_type(NAME, "norm", weight);
  return {kept(weight).data<void>(), type};
}

const Linear& Decoder::linear(const WeightPointer& weight, int columns, int rows) {
  if (weight->rows() != rows || weight->columns() != columns || weight->int8() != shape_.int8) {
    refuse(NAME, "a weight is [" + std::to_string(weight->rows()) + ", " + std::to_string(weight->columns()) +
                     "]; wanted [" + std::to_string(rows) + ", " + std::to_string(columns) +
                     "], and all with x in 8 bits or none");
  }
  weights_.push_back(weight);
  return weight->linear();
}

std::vector<mx::array> decode(const std::shared_ptr<const Decoder>& decoder, const mx::array& h,
                              const std::vector<mx::array>& keys, const std::vector<mx::array>& values,
                              const std::vector<SegmentNumbers>& segments, const std::vector<int>& lengths,
                              int capacity, mx::StreamOrDevice where) {
  const mx::Stream stream = cpu_stream(NAME, where);
  const DecoderShape& shape = decoder->shape();
  const size_t layers = decoder->layers().size();
  expect_float32(NAME, "h", h);
  if (h.ndim() == 0 || h.shape(-1) != shape.model) refuse(NAME, "h is " + describe(h));
  if (keys.size() != layers || values.size() != layers) {
    refuse(NAME, "keys and values of " + std::to_string(keys.size()) + " layers; wanted " + std::to_string(layers));
  }
  std::vector<mx::array> inputs{h};
  for (const auto* arrays : {&keys, &values}) {
    for (const mx::array& a : *arrays) {
      expect_float32(NAME, "keys and values", a);
      if (a.shape() != keys[0].shape() || a.ndim() != 4 || a.shape(1) != shape.kv_heads || a.shape(3) != shape.head_dim) {
        refuse(NAME, "keys or values are " + describe(a) + "; wanted [rows, kv_heads, capacity, D], alike in all layers");
      }
      inputs.push_back(a);
    }
  }
  const int rows = keys[0].shape(0);
  capacity = std::max(capacity, keys[0].shape(2));
  if (lengths.size() > static_cast<size_t>(rows)) refuse(NAME, "there are more lengths than rows in the cache");
  for (const int held : lengths) {
    if (held >= 0 && held <= keys[0].shape(2)) continue;
    refuse(NAME, "a row is said to hold " + std::to_string(held) + " tokens; its cache has room for " +
                     std::to_string(keys[0].shape(2)));
  }
  Step step = checked_step(segments, lengths, rows, capacity, rows_of(h));
  std::vector<mx::Shape> shapes{h.shape()};
  shapes.resize(inputs.size(), {rows, shape.kv_heads, capacity, shape.head_dim});
  std::vector<mx::Dtype> types(inputs.size(), mx::float32);
  return mx::array::make_arrays(std::move(shapes), types,
                                std::make_shared<Decode>(stream, decoder, std::move(step)), inputs);
}

}  // namespace course
