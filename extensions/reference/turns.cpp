// Cosines and sines to float precision, however far a token stands from the first.
#include "turns.h"

#include <algorithm>
#include <cstring>

#include "vector.h"

namespace course {

namespace {

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

}  // namespace

void turns_of_token(int position, const double* speeds, int dims, float* cosines, float* sines) {
  const int half = dims / 2;
  for (int i = 0; i < half; i += LANES) {
    double wide[LANES] = {};
    std::copy_n(speeds + i, std::min(LANES, half - i), wide);
    cos_sin(position, wide, cosines + i, sines + i);
  }
}

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

}  // namespace course
