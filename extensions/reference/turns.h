// By how much RoPE turns tokens.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "parallel.h"

namespace course {

// Cosines and sines by which tokens are turned: those of a step serve the queries and keys of all layers.
struct Turns {
  int width;            // of a row: dims / 2, up to whole vectors
  const float* cosines;  // [tokens, width]
  const float* sines;

  static int padded(int dims);
  // Floats of memory for the turns of so many tokens.
  static size_t floats(int tokens, int dims) { return size_t{2} * tokens * padded(dims); }
};

// The turns of B rows of L tokens each, row after row, into Turns::floats(B * L, dims) floats. The other arguments: rope.h.
Turns turns_of(int batch, int tokens, const int32_t* positions, const double* speeds, int dims, float* memory,
               Parallel& parallel);

// One token's turns, to [padded(dims)] cosines and sines.
void turns_of_token(int position, const double* speeds, int dims, float* cosines, float* sines);

// body(begin, end) for runs of tokens; on several threads if there is enough to do, in elements that are turned.
template <class Body>
inline void for_tokens(int tokens, int64_t work, Parallel& parallel, const Body& body) {
  constexpr int64_t WORTH_SHARING = 32'768;  // fewer are done before another thread has woken up
  if (work < WORTH_SHARING) return body(0, tokens);
  const int tasks = std::min(tokens, 4 * parallel.workers());
  auto token_of = [&](int task) { return static_cast<int>(static_cast<int64_t>(tokens) * task / tasks); };
  parallel.for_each(tasks, [&](int task, int) { body(token_of(task), token_of(task + 1)); });
}

}  // namespace course
