// The kernels that treat each row by itself: rms_norm, swiglu, rope.
#include "../reference/rms_norm.h"
#include "../reference/rope.h"
#include "../reference/swiglu.h"
#include "drive.h"
#include "expect.h"

namespace course {

int drive_rms_norm(Parallel& serial, Parallel& threads) {
  Random random(3);
  int cases = 0;
  for (FloatType type : {FloatType::float16, FloatType::bfloat16, FloatType::float32}) {
    for (int D : {1, 7, 64, 128, 576, 1030}) {
      for (int M : {0, 1, 5, 100}) {
        const ptrdiff_t stride = D + 2;
        const std::vector<float> x = random.activations(M ? (M - 1) * stride + D : 0);
        std::vector<float> weight(D), out(static_cast<size_t>(M) * D), again(out.size());
        for (float& w : weight) w = random.uniform(0.5f, 2);
        const Stored w = stored(weight, type);
        rms_norm(x.data(), stride, w.bytes.data(), type, 1e-5f, out.data(), M, D, serial);
        rms_norm(x.data(), stride, w.bytes.data(), type, 1e-5f, again.data(), M, D, threads);
        std::vector<double> want, tolerance;
        for (int m = 0; m < M; m++) {
          double sum = 0;
          for (int d = 0; d < D; d++) sum += static_cast<double>(x[m * stride + d]) * x[m * stride + d];
          for (int d = 0; d < D; d++) {
            want.push_back(x[m * stride + d] / std::sqrt(sum / D + 1e-5) * w.exact[d]);
            tolerance.push_back(8 * 0x1p-23 * std::fabs(want.back()));
          }
        }
        expect_close("rms_norm", out, want, tolerance);
        expect_same_bits("rms_norm, one thread and several", again.data(), out.data(), out.size());
        cases++;
      }
    }
  }
  return cases;
}

int drive_swiglu(Parallel& serial, Parallel& threads) {
  Random random(4);
  int cases = 0;
  for (int D : {1, 5, 31, 1536}) {
    for (int M : {0, 1, 7, 60}) {
      const ptrdiff_t stride = D + 1;
      std::vector<float> gate = random.activations(M ? (M - 1) * stride + D : 0), up = random.activations(gate.size());
      const float extremes[] = {0, -0.0f, 1e4f, -1e4f, 87, -87, 88.5f, -88.5f, 1e30f, -1e30f, INFINITY, NAN};
      for (size_t i = 0; i < gate.size() && M == 7; i++) gate[i] = extremes[i % 12];
      std::vector<float> out(static_cast<size_t>(M) * D), again(out.size());
      swiglu(gate.data(), stride, up.data(), stride, out.data(), M, D, serial);
      swiglu(gate.data(), stride, up.data(), stride, again.data(), M, D, threads);
      std::vector<double> want, tolerance;
      for (int m = 0; m < M; m++) {
        for (int d = 0; d < D; d++) {
          const double g = gate[m * stride + d], u = up[m * stride + d];
          // As floats do: e^-g is infinite from 88.7 on.
          want.push_back(std::isinf(g) && g > 0 ? g * u : g < -88.7 ? 0 : g / (1 + std::exp(-g)) * u);
          tolerance.push_back(1e-35 + (g < -88 ? 1e-6 : 8 * 0x1p-23 * std::fabs(want.back())));
          if (std::isinf(want.back())) want.back() = tolerance.back() = 0, out[want.size() - 1] = 0, again[want.size() - 1] = 0;
        }
      }
      expect_close("swiglu", out, want, tolerance);
      for (size_t i = 0; i < out.size(); i++) {
        if (!std::isnan(out[i])) expect_same_bits("swiglu, one thread and several", &again[i], &out[i], 1);
      }
      cases++;
    }
  }
  return cases;
}

int drive_rope(Parallel& serial, Parallel& threads) {
  Random random(5);
  int cases = 0;
  for (bool traditional : {false, true}) {
    for (int D : {2, 18, 64, 96, 128}) {
      for (int i = 0; i < 6; i++, cases++) {
        const RopeSize size{1 + random.below(3), 1 + random.below(9), i == 5 ? 60 : 1 + random.below(6), D,
                            i % 2 ? D : 2 * (1 + random.below(D / 2))};
        const RopeStrides from{size.heads * size.tokens * D, D, size.heads * D}, to{size.heads * size.tokens * D, size.tokens * D, D};
        const std::vector<float> x = random.activations(static_cast<size_t>(size.batch) * from.batch);
        std::vector<float> out(x.size(), NAN), again(x.size());
        std::vector<int32_t> positions(size.batch);
        for (int32_t& p : positions) p = random.below(i < 3 ? 100 : 130'000) - (i == 4 ? 65'000 : 0);
        std::vector<double> speeds(size.dims / 2);
        for (size_t j = 0; j < speeds.size(); j++) speeds[j] = std::pow(1e5, -2.0 * j / size.dims);
        rope(x.data(), from, out.data(), to, size, positions.data(), speeds.data(), traditional, serial);
        rope(x.data(), from, again.data(), to, size, positions.data(), speeds.data(), traditional, threads);
        expect_same_bits("rope, one thread and several", again.data(), out.data(), out.size());
        std::vector<double> want(x.size()), tolerance(x.size(), 0);
        for (int b = 0; b < size.batch; b++) {
          for (int h = 0; h < size.heads; h++) {
            for (int l = 0; l < size.tokens; l++) {
              const float* token = x.data() + b * from.batch + h * from.head + l * from.token;
              const size_t at = b * to.batch + h * to.head + l * to.token;
              for (int d = size.dims; d < D; d++) want[at + d] = token[d];
              for (int j = 0; j < size.dims / 2; j++) {
                const int first = traditional ? 2 * j : j, second = traditional ? 2 * j + 1 : j + size.dims / 2;
                const double angle = (positions[b] + l) * speeds[j];
                want[at + first] = token[first] * std::cos(angle) - token[second] * std::sin(angle);
                want[at + second] = token[first] * std::sin(angle) + token[second] * std::cos(angle);
                tolerance[at + first] = tolerance[at + second] = 4 * 0x1p-23 * (std::fabs(token[first]) + std::fabs(token[second]));
              }
            }
          }
        }
        expect_close("rope", out, want, tolerance);
      }
    }
  }
  return cases;
}

}  // namespace course
