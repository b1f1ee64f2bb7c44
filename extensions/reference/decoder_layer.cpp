// A layer is a dozen kernels, one after the other: the same that are operations of their own, called here without
// anything between them. While a token is decoded each runs for some microseconds.
//
//   norm -> q, k, v -> norms of heads (Qwen3) -> RoPE -> keys and values into the room -> attention -> o -> add
//   norm -> gate, up -> SwiGLU -> down -> add
#include "decoder_layer.h"

#include <algorithm>

#include "attention.h"
#include "rms_norm.h"
#include "rope.h"
#include "swiglu.h"

namespace course {

namespace {

int longest(const Segment& segment, const Step& step) {
  const int32_t* held = step.lengths.data() + segment.row;
  return *std::max_element(held, held + segment.rows) + segment.tokens;
}

AttentionSize attention_size(const DecoderShape& shape, const Segment& segment, const Step& step) {
  return {segment.rows, shape.heads, shape.kv_heads, segment.tokens, longest(segment, step), shape.head_dim};
}

// Everything between two kernels lies in scratch memory.
struct Between {
  size_t queries, keys, mlp;  // floats of M tokens' queries, of their keys, of their MLP's inside

  Between(const DecoderShape& s, int M)
      : queries(size_t{1} * M * s.heads * s.head_dim),
        keys(size_t{1} * M * s.kv_heads * s.head_dim),
        mlp(size_t{1} * M * s.mlp) {}
  size_t floats(const DecoderShape& s, int M) const {
    return size_t{1} * M * s.model + std::max(2 * queries + 2 * keys, 2 * mlp);
  }
};

class Layer {
 public:
  Layer(const DecoderShape& shape, const DecoderLayer& layer, const Step& step, float* scratch, Parallel& parallel)
      : s_(shape), w_(layer), step_(step), M_(step.tokens), parallel_(parallel), sizes_(shape, M_) {
    normed_ = scratch;
    inside_ = normed_ + size_t{1} * M_ * s_.model;
    kernels_ = scratch + sizes_.floats(s_, M_);
  }

  void attend(const Room& room, float* h) {
    float *queries = inside_, *keys = queries + sizes_.queries, *values = keys + sizes_.keys;
    float* attended = values + sizes_.keys;
    norm(w_.before_attention, h, s_.model, M_, normed_);
    multiply(normed_, {{&w_.q, queries, false}, {&w_.k, keys, false}, {&w_.v, values, false}});
    norm(w_.of_queries, queries, s_.head_dim, M_ * s_.heads, queries);
    norm(w_.of_keys, keys, s_.head_dim, M_ * s_.kv_heads, keys);
    // No row is in two segments, so that their order does not matter.
    for (const Segment& segment : step_.segments) take_up(segment, queries, keys, values, room);
    for (const Segment& segment : step_.segments) attend(segment, queries, room, attended);
    multiply(attended, {{&w_.o, h, true}});
  }

  void feed_forward(float* h) {
    float *gate = inside_, *up = gate + sizes_.mlp;
    norm(w_.before_mlp, h, s_.model, M_, normed_);
    multiply(normed_, {{&w_.gate, gate, false}, {&w_.up, up, false}});
    swiglu(gate, s_.mlp, up, s_.mlp, gate, M_, s_.mlp, parallel_);
    multiply(gate, {{&w_.down, h, true}});
  }

 private:
  void norm(const Norm& norm, const float* x, int width, int rows, float* out) {
    if (norm.weight != nullptr) rms_norm(x, width, norm.weight, norm.type, s_.eps, out, rows, width, parallel_);
  }

  void multiply(const float* x, std::initializer_list<Output> outputs) {
    const int K = outputs.begin()->linear->columns();
    course::multiply(x, K, M_, outputs, s_.int8, kernels_, parallel_);
  }

  // RoPE, and the segment's keys and values to their places.
  void take_up(const Segment& segment, float* queries, float* keys, const float* values, const Room& room) {
    const int L = segment.tokens, D = s_.head_dim, width = s_.heads * D, kv_width = s_.kv_heads * D;
    const int32_t* starts = step_.lengths.data() + segment.row;
    const size_t first_turn = size_t{1} * segment.first * step_.turns.width;
    const Turns turns{step_.turns.width, step_.turns.cosines + first_turn, step_.turns.sines + first_turn};
    auto turn = [&](float* x, int heads) {
      const RopeStrides lie{ptrdiff_t{1} * L * heads * D, D, ptrdiff_t{1} * heads * D};
      apply_turns(x, lie, x, lie, {segment.rows, heads, L, D, D}, turns, s_.traditional, parallel_);
    };
    turn(queries + size_t{1} * segment.first * width, s_.heads);
    turn(keys + size_t{1} * segment.first * kv_width, s_.kv_heads);
    size_t token = segment.first;
    for (int r = 0; r < segment.rows; r++) {
      for (int l = 0; l < L; l++, token++) {
        for (int head = 0; head < s_.kv_heads; head++) {
          const size_t from = token * kv_width + size_t{1} * head * D;
          const size_t line = (size_t{1} * (segment.row + r) * s_.kv_heads + head) * room.capacity + starts[r] + l;
          std::copy_n(keys + from, D, room.keys + line * D);
          std::copy_n(values + from, D, room.values + line * D);
        }
      }
    }
  }

  void attend(const Segment& segment, const float* queries, const Room& room, float* attended) {
    const ptrdiff_t D = s_.head_dim, width = s_.heads * D, line = room.capacity * D, row = s_.kv_heads * line;
    const ptrdiff_t batch = segment.tokens * width;
    const Heads q{queries + segment.first * width, batch, D, width, 1};
    const Heads k{room.keys + segment.row * row, row, line, D, 1};
    const Heads v{room.values + segment.row * row, row, line, D, 1};
    std::vector<int32_t> keys(step_.lengths.begin() + segment.row, step_.lengths.begin() + segment.row + segment.rows);
    for (int32_t& held : keys) held += segment.tokens;
    Mask mask;
    mask.kind = Mask::causal;
    mask.lengths = keys.data();
    attention(q, k, v, {attended + segment.first * width, batch, D, width}, mask, attention_size(s_, segment, step_),
              s_.scale, kernels_, parallel_);
  }

  const DecoderShape& s_;
  const DecoderLayer& w_;
  const Step& step_;
  const int M_;
  Parallel& parallel_;
  const Between sizes_;
  float *normed_, *inside_, *kernels_;
};

}  // namespace

void Step::turn(const DecoderShape& shape, float* memory, Parallel& parallel) {
  std::vector<int32_t> positions;  // of each token: rows of a segment have starts of their own
  for (const Segment& segment : segments) {
    for (int r = 0; r < segment.rows; r++) {
      for (int l = 0; l < segment.tokens; l++) positions.push_back(lengths[segment.row + r] + l);
    }
  }
  turns = turns_of(tokens, 1, positions.data(), shape.speeds, shape.head_dim, memory, parallel);
}

size_t decoder_layer_scratch(const DecoderShape& shape, const DecoderLayer& layer, const Step& step, int workers) {
  const auto linears = {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down};
  size_t kernels = multiply_scratch(step.tokens, linears, shape.int8, workers);
  for (const Segment& segment : step.segments) {
    kernels = std::max(kernels, attention_scratch(attention_size(shape, segment, step), workers));
  }
  return Between(shape, step.tokens).floats(shape, step.tokens) + kernels;
}

void decoder_layer(const DecoderShape& shape, const DecoderLayer& layer, const Step& step, const Room& room, float* h,
                   float* scratch, Parallel& parallel) {
  Layer run(shape, layer, step, scratch, parallel);
  run.attend(room, h);
  run.feed_forward(h);
}

}  // namespace course
