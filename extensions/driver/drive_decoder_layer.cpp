#include "../reference/decoder_layer.h"

#include <algorithm>
#include <optional>

#include "drive.h"
#include "every_level.h"
#include "random_matrix.h"
#include "rounded.h"

namespace course {

namespace {

using Numbers = std::vector<double>;

// A linear layer, as the kernels take it and as the definition reads it.
class RandomLinear {
 public:
  RandomLinear(Random& random, int rows, int columns, int bits, int group_size, bool biased)
      : w_(random, rows, columns, bits, group_size, FloatType::float16, 4 / std::sqrt(static_cast<float>(columns))),
        bias_(biased ? random.activations(rows) : std::vector<float>()) {}

  Linear linear(Parallel& parallel) {
    if (!panels_) panels_.emplace(w_.matrix(), parallel);
    return {&*panels_, bias_.empty() ? nullptr : bias_.data()};
  }

  Numbers operator()(const Numbers& x, bool int8) const {
    const std::vector<float> floats(x.begin(), x.end());
    const Numbers taken = int8 ? rounded(floats.data(), w_.columns, Digits::one).numbers : x;
    Numbers y;
    for (int n = 0; n < w_.rows; n++) {
      double sum = bias_.empty() ? 0 : bias_[n];
      for (int k = 0; k < w_.columns; k++) sum += taken[k] * w_.weight(n, k);
      y.push_back(sum);
    }
    return y;
  }

 private:
  RandomMatrix w_;
  std::vector<float> bias_;
  std::optional<Panels> panels_;
};

struct Kind {
  const char* name;
  int model, heads, kv_heads, head_dim, mlp;
  int bits, other_bits, group_size;  // some weights have the other number of bits
  bool qkv_biases, other_biases, head_norms, traditional;
};

constexpr Kind KINDS[] = {
    {"llama", 96, 4, 2, 16, 160, 4, 4, 32, false, false, false, false},
    {"qwen2", 64, 4, 4, 16, 128, 8, 8, 64, true, false, false, true},
    {"qwen3", 64, 6, 2, 32, 96, 4, 8, 32, true, true, true, false},
};

constexpr float EPS = 1e-5f;

class RandomLayer {
 public:
  RandomLayer(const Kind& kind, Random& random)
      : kind_(kind), width_(kind.heads * kind.head_dim), kv_width_(kind.kv_heads * kind.head_dim) {
    auto linear = [&](int rows, int columns, bool other_bits, bool biased) {
      linears_.emplace_back(random, rows, columns, other_bits ? kind.other_bits : kind.bits, kind.group_size, biased);
    };
    linears_.reserve(7);
    linear(width_, kind.model, false, kind.qkv_biases);
    linear(kv_width_, kind.model, true, kind.qkv_biases);
    linear(kv_width_, kind.model, false, kind.qkv_biases);
    linear(kind.model, width_, true, kind.other_biases);
    linear(kind.mlp, kind.model, true, kind.other_biases);
    linear(kind.mlp, kind.model, false, kind.other_biases);
    linear(kind.model, kind.mlp, false, kind.other_biases);
    for (int width : {kind.model, kind.model, kind.head_dim, kind.head_dim}) {
      std::vector<float> weight(width);
      for (float& w : weight) w = random.uniform(0.5f, 2);
      norms_.push_back(stored(weight, FloatType::float32));
    }
    for (int i = 0; i < kind.head_dim / 2; i++) speeds_.push_back(std::pow(1e4, -2.0 * i / kind.head_dim));
  }

  DecoderShape shape(bool int8) const {
    return {kind_.model, kind_.heads, kind_.kv_heads, kind_.head_dim, kind_.mlp, EPS, scale(), kind_.traditional,
            speeds_.data(), int8};
  }
  DecoderLayer layer(Parallel& parallel) {
    auto norm = [&](int i, bool there) { return Norm{there ? norms_[i].bytes.data() : nullptr, FloatType::float32}; };
    auto linear = [&](int i) { return linears_[i].linear(parallel); };
    return {norm(0, true), norm(1, true), norm(2, kind_.head_norms), norm(3, kind_.head_norms), linear(0),
            linear(1),     linear(2),     linear(3),                 linear(4),                 linear(5), linear(6)};
  }

  // A token by the definition: h in and out. Appends its key and value, [kv_heads, D], to those before it.
  void token(Numbers& h, std::vector<Numbers>& keys, std::vector<Numbers>& values, bool int8) const {
    const int D = kind_.head_dim, position = static_cast<int>(keys.size());
    const Numbers n = normed(h, 0);
    Numbers q = linears_[0](n, int8), k = linears_[1](n, int8);
    for (int head = 0; head < kind_.heads; head++) turn(q, head * D, 2, position);
    for (int head = 0; head < kind_.kv_heads; head++) turn(k, head * D, 3, position);
    keys.push_back(k);
    values.push_back(linears_[2](n, int8));

    Numbers attended(width_);
    for (int head = 0; head < kind_.heads; head++) {
      const int shared = head / (kind_.heads / kind_.kv_heads);
      Numbers p;
      for (const Numbers& key : keys) {
        double score = 0;
        for (int d = 0; d < D; d++) score += q[head * D + d] * key[shared * D + d];
        p.push_back(score * scale());
      }
      const double largest = *std::max_element(p.begin(), p.end());
      double sum = 0;
      for (double& x : p) sum += x = std::exp(x - largest);
      for (size_t s = 0; s < p.size(); s++) {
        for (int d = 0; d < D; d++) attended[head * D + d] += p[s] / sum * values[s][shared * D + d];
      }
    }
    add(h, linears_[3](attended, int8));

    const Numbers m = normed(h, 1);
    Numbers gate = linears_[4](m, int8), up = linears_[5](m, int8);
    for (size_t i = 0; i < gate.size(); i++) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
    add(h, linears_[6](gate, int8));
  }

  const Kind& kind() const { return kind_; }
  int kv_width() const { return kv_width_; }

 private:
  float scale() const { return 1 / std::sqrt(static_cast<float>(kind_.head_dim)); }
  static void add(Numbers& to, const Numbers& x) {
    for (size_t i = 0; i < to.size(); i++) to[i] += x[i];
  }
  // `count` numbers of x from `first` on, divided by their root mean square.
  void normalise(Numbers& x, int first, int norm) const {
    const Numbers& weight = norms_[norm].exact;
    double sum = 0;
    for (size_t i = 0; i < weight.size(); i++) sum += x[first + i] * x[first + i];
    for (size_t i = 0; i < weight.size(); i++) x[first + i] *= weight[i] / std::sqrt(sum / weight.size() + EPS);
  }
  Numbers normed(Numbers x, int norm) const {
    normalise(x, 0, norm);
    return x;
  }
  // A head, at x[first] and up: its norm, if there is one, and RoPE.
  void turn(Numbers& x, int first, int norm, int position) const {
    if (kind_.head_norms) normalise(x, first, norm);
    for (int i = 0; i < kind_.head_dim / 2; i++) {
      double& a = x[first + (kind_.traditional ? 2 * i : i)];
      double& b = x[first + (kind_.traditional ? 2 * i + 1 : i + kind_.head_dim / 2)];
      const double angle = position * speeds_[i], before = a;
      a = before * std::cos(angle) - b * std::sin(angle);
      b = before * std::sin(angle) + b * std::cos(angle);
    }
  }

  const Kind& kind_;
  const int width_, kv_width_;
  std::vector<RandomLinear> linears_;  // q, k, v, o, gate, up, down
  std::vector<Stored> norms_;          // before attention and MLP, of queries and keys
  Numbers speeds_;
};

// What a step reads and writes.
struct State {
  std::vector<float> h, keys, values;
};

struct Problem {
  RandomLayer& layer;
  bool int8, floats;
  int capacity;
  Step step;
  State before;

  size_t line(int row, int head, int token) const {
    return ((static_cast<size_t>(row) * layer.kind().kv_heads + head) * capacity + token) * layer.kind().head_dim;
  }

  State run(Step some, State state, Parallel& parallel) const {
    const DecoderShape shape = layer.shape(int8);
    std::vector<float> turns(Turns::floats(some.tokens, shape.head_dim), NAN);
    some.turn(shape, turns.data(), parallel);
    const DecoderLayer weights = layer.layer(parallel);
    std::vector<float> scratch(decoder_layer_scratch(shape, weights, some, parallel.workers()), NAN);
    const Room room{state.keys.data(), state.values.data(), capacity};
    decoder_layer(shape, weights, some, room, state.h.data(), scratch.data(), parallel);
    return state;
  }
};

// Calls body(token of the step, row, token of the row's new ones).
template <class Body>
void for_each_token(const Step& step, Body&& body) {
  for (const Segment& segment : step.segments) {
    int token = segment.first;
    for (int row = segment.row; row < segment.row + segment.rows; row++) {
      for (int i = 0; i < segment.tokens; i++) body(token++, row, i);
    }
  }
}

// Floats lose a few units in the last place of the largest number of a token at each of a layer's dozen kernels.
constexpr double TOLERANCE = 64 * 0x1p-23;
// Where x is rounded to 8 bits, such a difference now and then rounds a number the other way: one unit of 127, of some
// of the many numbers that are summed. Few tokens may be off by that.
constexpr double ROUNDED_OTHERWISE = 0.05;

struct Tokens {
  int all = 0, rounded_otherwise = 0;
};

void expect_definition(const std::string& name, const Problem& p, const State& after, Tokens& tokens) {
  const int E = p.layer.kind().model, D = p.layer.kind().head_dim;
  std::vector<std::vector<Numbers>> keys(p.step.lengths.size()), values(keys.size());
  for (size_t row = 0; row < keys.size(); row++) {
    for (int t = 0; t < p.step.lengths[row]; t++) {
      for (auto [held, all] : {std::pair{&p.before.keys, &keys}, std::pair{&p.before.values, &values}}) {
        Numbers one;
        for (int head = 0; head < p.layer.kind().kv_heads; head++) {
          const float* from = held->data() + p.line(row, head, t);
          one.insert(one.end(), from, from + D);
        }
        (*all)[row].push_back(one);
      }
    }
  }
  auto close = [&](const char* what, const Numbers& want, const std::vector<float>& got) {
    double largest = 0;
    for (double w : want) largest = std::max(largest, std::fabs(w));
    const double most = p.int8 ? ROUNDED_OTHERWISE : TOLERANCE;
    expect_close(name + ", " + what, got, want, Numbers(want.size(), most * largest));
    for (size_t i = 0; i < want.size(); i++) {
      if (std::fabs(got[i] - want[i]) > TOLERANCE * largest) return false;
    }
    return true;
  };
  for_each_token(p.step, [&](int token, int row, int) {
    const float* from = p.before.h.data() + static_cast<size_t>(token) * E;
    Numbers h(from, from + E);
    p.layer.token(h, keys[row], values[row], p.int8);
    const float* to = after.h.data() + static_cast<size_t>(token) * E;
    if (p.int8) tokens.all++;
    if (!close("h", h, std::vector<float>(to, to + E))) tokens.rounded_otherwise++;
    for (auto [all, want] : {std::pair{&after.keys, &keys[row]}, std::pair{&after.values, &values[row]}}) {
      std::vector<float> got;
      for (int head = 0; head < p.layer.kind().kv_heads; head++) {
        const float* line = all->data() + p.line(row, head, static_cast<int>(want->size()) - 1);
        got.insert(got.end(), line, line + D);
      }
      close("keys and values", want->back(), got);
    }
  });
}

// Nothing but the step's own keys and values was written.
void expect_untouched(const std::string& name, const Problem& p, const State& after) {
  for (const auto& held : {&State::keys, &State::values}) {
    const std::vector<float>& was = p.before.*held;
    std::vector<float> restored = after.*held;
    for_each_token(p.step, [&](int, int row, int i) {
      for (int head = 0; head < p.layer.kind().kv_heads; head++) {
        const size_t line = p.line(row, head, p.step.lengths[row] + i);
        std::copy_n(was.data() + line, p.layer.kind().head_dim, restored.data() + line);
      }
    });
    if (std::memcmp(restored.data(), was.data(), was.size() * sizeof(float)) != 0) fail(name, "it wrote elsewhere");
  }
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Each row on its own, and token by token: the same bits.
void expect_rows_alone(const std::string& name, const Problem& p, const State& after, Parallel& parallel) {
  const int E = p.layer.kind().model;
  for (const Segment& segment : p.step.segments) {
    for (int r = 0; r < segment.rows; r++) {
      const size_t first = (static_cast<size_t>(segment.first) + r * segment.tokens) * E;
      for (int at_once : {segment.tokens, 1}) {
        State state = p.before;
        const std::vector<float> given(p.before.h.begin() + first, p.before.h.begin() + first + segment.tokens * E);
        std::vector<float> h;
        Step step{at_once, {{0, segment.row + r, 1, at_once}}, p.step.lengths};
        for (int t = 0; t < segment.tokens; t += at_once, step.lengths[segment.row + r] += at_once) {
          state.h.assign(given.begin() + t * E, given.begin() + (t + at_once) * E);
          state = p.run(step, state, parallel);
          h.insert(h.end(), state.h.begin(), state.h.end());
        }
        const std::string how = name + (at_once == 1 ? ", token by token" : ", a row alone");
        expect_same_bits(how, h.data(), after.h.data() + first, h.size());
        for (int head = 0; head < p.layer.kind().kv_heads; head++) {
          const size_t line = p.line(segment.row + r, head, p.step.lengths[segment.row + r]);
          const size_t count = static_cast<size_t>(segment.tokens) * p.layer.kind().head_dim;
          expect_same_bits(how + ", keys", state.keys.data() + line, after.keys.data() + line, count);
          expect_same_bits(how + ", values", state.values.data() + line, after.values.data() + line, count);
        }
      }
    }
  }
}

void run(Problem p, const char* steps, Random& random, Parallel& serial, Parallel& threads, Tokens& tokens) {
  const int D = p.layer.kind().head_dim;
  p.before.h = random.activations(static_cast<size_t>(p.step.tokens) * p.layer.kind().model);
  p.before.keys.assign(p.line(static_cast<int>(p.step.lengths.size()), 0, 0), NAN);
  p.before.values = p.before.keys;
  for (size_t row = 0; row < p.step.lengths.size(); row++) {
    for (int head = 0; head < p.layer.kind().kv_heads; head++) {
      for (auto* held : {&p.before.keys, &p.before.values}) {
        const std::vector<float> numbers = random.activations(static_cast<size_t>(p.step.lengths[row]) * D);
        std::copy(numbers.begin(), numbers.end(), held->begin() + p.line(row, head, 0));
      }
    }
  }
  const std::string name = std::string("decoder_layer ") + p.layer.kind().name + ", " + steps +
                           (p.int8 ? ", int8" : "") + (p.floats ? ", floats" : "");
  std::optional<State> first;
  at_every_level([&] {
    for (Parallel* parallel : {&serial, &threads}) {
      const std::string way =
          name + ", " + name_of(byte_products()) + " with " + std::to_string(parallel->workers()) + " threads";
      const State after = p.run(p.step, p.before, *parallel);
      if (!first) {
        expect_definition(way, p, after, tokens);
        expect_untouched(way, p, after);
        first = after;
      }
      if (!same(after.h, first->h) || !same(after.keys, first->keys) || !same(after.values, first->values)) {
        fail(way, "differs from the first way");
      }
    }
    expect_rows_alone(name + ", " + name_of(byte_products()), p, *first, serial);
  });
}

}  // namespace

int drive_decoder_layer(Parallel& serial, Parallel& threads) {
  Random random(6);
  const std::pair<const char*, Step> steps[] = {
      {"one token", {1, {{0, 0, 1, 1}}, {5}}},
      {"a prompt", {33, {{0, 0, 1, 33}}, {0}}},
      // Rows of their own lengths decode while the prompts of others are read; the last row is left alone.
      {"many rows", {19, {{0, 2, 1, 7}, {7, 3, 3, 1}, {10, 0, 2, 4}, {18, 6, 1, 1}}, {0, 3, 9, 1, 40, 0, 11, 4}}},
  };
  Tokens tokens;
  int cases = 0;
  for (const Kind& kind : KINDS) {
    RandomLayer layer(kind, random);
    for (const auto& [name, step] : steps) {
      const int capacity = *std::max_element(step.lengths.begin(), step.lengths.end()) + 35;
      for (auto [int8, floats] : {std::pair{false, false}, std::pair{false, true}, std::pair{true, false}}) {
        multiply_floats(floats);
        run({layer, int8, floats, capacity, step, {}}, name, random, serial, threads, tokens);
        cases++;
      }
    }
  }
  if (tokens.rounded_otherwise * 5 > tokens.all) fail("decoder_layer, int8", "too many tokens are not as defined");
  return cases;
}

}  // namespace course
