#include "../reference/quantized_matmul.h"

#include "drive.h"
#include "random_matrix.h"

namespace course {

namespace {

struct Case {
  int M, N, K, bits, group_size;
  FloatType type;
};

void run(const Case& c, Random& random, Parallel& serial, Parallel& threads) {
  char name[120];
  std::snprintf(name, sizeof name, "quantized_matmul M=%d N=%d K=%d bits=%d group=%d type=%d", c.M, c.N, c.K,
                c.bits, c.group_size, static_cast<int>(c.type));
  const RandomMatrix matrix(random, c.N, c.K, c.bits, c.group_size, c.type);
  const QuantizedMatrix w = matrix.matrix();

  const ptrdiff_t stride = c.K + 3;
  const std::vector<float> x = random.activations(c.M ? (c.M - 1) * stride + c.K : 0);
  std::vector<double> want(static_cast<size_t>(c.M) * c.N), tolerance(want.size());
  for (int m = 0; m < c.M; m++) {
    for (int n = 0; n < c.N; n++) {
      double sum = 0, size = 0;
      for (int k = 0; k < c.K; k++) {
        const double product = x[m * stride + k] * matrix.weight(n, k);
        sum += product;
        size += std::fabs(product) + std::fabs(x[m * stride + k] * matrix.offset(n, k));
      }
      want[static_cast<size_t>(m) * c.N + n] = sum;
      tolerance[static_cast<size_t>(m) * c.N + n] = 1e-30 + 4 * 0x1p-23 * size;
    }
  }

  std::vector<float> y(want.size());
  quantized_matmul_scalar(x.data(), stride, w, y.data(), c.M);
  expect_close(std::string(name) + " scalar", y, want, tolerance);

  std::vector<float> first(y.size());
  for (Parallel* parallel : {&serial, &threads}) {
    std::fill(y.begin(), y.end(), NAN);
    std::vector<float> scratch(quantized_matmul_scratch(c.M, w, parallel->workers()));
    quantized_matmul(x.data(), stride, w, y.data(), c.M, scratch.data(), *parallel);
    expect_close(name, y, want, tolerance);
    if (parallel == &serial) first = y;
  }
  expect_same_bits(std::string(name) + ", one thread and several", y.data(), first.data(), y.size());

  for (int m = 0; m < c.M; m += 1 + c.M / 3) {  // a row alone
    std::vector<float> alone(c.N), scratch(quantized_matmul_scratch(1, w, 1));
    quantized_matmul(x.data() + m * stride, stride, w, alone.data(), 1, scratch.data(), serial);
    expect_same_bits(std::string(name) + ", a row alone", alone.data(), y.data() + static_cast<size_t>(m) * c.N, c.N);
  }
}

}  // namespace

int drive_quantized_matmul(Parallel& serial, Parallel& threads) {
  Random random(1);
  int cases = 0;
  for (int bits : {4, 8}) {
    for (int group_size : {32, 64, 128}) {
      for (FloatType type : {FloatType::float16, FloatType::bfloat16, FloatType::float32}) {
        for (int i = 0; i < 10; i++, cases++) {
          const int M = i < 3 ? i + 1 : 1 + random.below(40), N = 1 + random.below(i < 5 ? 20 : 150);
          const int groups = 1 + random.below(768 / group_size);
          run({M, N, groups * group_size, bits, group_size, type}, random, serial, threads);
        }
      }
    }
  }
  run({0, 5, 64, 4, 32, FloatType::float32}, random, serial, threads);
  run({3, 0, 64, 4, 32, FloatType::float32}, random, serial, threads);
  run({1, 1100, 576, 4, 32, FloatType::float16}, random, serial, threads);
  run({70, 33, 4096, 4, 128, FloatType::float32}, random, serial, threads);
  return cases + 4;
}

}  // namespace course
