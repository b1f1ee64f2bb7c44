// One layer of a Llama-like transformer over the tokens of many sequences. See decoder_layer.cpp for how.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "float_type.h"
#include "linear.h"
#include "parallel.h"
#include "turns.h"

namespace course {

struct Norm {
  const void* weight;  // null: no such norm
  FloatType type;
};

struct DecoderLayer {
  Norm before_attention, before_mlp;  // [E]
  Norm of_queries, of_keys;           // [D], of each head: Qwen3's
  Linear q, k, v, o, gate, up, down;
};

struct DecoderShape {
  int model;            // E, features of a token
  int heads, kv_heads;  // H, H_kv
  int head_dim;         // D
  int mlp;              // F
  float eps;             // of the norms
  float scale;           // of the scores
  bool traditional;      // RoPE's pairs: rope.h
  const double* speeds;  // [D / 2], radians a position
  bool int8;             // products with weights round their inputs to 8 bits first: digits.h
};

// A layer's keys and values, a row for each sequence, with room for `capacity` tokens each.
struct Room {
  float *keys, *values;  // [rows, kv_heads, capacity, D]
  int capacity;
};

// Tokens that stand next to each other in a step and belong to neighbouring rows, each with as many. A row is in one
// segment of a step at most.
struct Segment {
  int first;         // of the step's tokens
  int row, rows;     // of the room
  int tokens;        // a row
};

struct Step {
  int tokens;                     // M, of all segments together
  std::vector<Segment> segments;
  std::vector<int32_t> lengths;   // tokens that each row of the room holds before the step
  Turns turns{};                  // of its tokens: made by turn()

  // Makes the turns, into Turns::floats(tokens, shape.head_dim) floats, which stay with the step.
  void turn(const DecoderShape& shape, float* memory, Parallel& parallel);
};

// Floats of scratch memory that decoder_layer needs.
size_t decoder_layer_scratch(const DecoderShape& shape, const DecoderLayer& layer, const Step& step, int workers);

// Adds to each token what attention and the MLP make of it, and its key and value to the room.
//
//   h        [M, E], in and out
//   room     row r holds step.lengths[r] tokens; the step's follow them
//   scratch  decoder_layer_scratch(...) floats
//
// A token's result depends, to the last bit, on itself and the tokens before it in its row alone.
void decoder_layer(const DecoderShape& shape, const DecoderLayer& layer, const Step& step, const Room& room, float* h,
                   float* scratch, Parallel& parallel);

}  // namespace course
