#include "../reference/panel_matmul.h"

#include <deque>

#include "drive.h"
#include "every_level.h"
#include "random_matrix.h"
#include "rounded.h"

namespace course {

namespace {

struct Layer {
  RandomMatrix w;
  bool biased, adds;
};

struct Case {
  int M, K;
  Digits digits;
  std::vector<Layer> layers;  // all with as many bits
};

using Results = std::vector<std::vector<float>>;  // of each product: y [M, N]

// Several products at a time, in memory that is exactly as large as they need.
class Products {
 public:
  Products(const Case& c, Random& random, Parallel& parallel) : c_(c) {
    for (const Layer& layer : c.layers) {
      const RandomMatrix passing = layer.w;  // gone when they are used
      panels_.emplace_back(passing.matrix(), parallel);
      biases_.push_back(random.activations(layer.biased ? layer.w.rows : 0));
      before_.push_back(random.activations(layer.adds ? static_cast<size_t>(c.M) * layer.w.rows : 0));
    }
  }

  // y of each product, for `count` rows of x from `first` on.
  Results run(const float* x, ptrdiff_t stride, int first, int count, Parallel& parallel) const {
    Results y;
    std::vector<Product> products;
    for (size_t i = 0; i < c_.layers.size(); i++) {
      const size_t N = c_.layers[i].w.rows;
      if (c_.layers[i].adds) {
        y.emplace_back(before_[i].begin() + first * N, before_[i].begin() + (first + count) * N);
      } else {
        y.emplace_back(count * N, NAN);
      }
    }
    for (size_t i = 0; i < y.size(); i++) {
      const Layer& layer = c_.layers[i];
      products.push_back({&panels_[i], layer.biased ? biases_[i].data() : nullptr, y[i].data(), layer.adds});
    }
    const int bits = c_.layers[0].w.bits;
    std::vector<float> scratch(panel_matmul_scratch(count, c_.K, bits, c_.digits, parallel.workers()), NAN);
    panel_matmul(x + first * stride, stride, count, c_.K, products.data(), static_cast<int>(y.size()), c_.digits,
                 scratch.data(), parallel);
    return y;
  }

  double bias(size_t layer, int n) const { return c_.layers[layer].biased ? biases_[layer][n] : 0; }
  double before(size_t layer, size_t i) const { return c_.layers[layer].adds ? before_[layer][i] : 0; }

 private:
  const Case& c_;
  std::deque<Panels> panels_;
  Results biases_, before_;
};

// y by the definition, and how far floats may be from it.
//
// A chunk of 32 columns adds twice to a sum of floats: its product, and its offset's. The two are rounded themselves,
// once each step from integers to there: at most 8 steps, of which 5 sum the chunk's x. Then come bias and addition.
// Each rounds what it makes by half a unit in the last place, 2^-24, of no more than the sum of all magnitudes. (Where
// that is less than a normal float, by 2^-150, before it is multiplied with what is left of the integers.)
void by_definition(const Products& products, size_t layer, const RandomMatrix& w, const std::vector<Rounded>& x,
                   std::vector<double>& want, std::vector<double>& tolerance) {
  const int K = w.columns, steps = 2 * (K / 32) + 8 + 2;
  for (size_t m = 0; m < x.size(); m++) {
    for (int n = 0; n < w.rows; n++) {
      const double bias = products.bias(layer, n), before = products.before(layer, want.size());
      double sum = bias + before, size = std::fabs(bias) + std::fabs(before), tiny = 1;
      for (int k = 0; k < K; k++) {
        const double scaled = w.scaled(n, k), offset = w.offset(n, k), r = x[m].numbers[k];
        sum += r * (scaled + offset);
        size += std::fabs(r) * (std::fabs(scaled) + std::fabs(offset));
        tiny += std::fabs(x[m].integers[k]) * w.q(n, k) + std::fabs(offset) + 1;
      }
      want.push_back(sum);
      tolerance.push_back(steps * 0x1p-24 * size + 0x1p-150 * tiny);
    }
  }
}

std::string name_of(const Case& c) {
  std::string name = "panel_matmul M=" + std::to_string(c.M) + " K=" + std::to_string(c.K) +
                     " digits=" + std::to_string(static_cast<int>(c.digits)) + " bits=" +
                     std::to_string(c.layers[0].w.bits);
  for (const Layer& layer : c.layers) {
    name += ", N=" + std::to_string(layer.w.rows) + " group=" + std::to_string(layer.w.group_size) + " type=" +
            std::to_string(static_cast<int>(layer.w.type)) + (layer.biased ? " bias" : "") + (layer.adds ? " add" : "");
  }
  return name;
}

// Rows that hold a NaN or an infinity become NaN, whatever the weights.
bool is_finite(const float* row, int K) {
  for (int k = 0; k < K; k++) {
    if (!std::isfinite(row[k])) return false;
  }
  return true;
}

void expect_same(const std::string& what, const float* got, const float* want, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (!(std::isnan(got[i]) && std::isnan(want[i]))) expect_same_bits(what, got + i, want + i, 1);
  }
}

void run(const Case& c, const std::vector<float>& x, ptrdiff_t stride, Random& random, Parallel& serial,
         Parallel& threads) {
  const Products products(c, random, c.M % 2 ? serial : threads);
  std::vector<Rounded> r;
  for (int m = 0; m < c.M; m++) r.push_back(rounded(x.data() + m * stride, c.K, c.digits));

  Results first;
  at_every_level([&] {
    const std::string way = name_of(c) + ", " + course::name_of(byte_products());
    for (Parallel* parallel : {&serial, &threads}) {
      const std::string name = way + " with " + std::to_string(parallel->workers()) + " threads";
      const Results y = products.run(x.data(), stride, 0, c.M, *parallel);
      if (first.empty()) {
        for (size_t i = 0; i < y.size(); i++) {
          std::vector<double> want, tolerance;
          by_definition(products, i, c.layers[i].w, r, want, tolerance);
          expect_close(name, y[i], want, tolerance);
        }
        first = y;
      }
      for (size_t i = 0; i < y.size(); i++) {
        expect_same(name + ", against the first way", y[i].data(), first[i].data(), y[i].size());
      }
    }
    for (int m = 0; m < c.M; m += 1 + c.M / 3) {
      const Results alone = products.run(x.data(), stride, m, 1, serial);
      for (size_t i = 0; i < alone.size(); i++) {
        const size_t N = c.layers[i].w.rows;
        expect_same(way + ", a row alone", alone[i].data(), first[i].data() + m * N, N);
      }
    }
  });
  for (int m = 0; m < c.M; m++) {
    if (is_finite(x.data() + m * stride, c.K)) continue;
    for (size_t i = 0; i < first.size(); i++) {
      const size_t N = c.layers[i].w.rows;
      for (size_t n = 0; n < N; n++) {
        if (!std::isnan(first[i][m * N + n])) fail(name_of(c), "a NaN in x is lost");
      }
    }
  }
}

void run(const Case& c, Random& random, Parallel& serial, Parallel& threads) {
  const ptrdiff_t stride = c.K + 3;
  const std::vector<float> x = random.activations(c.M ? (c.M - 1) * stride + c.K : 0);
  run(c, x, stride, random, serial, threads);
}

constexpr FloatType TYPES[] = {FloatType::float16, FloatType::bfloat16, FloatType::float32};

// One to four layers, with N mostly no multiple of 16, in groups of all sizes that K allows.
std::vector<Layer> layers(Random& random, int count, int K, int bits, int group_size, FloatType type, int most_rows) {
  std::vector<Layer> result;
  for (int i = 0; i < count; i++) {
    if (i > 0) group_size = K % 64 == 0 && random.below(2) ? 64 : 32, type = TYPES[random.below(3)];
    RandomMatrix w(random, 1 + random.below(most_rows), K, bits, group_size, type);
    result.push_back({std::move(w), random.below(2) == 0, random.below(3) == 0});
  }
  return result;
}

// Rows that each are hard in a way of their own.
std::vector<float> extremes(Random& random, int M, int K) {
  std::vector<float> x = random.activations(static_cast<size_t>(M) * K);
  for (int m = 0; m < M; m++) {
    for (int k = 0; k < K; k++) {
      float& v = x[static_cast<size_t>(m) * K + k];
      switch (m % 10) {
        case 0: v = m % 20 ? -0.0f : 0; break;
        case 1: v *= 1e-40f; break;                                             // less than normal
        case 2: v *= k % 32 ? 1e-44f : 1e-37f; break;                           // about the smallest normal
        case 3: v *= 1e-30f; break;
        case 4: v *= 1e30f; break;
        case 5: v = k % K == 17 ? 1e6f : v; break;                              // an outlier
        case 6: v = k / 32 % 2 ? v : 0; break;                                  // chunks of zeros
        case 7: v = k % 32 == 5 ? 1 - 0x1p-24f : k % 32 == 6 ? -1 : v / 16; break;  // a power of two, just below
        case 8: v = k % 32 ? v / 16 : 0x7f77f7 * 0x1p-23f - (k % 64 ? 0 : 0x1p-24f); break;  // the most that fits, more
        case 9: v = std::copysign(m % 20 < 10 ? 127.0f : 0.99582f, v); break;   // all of them the largest
      }
    }
  }
  return x;
}

// A weight of ones in the diagonal: y is x as it was rounded, to the last bit.
void expect_exact_digits(const std::vector<float>& x, int M, int K, int bits, Digits digits, Random& random,
                         Parallel& serial) {
  RandomMatrix w(random, K, K, bits, 32, FloatType::float32);
  w.words.assign(w.words.size(), 0);
  for (int n = 0; n < K; n++) {
    const int per_word = 32 / bits;
    w.words[static_cast<size_t>(n) * (K / per_word) + n / per_word] = 1u << (n % per_word * bits);
  }
  const size_t groups = w.scales.exact.size();
  w.scales = stored(std::vector<float>(groups, 1), w.type), w.biases = stored(std::vector<float>(groups, 0), w.type);
  const Case c{M, K, digits, {{w, false, false}}};
  const Products products(c, random, serial);
  at_every_level([&] {
    const std::vector<float> y = products.run(x.data(), K, 0, M, serial)[0];
    for (int m = 0; m < M; m++) {
      const Rounded r = rounded(x.data() + m * K, K, digits);
      const std::vector<float> want(r.numbers.begin(), r.numbers.end());
      expect_same(std::string("x in digits, ") + course::name_of(byte_products()) + ", row " + std::to_string(m) +
                      ", digits=" + std::to_string(static_cast<int>(digits)) + " bits=" + std::to_string(bits),
                  y.data() + m * K, want.data(), K);
    }
  });
}

}  // namespace

int drive_panel_matmul(Parallel& serial, Parallel& threads) {
  Random random(2);
  int cases = 0;
  for (Digits digits : {Digits::one, Digits::three}) {
    for (int bits : {4, 8}) {
      for (FloatType type : TYPES) {
        for (int group_size : {32, 64, 128}) {
          for (int count : {1, 3}) {
            const int K = (1 + random.below(512 / group_size)) * group_size, M = 1 + random.below(count == 1 ? 6 : 40);
            run({M, K, digits, layers(random, count, K, bits, group_size, type, 60)}, random, serial, threads);
            cases++;
          }
        }
      }
      for (int M = 0; M <= 40; M++, cases++) {
        run({M, 96, digits, layers(random, 1 + M % 4, 96, bits, 32, TYPES[M % 3], 40)}, random, serial, threads);
      }
      for (int N : {0, 1, 16, 32, 515}) {
        for (int M : {1, 9}) {
          std::vector<Layer> some = layers(random, 3, 64, bits, 64, FloatType::float16, 20);
          some[1].w = RandomMatrix(random, N, 64, bits, 32, FloatType::float16);
          run({M, 64, digits, std::move(some)}, random, serial, threads);
          cases++;
        }
      }
      // Enough for several threads, and for several passes over the weights.
      run({3, 576, digits, layers(random, 2, 576, bits, 64, FloatType::float16, 300)}, random, serial, threads);
      run({70, 4096, digits, layers(random, 1, 4096, bits, 128, FloatType::float32, 33)}, random, serial, threads);

      for (int M : {10, 30}) {
        const std::vector<float> x = extremes(random, M, 128);
        for (FloatType type : TYPES) {
          run({M, 128, digits, layers(random, 2, 128, bits, 32, type, 40)}, x, 128, random, serial, threads);
        }
        expect_exact_digits(x, M, 128, bits, digits, random, serial);
        cases += 4;
      }
      // The largest floats, which a sum of several would exceed.
      std::vector<float> largest(12 * 64);
      for (int m = 0; m < 12; m++) {
        for (int k = 0; k < 64; k += 32) largest[m * 64 + k + m] = (m % 2 ? -1 : 1) * 2.8e37f * (m + 1);
      }
      expect_exact_digits(largest, 12, 64, bits, digits, random, serial);
      // What is not finite, in the rows of tiles and in those that are left, in the first chunk and in the last.
      for (int M : {3, 21}) {
        std::vector<float> x = random.activations(static_cast<size_t>(M) * 192);
        x[1 * 192 + 7] = NAN, x[(M - 1) * 192 + 191] = INFINITY;
        if (M > 10) x[5 * 192] = -INFINITY, x[6 * 192 + 100] = INFINITY, x[6 * 192 + 101] = -INFINITY;
        const Case c{M, 192, digits, layers(random, 2, 192, bits, 64, FloatType::float16, 40)};
        run(c, x, 192, random, serial, threads);
      }
      cases += 5;
    }
  }
  return cases;
}

}  // namespace course
