// RoPE: a token's cosines and sines are computed once and serve all of its heads.
#include "rope.h"

#include <algorithm>
#include <vector>

#include "vector.h"

namespace course {

namespace {

ALWAYS_INLINE void turn(float* first, float* second, float cosine, float sine, float a, float b) {
  *first = a * cosine - b * sine;
  *second = a * sine + b * cosine;
}

// LANES pairs whose features lie `half` apart.
ALWAYS_INLINE void turn_halves(const float* x, float* out, int half, Floats cosine, Floats sine) {
  const Floats a = load(x), b = load(x + half);
  store(out, a * cosine - b * sine);
  store(out + half, a * sine + b * cosine);
}

// One token of one row, in all its heads.
void rotate(const float* x, ptrdiff_t x_head, float* out, ptrdiff_t out_head, const RopeSize& size,
            const float* cosines, const float* sines, bool traditional) {
  const int half = size.dims / 2;
  const int stride = traditional ? 2 : 1, partner = traditional ? 1 : half;
  for (int i = 0; i < half; i += LANES) {
    const int n = std::min(LANES, half - i);
    for (int h = 0; h < size.heads; h++) {
      const float* a = x + h * x_head + i * stride;
      float* to = out + h * out_head + i * stride;
      if (n == LANES && !traditional) {
        turn_halves(a, to, half, load(cosines + i), load(sines + i));
        continue;
      }
      for (int j = 0; j < n; j++, a += stride, to += stride) {
        turn(to, to + partner, cosines[i + j], sines[i + j], *a, a[partner]);
      }
    }
  }
  for (int h = 0; h < size.heads && out != x; h++) {
    std::copy(x + h * x_head + size.dims, x + h * x_head + size.D, out + h * out_head + size.dims);
  }
}

}  // namespace

void apply_turns(const float* x, const RopeStrides& from, float* out, const RopeStrides& to, const RopeSize& size,
                 const Turns& turns, bool traditional, Parallel& parallel) {
  const int tokens = size.batch * size.tokens;
  for_tokens(tokens, static_cast<int64_t>(tokens) * size.heads * size.D, parallel, [&](int begin, int end) {
    for (int i = begin; i < end; i++) {
      const int b = i / size.tokens, l = i % size.tokens;
      const size_t at = static_cast<size_t>(i) * turns.width;
      rotate(x + b * from.batch + l * from.token, from.head, out + b * to.batch + l * to.token, to.head, size,
             turns.cosines + at, turns.sines + at, traditional);
    }
  });
}

void rope(const float* x, const RopeStrides& from, float* out, const RopeStrides& to, const RopeSize& size,
          const int32_t* positions, const double* speeds, bool traditional, Parallel& parallel) {
  const int tokens = size.batch * size.tokens;
  for_tokens(tokens, static_cast<int64_t>(tokens) * size.heads * size.D, parallel, [&](int begin, int end) {
    std::vector<float> turns(Turns::floats(1, size.dims));
    float *cosines = turns.data(), *sines = cosines + Turns::padded(size.dims);
    for (int i = begin; i < end; i++) {
      const int b = i / size.tokens, l = i % size.tokens;
      turns_of_token(positions[b] + l, speeds, size.dims, cosines, sines);
      rotate(x + b * from.batch + l * from.token, from.head, out + b * to.batch + l * to.token, to.head, size, cosines,
             sines, traditional);
    }
  });
}

}  // namespace course
