// RoPE: a token's cosines and sines are computed once and serve all of its heads.
#include "rope.h"

#include <algorithm>
#include <vector>

#include "vector.h"

namespace course {

namespace {

// Fewer elements than this are done before another thread has woken up.
constexpr int64_t WORTH_SHARING = 32'768;

typedef double Doubles __attribute__((vector_size(2 * VECTOR_BYTES)));

// Cosine and sine of position * speed for LANES speeds, to 2 units in the last place.
//
// At position 8,000 the nearest floats are half a thousandth of a radian apart, so the angle and what is
// left of it after whole quarter turns are computed in double. The rest, at most pi / 4, goes through
// the series of sine and cosine; the number of quarter turns says which is which and its sign.
void cos_sin(int position, const double* speeds, float* cosine, float* sine) {
  constexpr double QUARTERS = 0.63661977236758134308, QUARTER = 1.57079632679489661923;
  constexpr double ROUND = 6755399441055744.0;  // 1.5 * 2^52: adding it leaves no bits for a fraction
  Doubles angle;
  std::memcpy(&angle, speeds, sizeof angle);
  angle *= static_cast<double>(position);
  const Doubles turns = (angle * QUARTERS + ROUND) - ROUND;
  const Floats r = __builtin_convertvector(angle - turns * QUARTER, Floats);
  // Only the last two bits of the number of quarter turns count.
  const Doubles fours = (turns * 0.25 + ROUND) - ROUND;
  const Ints turn = __builtin_convertvector(turns - fours * 4.0, Ints) & 3;

  const Floats r2 = r * r;
  Floats s = r2 * (1.0f / 362880) - 1.0f / 5040;
  s = s * r2 + 1.0f / 120;
  s = s * r2 - 1.0f / 6;
  s = s * r2 * r + r;
  Floats c = r2 * (-1.0f / 3628800) + 1.0f / 40320;
  c = c * r2 - 1.0f / 720;
  c = c * r2 + 1.0f / 24;
  c = c * r2 - 0.5f;
  c = c * r2 + 1.0f;

  const Ints odd = (turn & 1) == 1;
  const Floats cos_size = select(odd, s, c), sin_size = select(odd, c, s);
  store(cosine, select((turn == 1) | (turn == 2), -cos_size, cos_size));
  store(sine, select(turn >= 2, -sin_size, sin_size));
}

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

// The token's turns, to [padded(dims)] cosines and sines.
void turns_of_token(int position, const double* speeds, int dims, float* cosines, float* sines) {
  const int half = dims / 2;
  for (int i = 0; i < half; i += LANES) {
    double wide[LANES] = {};
    std::copy_n(speeds + i, std::min(LANES, half - i), wide);
    cos_sin(position, wide, cosines + i, sines + i);
  }
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

// body(begin, end) for runs of tokens; on several threads if there is enough to do.
template <class Body>
void for_tokens(int tokens, int64_t work, Parallel& parallel, const Body& body) {
  if (work < WORTH_SHARING) return body(0, tokens);
  const int tasks = std::min(tokens, 4 * parallel.workers());
  auto token_of = [&](int task) { return static_cast<int>(static_cast<int64_t>(tokens) * task / tasks); };
  parallel.for_each(tasks, [&](int task, int) { body(token_of(task), token_of(task + 1)); });
}

}  // namespace

int Turns::padded(int dims) { return (dims / 2 + LANES - 1) / LANES * LANES; }

Turns turns_of(int batch, int tokens, const int32_t* positions, const double* speeds, int dims, float* memory,
               Parallel& parallel) {
  const int width = Turns::padded(dims), all = batch * tokens;
  float *cosines = memory, *sines = memory + static_cast<size_t>(all) * width;
  constexpr int LONGER = 8;  // than it takes to turn a pair
  for_tokens(all, static_cast<int64_t>(all) * width * LONGER, parallel, [&](int begin, int end) {
    for (int i = begin; i < end; i++) {
      const size_t at = static_cast<size_t>(i) * width;
      turns_of_token(positions[i / tokens] + i % tokens, speeds, dims, cosines + at, sines + at);
    }
  });
  return {width, cosines, sines};
}

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
