#include "../reference/panel_floats.h"

#include "drive.h"
#include "expect.h"
#include "random_matrix.h"

namespace course {

namespace {

struct Case {
  int M, N, K, bits, group_size;
  FloatType type;
  bool biased, adds;
};

void run(const Case& c, Random& random, Parallel& serial, Parallel& threads) {
  const std::string name = "panel_floats M=" + std::to_string(c.M) + " N=" + std::to_string(c.N) + " K=" +
                           std::to_string(c.K) + " bits=" + std::to_string(c.bits) + " group=" +
                           std::to_string(c.group_size) + " type=" + std::to_string(static_cast<int>(c.type));
  const RandomMatrix w(random, c.N, c.K, c.bits, c.group_size, c.type);
  const Panels panels(w.matrix(), threads);
  const ptrdiff_t stride = c.K + 5;
  const size_t N = c.N;
  std::vector<float> x = random.activations(c.M * stride);
  const std::vector<float> before = random.activations(c.M * N), bias = random.activations(N);

  auto multiply = [&](int first, int count, Parallel& parallel) {
    std::vector<float> y(before.begin() + first * N, before.begin() + (first + count) * N);
    std::vector<float> scratch(panel_floats_scratch(count, c.K), NAN);
    // Another product before it: its panels are another's task.
    std::vector<float> other(count * N, NAN);
    const Product products[] = {{&panels, nullptr, other.data(), false},
                                {&panels, c.biased ? bias.data() : nullptr, y.data(), c.adds}};
    panel_floats(x.data() + first * stride, stride, count, c.K, products, 2, scratch.data(), parallel);
    return y;
  };

  // A chunk adds twice to a sum of floats, and is itself a sum of 32 products: 16 in each of two sums.
  const int steps = 2 * (c.K / 32) + 32 + 4;
  std::vector<double> want, tolerance;
  for (int m = 0; m < c.M; m++) {
    for (int n = 0; n < c.N; n++) {
      double sum = (c.biased ? bias[n] : 0) + (c.adds ? before[m * N + n] : 0);
      double size = std::fabs(bias[n]) + std::fabs(before[m * N + n]);
      for (int k = 0; k < c.K; k++) {
        const double v = x[m * stride + k];
        sum += v * (w.scaled(n, k) + w.offset(n, k));
        size += std::fabs(v) * (std::fabs(w.scaled(n, k)) + std::fabs(w.offset(n, k)));
      }
      want.push_back(sum);
      tolerance.push_back(steps * 0x1p-24 * size + 1e-30);
    }
  }
  const std::vector<float> y = multiply(0, c.M, serial);
  expect_close(name, y, want, tolerance);
  expect_same_bits(name + ", on several threads", multiply(0, c.M, threads).data(), y.data(), y.size());
  for (int m = 0; m < c.M; m += 1 + c.M / 4) {
    expect_same_bits(name + ", a row alone", multiply(m, 1, serial).data(), y.data() + m * N, N);
  }
  // A NaN reaches all of its row, and no other.
  x[c.M / 2 * stride + c.K - 1] = NAN;
  const std::vector<float> partly = multiply(0, c.M, threads);
  for (size_t i = 0; i < y.size(); i++) {
    if (static_cast<int>(i / N) != c.M / 2) {
      expect_same_bits(name + ", beside a NaN", &partly[i], &y[i], 1);
    } else if (!std::isnan(partly[i])) {
      fail(name, "a NaN in x is lost");
    }
  }
}

}  // namespace

int drive_panel_floats(Parallel& serial, Parallel& threads) {
  Random random(3);
  int cases = 0;
  for (int bits : {4, 8}) {
    for (FloatType type : {FloatType::float16, FloatType::bfloat16, FloatType::float32}) {
      for (int group_size : {32, 64, 128}) {
        for (int M : {1, 2, 3, 7, 8, 9, 19}) {
          const int N = 1 + random.below(70), K = (1 + random.below(3)) * group_size;
          run({M, N, K, bits, group_size, type, random.below(2) == 0, random.below(2) == 0}, random, serial, threads);
          cases++;
        }
      }
    }
    run({300, 33, 576, bits, 32, FloatType::float16, false, true}, random, serial, threads);  // several runs of tokens
    run({5, 515, 576, bits, 64, FloatType::float16, true, false}, random, serial, threads);
    cases += 2;
  }
  return cases;
}

}  // namespace course
