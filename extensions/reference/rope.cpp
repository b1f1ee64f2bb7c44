// RoPE: a token's cosines and sines are computed once and serve all of its heads.
#include "rope.h"

#include <algorithm>

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

// One token of one row, in all its heads.
void rotate(const float* x, ptrdiff_t x_head, float* out, ptrdiff_t out_head, const RopeSize& size,
            int position, const double* speeds, bool traditional) {
  const int half = size.dims / 2;
  const int stride = traditional ? 2 : 1, partner = traditional ? 1 : half;
  for (int i = 0; i < half; i += LANES) {
    const int n = std::min(LANES, half - i);
    double wide[LANES] = {};
    std::copy_n(speeds + i, n, wide);
    float cosine[LANES], sine[LANES];
    cos_sin(position, wide, cosine, sine);
    for (int h = 0; h < size.heads; h++) {
      const float* a = x + h * x_head + i * stride;
      float* to = out + h * out_head + i * stride;
      if (n == LANES && !traditional) {
        turn_halves(a, to, half, load(cosine), load(sine));
        continue;
      }
      for (int j = 0; j < n; j++, a += stride, to += stride) {
        turn(to, to + partner, cosine[j], sine[j], *a, a[partner]);
      }
    }
  }
  for (int h = 0; h < size.heads && out != x; h++) {
    std::copy(x + h * x_head + size.dims, x + h * x_head + size.D, out + h * out_head + size.dims);
  }
}

}  // namespace

void rope(const float* x, const RopeStrides& from, float* out, const RopeStrides& to, const RopeSize& size,
          const int32_t* positions, const double* speeds, bool traditional, Parallel& parallel) {
  const int tokens = size.batch * size.tokens;
  auto run = [&](int begin, int end) {
    for (int i = begin; i < end; i++) {
      const int b = i / size.tokens, l = i % size.tokens;
      rotate(x + b * from.batch + l * from.token, from.head, out + b * to.batch + l * to.token, to.head, size,
             positions[b] + l, speeds, traditional);
    }
  };
  if (static_cast<int64_t>(tokens) * size.heads * size.D < WORTH_SHARING) return run(0, tokens);
  const int tasks = std::min(tokens, 4 * parallel.workers());
  auto token_of = [&](int task) { return static_cast<int>(static_cast<int64_t>(tokens) * task / tasks); };
  parallel.for_each(tasks, [&](int task, int) { run(token_of(task), token_of(task + 1)); });
}

}  // namespace course
