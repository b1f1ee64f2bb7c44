#include "../reference/int8_matmul.h"

#include "drive.h"
#include "expect.h"

namespace course {

namespace {

struct Case {
  int M, N, K, bits, group_size;
};

// x as the kernel rounds it, by the definition.
std::vector<double> rounded(const std::vector<float>& x) {
  std::vector<double> result(x.size());
  for (size_t begin = 0; begin < x.size(); begin += ROUNDED_TOGETHER) {
    float most = 0;
    for (int i = 0; i < ROUNDED_TOGETHER; i++) most = std::fmax(most, std::fabs(x[begin + i]));
    const float unit = most / 127, inverse = most > 0 ? 127 / most : 0;
    for (int i = 0; i < ROUNDED_TOGETHER; i++) {
      result[begin + i] = static_cast<double>(unit) * std::nearbyint(x[begin + i] * inverse);
    }
  }
  return result;
}

void run(const Case& c, Random& random, Parallel& serial, Parallel& threads) {
  char name[120];
  std::snprintf(name, sizeof name, "int8_matmul M=%d N=%d K=%d bits=%d group=%d", c.M, c.N, c.K, c.bits, c.group_size);
  const int per_word = 32 / c.bits, groups = c.K / c.group_size;
  std::vector<uint32_t> words(static_cast<size_t>(c.N) * (c.K / per_word));
  for (uint32_t& word : words) word = random.bits();
  std::vector<float> scales(static_cast<size_t>(c.N) * groups), biases(scales.size());
  for (size_t g = 0; g < scales.size(); g++) {
    scales[g] = g % 7 == 0 ? 0 : random.uniform(0.001f, 0.02f);
    biases[g] = g % 11 == 0 ? 0 : -random.uniform(4, 8) * scales[g];
  }
  const Stored s = stored(scales, FloatType::float16), b = stored(biases, FloatType::float16);
  const QuantizedMatrix w{words.data(), s.bytes.data(), b.bytes.data(), FloatType::float16, c.N, c.K, c.group_size, c.bits};
  const std::vector<float> x = random.activations(c.M * c.K);
  const std::vector<double> r = rounded(x);

  std::vector<double> want(static_cast<size_t>(c.M) * c.N), tolerance(want.size());
  for (int m = 0; m < c.M; m++) {
    for (int n = 0; n < c.N; n++) {
      double sum = 0, size = 0;
      for (int k = 0; k < c.K; k++) {
        const size_t g = static_cast<size_t>(n) * groups + k / c.group_size;
        const uint32_t q = words[static_cast<size_t>(n) * (c.K / per_word) + k / per_word] >>
                               (k % per_word * c.bits) & ((1u << c.bits) - 1);
        sum += r[m * c.K + k] * (s.exact[g] * q + b.exact[g]);
        size += std::fabs(r[m * c.K + k]) * (std::fabs(s.exact[g] * q) + std::fabs(b.exact[g]));
      }
      want[static_cast<size_t>(m) * c.N + n] = sum;
      tolerance[static_cast<size_t>(m) * c.N + n] = 1e-30 + 4 * 0x1p-23 * size;
    }
  }

  std::vector<float> y(want.size()), first;
  for (Parallel* parallel : {&serial, &threads}) {
    std::fill(y.begin(), y.end(), NAN);
    std::vector<float> scratch(int8_matmul_scratch(c.M, w, parallel->workers()), NAN);
    int8_matmul(x.data(), c.K, w, y.data(), c.M, scratch.data(), *parallel);
    expect_close(name, y, want, tolerance);
    if (parallel == &serial) first = y;
  }
  expect_same_bits(std::string(name) + ", one thread and several", y.data(), first.data(), y.size());
  for (int m = 0; m < c.M; m += 1 + c.M / 3) {  // a row alone
    std::vector<float> alone(c.N), scratch(int8_matmul_scratch(1, w, 1), NAN);
    int8_matmul(x.data() + m * c.K, c.K, w, alone.data(), 1, scratch.data(), serial);
    expect_same_bits(std::string(name) + ", a row alone", alone.data(), y.data() + static_cast<size_t>(m) * c.N, c.N);
  }
}

}  // namespace

int drive_int8_matmul(Parallel& serial, Parallel& threads) {
  Random random(2);
  int cases = 0;
  for (int bits : {4, 8}) {
    for (int group_size : {32, 64, 128}) {
      for (int i = 0; i < 10; i++, cases++) {
        const int M = i < 5 ? i + 1 : 1 + random.below(40), N = 1 + random.below(i < 5 ? 20 : 150);
        run({M, N, (1 + random.below(768 / group_size)) * group_size, bits, group_size}, random, serial, threads);
      }
    }
  }
  run({0, 5, 64, 4, 32}, random, serial, threads);
  run({1, 1100, 576, 4, 32}, random, serial, threads);
  return cases + 2;
}

}  // namespace course
