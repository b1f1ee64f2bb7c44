#include "../reference/attention_tile.h"

#include <algorithm>

#include "drive.h"
#include "expect.h"

namespace course {

namespace {

struct Tensor {
  std::vector<float> data;
  Heads strides;
};

// [B, H, T, D] inside a larger buffer with room for `room` tokens: what a slice of a cache looks like.
// `transposed`: stored as [B, T, H, D]. `spread`: every second number is a feature.
Tensor tensor(Random& random, int B, int H, int T, int D, int room, bool transposed, bool spread) {
  const ptrdiff_t feature = spread ? 2 : 1, row = D * feature;
  Tensor t;
  t.data = random.activations(static_cast<size_t>(B) * H * (T + room) * row);
  if (transposed) {
    t.strides = {t.data.data(), H * (T + room) * row, row, H * row, feature};
  } else {
    t.strides = {t.data.data(), H * (T + room) * row, (T + room) * row, row, feature};
  }
  // The last row ends where the buffer does.
  t.strides.data += transposed ? room * H * row : room * row;
  return t;
}

struct Case {
  AttentionSize size;
  Mask::Kind mask;
  bool transposed, spread, broadcast;
};

float at(const Heads& x, int b, int h, int t, int d) {
  return x.data[b * x.batch + h * x.head + t * x.token + d * x.feature];
}

void run(const Case& c, Random& random, Parallel& serial, Parallel& threads) {
  const auto [B, H, H_kv, L, S, D] = c.size;
  char name[160];
  std::snprintf(name, sizeof name, "attention B=%d H=%d H_kv=%d L=%d S=%d D=%d mask=%d transposed=%d spread=%d", B,
                H, H_kv, L, S, D, c.mask, c.transposed, c.spread);
  const Tensor q = tensor(random, B, H, L, D, 0, c.transposed, c.spread);
  const Tensor k = tensor(random, B, H_kv, S, D, 5, c.transposed, c.spread);
  const Tensor v = tensor(random, B, H_kv, S, D, 5, c.transposed, c.spread);
  Mask mask;
  mask.kind = c.mask;
  const int rows = c.broadcast ? 1 : B * H;
  std::vector<uint8_t> allowed(static_cast<size_t>(rows) * L * S);
  std::vector<float> added(allowed.size());
  for (size_t i = 0; i < allowed.size(); i++) {
    allowed[i] = random.below(3) > 0 && i / S % 5 != 3;  // every fifth query sees nothing
    added[i] = allowed[i] ? random.uniform(-3, 3) : -INFINITY;
  }
  mask.data = c.mask == Mask::boolean ? static_cast<const void*>(allowed.data()) : added.data();
  mask.key = 1, mask.query = S;
  if (!c.broadcast) mask.head = L * S, mask.batch = H * L * S;

  const float scale = 1 / std::sqrt(static_cast<float>(D));
  std::vector<double> want(static_cast<size_t>(B) * H * L * D), tolerance(want.size());
  for (int b = 0; b < B; b++) {
    for (int h = 0; h < H; h++) {
      for (int l = 0; l < L; l++) {
        std::vector<double> p(S, -INFINITY);
        double largest = -INFINITY, sum = 0;
        for (int s = 0; s < (c.mask == Mask::causal ? S - L + l + 1 : S); s++) {
          double score = 0;
          for (int d = 0; d < D; d++) score += static_cast<double>(at(q.strides, b, h, l, d)) * at(k.strides, b, h / (H / H_kv), s, d);
          const size_t i = b * mask.batch + h * mask.head + l * mask.query + s;
          p[s] = score * scale;
          if (c.mask == Mask::boolean && !allowed[i]) p[s] = -INFINITY;
          if (c.mask == Mask::additive) p[s] += added[i];
          largest = std::max(largest, p[s]);
        }
        for (double& x : p) sum += x = std::isinf(largest) ? 0 : std::exp(x - largest);
        for (int d = 0; d < D; d++) {
          double value = 0, size = 0;
          for (int s = 0; s < S; s++) {
            const double part = sum > 0 ? p[s] / sum * at(v.strides, b, h / (H / H_kv), s, d) : 0;
            value += part, size += std::fabs(part);
          }
          const size_t i = ((static_cast<size_t>(b) * H + h) * L + l) * D + d;
          want[i] = value;
          tolerance[i] = 1e-30 + (64 + S / 8) * 0x1p-23 * size;
        }
      }
    }
  }

  std::vector<float> out(want.size(), NAN), scores(S);
  const ptrdiff_t row = static_cast<ptrdiff_t>(L) * D;
  const HeadsOut to{out.data(), H * row, row, D};
  attention_naive(q.strides, k.strides, v.strides, to, mask, c.size, scale, scores.data());
  expect_close(std::string(name) + " naive", out, want, tolerance);

  std::vector<float> first;
  for (Parallel* parallel : {&serial, &threads}) {
    std::fill(out.begin(), out.end(), NAN);
    std::vector<float> scratch(attention_scratch(c.size, parallel->workers()));
    attention(q.strides, k.strides, v.strides, to, mask, c.size, scale, scratch.data(), *parallel);
    expect_close(name, out, want, tolerance);
    if (parallel == &serial) first = out;
  }
  expect_same_bits(std::string(name) + ", one thread and several", out.data(), first.data(), out.size());

  if (c.mask != Mask::causal || L < 2) return;
  // A query alone, with the keys up to its own: as if decoded token by token.
  for (int l : {0, L / 2, L - 1}) {
    const AttentionSize alone{B, H, H_kv, 1, S - L + l + 1, D};
    std::vector<float> result(static_cast<size_t>(B) * H * D), scratch(attention_scratch(alone, threads.workers()));
    Heads query = q.strides;
    query.data += l * query.token;
    attention(query, k.strides, v.strides, {result.data(), static_cast<ptrdiff_t>(H) * D, D, D}, mask, alone, scale, scratch.data(), threads);
    for (int i = 0; i < B * H; i++) {
      expect_same_bits(std::string(name) + ", a query alone", result.data() + i * D, out.data() + i * row + l * D, D);
    }
  }
}

}  // namespace

int drive_attention(Parallel& serial, Parallel& threads) {
  Random random(2);
  int cases = 0;
  for (Mask::Kind mask : {Mask::none, Mask::causal, Mask::boolean, Mask::additive}) {
    for (int D : {64, 128, 80, 20, 1}) {
      for (int i = 0; i < 6; i++, cases++) {
        const int H_kv = 1 + random.below(2), G = std::vector<int>{1, 3, 4, 8}[random.below(4)];
        const int L = i == 0 ? 1 : 1 + random.below(i < 5 ? 9 : 3 * QUERIES / G + 1);
        const int S = L + random.below(i < 3 ? 30 : 3 * KEYS);
        const AttentionSize size{1 + random.below(2), H_kv * G, H_kv, L, S, D};
        run({size, mask, i % 2 == 0, i % 3 == 2, i % 2 == 1}, random, serial, threads);
      }
    }
    // Several spans of keys, decoding and in a block.
    run({{1, 4, 2, 1, 1500, 64}, mask, false, false, true}, random, serial, threads);
    run({{1, 2, 1, 9, 1100, 32}, mask, true, false, false}, random, serial, threads);
    run({{1, 2, 2, 3, 70, 256}, mask, false, false, true}, random, serial, threads);
    cases += 3;
  }
  return cases;
}

}  // namespace course
