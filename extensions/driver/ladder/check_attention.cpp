// Checks one rung of attention: runs it on small problems and compares with the definition in double.
//
//   check_attention RUNG memory    workers one after the other: for the address sanitizer
//   check_attention RUNG races     workers on threads of their own: for the thread sanitizer
//
// Prints lines of tab-separated fields, as check_quantized_matmul.cpp does; of a result that differs the two places
// are "b, h, l" and d.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "../../reference/attention_ladder.h"
#include "../expect.h"
#include "executors.h"
#include "not_written.h"

namespace course {

void not_written(const char* what) {
  std::printf("left\t%s\n", what);
  std::fflush(stdout);
  std::_Exit(0);
}

// Every array in a block of memory of its own, of exactly its size, from a function with its name: by that
// name the sanitizer says which array an access missed.
namespace arrays {

#define ARRAY(type, name) \
  [[gnu::noinline]] type* name(size_t count) { return new type[count]; }
ARRAY(float, q)
ARRAY(float, k)
ARRAY(float, v)
ARRAY(float, out)
ARRAY(float, scratch)
#undef ARRAY

}  // namespace arrays

namespace {

constexpr int TILE = 64;   // keys in a tile of the rungs (attention_tile.h)
constexpr int BLOCK = 32;  // queries in a block, those of a key/value head's query heads next to each other
constexpr int SPAN = 512;  // keys in a span (attention.cpp)
constexpr double EPSILON = 0x1p-23;

enum class Scores { plain, rising, falling, extreme };

struct Case {
  AttentionSize size;
  Mask::Kind mask = Mask::none;
  Scores scores = Scores::plain;
  int workers = 1;
  bool transposed = false;  // stored as [B, T, H, D]
  bool spread = false;      // every second number is a feature
};

[[noreturn]] void end() {
  std::fflush(stdout);
  std::_Exit(0);
}

class Problem {
 public:
  Problem(const Case& c, Random& random) : case_(c), size_(c.size) {
    const auto [B, H, H_kv, L, S, D] = size_;
    scale_ = 1 / std::sqrt(static_cast<float>(D));
    q_ = tensor(arrays::q, H, L, random);
    k_ = tensor(arrays::k, H_kv, S, random);
    v_ = tensor(arrays::v, H_kv, S, random);
    if (c.scores != Scores::plain) shape_scores();
    mask_.kind = c.mask;
    mask_.key = 1, mask_.query = S, mask_.head = static_cast<ptrdiff_t>(L) * S, mask_.batch = H * mask_.head;
    allowed_.resize(static_cast<size_t>(B) * mask_.batch);
    added_.resize(allowed_.size());
    for (size_t i = 0; i < allowed_.size(); i++) {
      // Every fifth query sees nothing, and every seventh nothing of the first tile.
      allowed_[i] = random.below(3) > 0 && i / S % 5 != 3 && !(i / S % 7 == 1 && static_cast<int>(i % S) < TILE);
      added_[i] = allowed_[i] ? random.uniform(-3, 3) : -INFINITY;
    }
    mask_.data = c.mask == Mask::boolean ? static_cast<const void*>(allowed_.data()) : added_.data();
  }

  // The result of the rung with this executor, [B, H, L, D].
  std::vector<float> run(const AttentionRung& rung, Assigned& executor) const {
    const auto [B, H, H_kv, L, S, D] = size_;
    const size_t count = static_cast<size_t>(B) * H * L * D, floats = rung.scratch(size_, executor.workers());
    float *out = arrays::out(count), *scratch = arrays::scratch(floats);
    std::fill(out, out + count, NAN);
    std::fill(scratch, scratch + floats, NAN);
    const ptrdiff_t row = static_cast<ptrdiff_t>(L) * D;
    rung.run(q_, k_, v_, {out, H * row, row, D}, mask_, size_, scale_, scratch, executor);
    return {out, out + count};
  }

  void compare(const std::vector<float>& out) const {
    std::vector<double> wanted, tolerance;
    compute(&Problem::right, wanted, tolerance);
    size_t wrong = 0, first = 0;
    for (size_t i = out.size(); i-- > 0;) {
      if (!(std::fabs(out[i] - wanted[i]) <= tolerance[i])) first = i, wrong++;
    }
    if (wrong == 0) return;
    const auto [B, H, H_kv, L, S, D] = size_;
    const size_t row = first / D;
    std::printf("differs\t%zu, %zu, %zu\t%zu\t%.7g\t%.7g\t%.2g\t%zu\t%zu\t%s\n", row / L / H, row / L % H, row % L,
                first % D, out[first], wanted[first], tolerance[first], wrong, out.size(), mistake(out));
    end();
  }

 private:
  // How a learner's kernel would weight the values of one query: scores [S], -infinity where not seen, to weights
  // that need not sum to 1. `sum` divides. The values are those of the query's own key/value head, or of another.
  struct Weights {
    std::vector<double> of_key;
    double sum = 0;
    int values_batch = -1, values_head = -1;
  };
  using Rule = Weights (Problem::*)(int b, int h, int l) const;

  Heads tensor(float* (*make)(size_t), int heads, int tokens, Random& random) const {
    const ptrdiff_t feature = case_.spread ? 2 : 1, row = size_.head_dim * feature;
    const size_t count = static_cast<size_t>(size_.batch) * heads * tokens * row;
    // The last number used is the array's last.
    const size_t floats = count - (count ? feature - 1 : 0);
    float* data = make(floats);
    for (size_t i = 0; i < floats; i++) data[i] = i % feature ? NAN : random.activation();
    const ptrdiff_t batch = heads * tokens * row;
    if (case_.transposed) return {data, batch, row, heads * row, feature};
    return {data, batch, tokens * row, row, feature};
  }

  // Feature 0 alone decides: scores that rise or fall along the keys by 12, or swing between +-10,000.
  void shape_scores() {
    const int H = size_.heads, H_kv = size_.kv_heads, L = size_.queries, S = size_.keys;
    const bool extreme = case_.scores == Scores::extreme;
    each(q_, H, L, [&](float& x, int, int d) {
      if (d == 0) x = 1 / scale_;
      else if (extreme) x = 0;
    });
    each(k_, H_kv, S, [&](float& x, int s, int d) {
      if (d > 0) return;
      const float along = 12.0f * s / std::max(1, S - 1);
      x = extreme ? (s % 3 - 1) * 1e4f + s % 2 : case_.scores == Scores::rising ? along : -along;
    });
  }

  template <class Visit>
  void each(const Heads& t, int H, int T, Visit visit) const {
    for (int b = 0; b < size_.batch; b++) {
      for (int h = 0; h < H; h++) {
        for (int i = 0; i < T; i++) {
          for (int d = 0; d < size_.head_dim; d++) {
            visit(const_cast<float&>(t.data[b * t.batch + h * t.head + i * t.token + d * t.feature]), i, d);
          }
        }
      }
    }
  }

  static double at(const Heads& t, int b, int h, int i, int d) {
    return t.data[b * t.batch + h * t.head + i * t.token + d * t.feature];
  }
  int kv_head(int h) const { return h / (size_.heads / size_.kv_heads); }
  int visible(int l) const { return case_.mask == Mask::causal ? size_.keys - size_.queries + l + 1 : size_.keys; }

  // The scores of a query with all keys that it would see if `seen` of them were visible. `error`: what the largest
  // of them may be off by in float.
  std::vector<double> scores(int b, int h, int l, int seen, double* error = nullptr) const {
    std::vector<double> s(size_.keys, -INFINITY);
    for (int j = 0; j < std::clamp(seen, 0, size_.keys); j++) {
      double sum = 0, magnitude = 0;
      for (int d = 0; d < size_.head_dim; d++) {
        const double part = at(q_, b, h, l, d) * at(k_, b, kv_head(h), j, d) * scale_;
        sum += part, magnitude += std::fabs(part);
      }
      const size_t i = b * mask_.batch + h * mask_.head + l * mask_.query + j;
      if (case_.mask == Mask::boolean && !allowed_[i]) sum = -INFINITY;
      if (case_.mask == Mask::additive) sum += added_[i];
      s[j] = sum;
      if (error && !std::isinf(sum)) *error = std::max(*error, 3 * EPSILON * (magnitude + std::fabs(sum)));
    }
    return s;
  }
  static Weights softmax(const std::vector<double>& s) {
    Weights w{std::vector<double>(s.size(), 0.0)};
    const double largest = s.empty() ? -INFINITY : *std::max_element(s.begin(), s.end());
    for (size_t j = 0; j < s.size() && !std::isinf(largest); j++) w.sum += w.of_key[j] = std::exp(s[j] - largest);
    return w;
  }

  Weights right(int b, int h, int l) const { return softmax(scores(b, h, l, visible(l))); }
  Weights one_too_few(int b, int h, int l) const { return softmax(scores(b, h, l, visible(l) - 1)); }
  Weights one_too_many(int b, int h, int l) const { return softmax(scores(b, h, l, visible(l) + 1)); }
  Weights all_seen(int b, int h, int l) const { return softmax(scores(b, h, l, size_.keys)); }
  // The same, but no further than the last query of the block sees: later keys are not loaded for the block.
  int end_of_block(int h, int l) const {
    const int G = size_.heads / size_.kv_heads, row = l * G + h % G;
    const int last_row = std::min(row / BLOCK * BLOCK + BLOCK, size_.queries * G) - 1;
    return visible(last_row / G);
  }
  Weights one_too_many_in_block(int b, int h, int l) const {
    return softmax(scores(b, h, l, std::min(visible(l) + 1, end_of_block(h, l))));
  }
  Weights all_of_block(int b, int h, int l) const { return softmax(scores(b, h, l, end_of_block(h, l))); }
  Weights top_left(int b, int h, int l) const { return softmax(scores(b, h, l, l + 1)); }
  Weights last_tile(int b, int h, int l) const {  // whole tiles only
    std::vector<double> s = scores(b, h, l, visible(l));
    const int end = case_.mask == Mask::causal ? visible(size_.queries - 1) : size_.keys;
    for (int j = end / TILE * TILE; j < size_.keys; j++) s[j] = -INFINITY;
    return softmax(s);
  }
  // The parts of an online softmax. Every piece of `piece` keys is weighted relative to the largest score so far;
  // what was summed up before is multiplied as it should be, or not.
  Weights online(int b, int h, int l, bool rescale_sum, bool rescale_values, int piece = TILE) const {
    const std::vector<double> s = scores(b, h, l, visible(l));
    Weights w{std::vector<double>(s.size(), 0.0)};
    double largest = -INFINITY;
    for (int first = 0; first < size_.keys; first += piece) {
      const int last = std::min(first + piece, size_.keys);
      const double now = std::max(largest, *std::max_element(s.begin() + first, s.begin() + last));
      if (std::isinf(now)) continue;
      const double rescale = std::exp(largest - now);
      if (rescale_sum || std::isinf(largest)) w.sum *= rescale;
      if (rescale_values) for (int j = 0; j < first; j++) w.of_key[j] *= rescale;
      for (int j = first; j < last; j++) w.sum += w.of_key[j] = std::exp(s[j] - now);
      largest = now;
    }
    return w;
  }
  Weights no_rescale(int b, int h, int l) const { return online(b, h, l, false, false); }
  Weights values_not_rescaled(int b, int h, int l) const { return online(b, h, l, true, false); }
  Weights sum_not_rescaled(int b, int h, int l) const { return online(b, h, l, false, true); }
  // Only the last tile that has something to see is left.
  Weights last_tile_alone(int b, int h, int l) const {
    std::vector<double> s = scores(b, h, l, visible(l));
    int last = (size_.keys - 1) / TILE * TILE;
    auto nothing = [&](int first) {
      return std::all_of(s.begin() + first, s.begin() + std::min(first + TILE, size_.keys),
                         [](double x) { return std::isinf(x); });
    };
    while (last > 0 && nothing(last)) last -= TILE;
    std::fill(s.begin(), s.begin() + last, -INFINITY);
    return softmax(s);
  }
  // Each tile relative to its own largest score, and added as it is.
  Weights own_largest(int b, int h, int l) const {
    const std::vector<double> s = scores(b, h, l, visible(l));
    Weights w{std::vector<double>(s.size(), 0.0)};
    for (int first = 0; first < size_.keys; first += TILE) {
      const int last = std::min(first + TILE, size_.keys);
      const double largest = *std::max_element(s.begin() + first, s.begin() + last);
      if (std::isinf(largest)) continue;
      for (int j = first; j < last; j++) w.sum += w.of_key[j] = std::exp(s[j] - largest);
    }
    return w;
  }
  Weights first_span(int b, int h, int l) const {
    std::vector<double> s = scores(b, h, l, visible(l));
    std::fill(s.begin() + std::min(SPAN, size_.keys), s.end(), -INFINITY);
    return softmax(s);
  }
  Weights last_span(int b, int h, int l) const {
    std::vector<double> s = scores(b, h, l, visible(l));
    const int end = case_.mask == Mask::causal ? visible(size_.queries - 1) : size_.keys;
    std::fill(s.begin(), s.begin() + (end - 1) / SPAN * SPAN, -INFINITY);
    return softmax(s);
  }
  // The queries come scaled, and the scores are scaled once more; an additive mask is not.
  Weights scale_twice(int b, int h, int l) const {
    std::vector<double> s = scores(b, h, l, visible(l));
    for (int j = 0; j < size_.keys; j++) {
      const size_t i = b * mask_.batch + h * mask_.head + l * mask_.query + j;
      const double added = case_.mask == Mask::additive && !std::isinf(s[j]) ? added_[i] : 0;
      s[j] = (s[j] - added) * scale_ + added;
    }
    return softmax(s);
  }
  // The last block's result is stored as the first one's, and so on: right for another key/value head.
  Weights blocks_reversed(int b, int h, int l) const {
    const int H_kv = size_.kv_heads, G = size_.heads / H_kv;
    const int other = size_.batch * H_kv - 1 - (b * H_kv + h / G);
    Weights w = right(other / H_kv, other % H_kv * G + h % G, l);
    w.values_batch = other / H_kv, w.values_head = other % H_kv;
    return w;
  }
  Weights not_divided(int b, int h, int l) const {
    Weights w = right(b, h, l);
    w.sum = 1;
    return w;
  }

  // All of [B, H, L, D] by a rule, and what float arithmetic may be off by.
  void compute(Rule rule, std::vector<double>& out, std::vector<double>& tolerance) const {
    const auto [B, H, H_kv, L, S, D] = size_;
    out.clear(), tolerance.clear();
    for (int b = 0; b < B; b++) {
      for (int h = 0; h < H; h++) {
        for (int l = 0; l < L; l++) {
          const Weights w = (this->*rule)(b, h, l);
          double off = 0;
          scores(b, h, l, S, &off);
          const int values_batch = w.values_batch < 0 ? b : w.values_batch;
          const int values_head = w.values_head < 0 ? kv_head(h) : w.values_head;
          for (int d = 0; d < D; d++) {
            double value = 0, magnitude = 0;
            for (int s = 0; s < S; s++) {
              const double part = w.sum > 0 && w.of_key[s] > 0 ? w.of_key[s] / w.sum * at(v_, values_batch, values_head, s, d) : 0;
              value += part, magnitude += std::fabs(part);
            }
            out.push_back(value);
            tolerance.push_back(1e-30 + ((16 + S / 8) * EPSILON + 2 * off) * magnitude);
          }
        }
      }
    }
  }

  const char* mistake(const std::vector<float>& out) const {
    if (std::all_of(out.begin(), out.end(), [](float x) { return std::isnan(x); })) {
      const bool may_split = size_.queries * (size_.heads / size_.kv_heads) <= BLOCK && case_.workers > 1;
      return may_split ? "parts_missing" : "not_started";
    }
    const std::pair<const char*, Rule> known[] = {
        {"last_tile", &Problem::last_tile}, {"no_rescale", &Problem::no_rescale},
        {"no_rescale", &Problem::values_not_rescaled}, {"no_rescale", &Problem::sum_not_rescaled},
        {"not_carried", &Problem::last_tile_alone}, {"own_largest", &Problem::own_largest},
        {"one_too_few", &Problem::one_too_few}, {"one_too_many", &Problem::one_too_many},
        {"one_too_many", &Problem::one_too_many_in_block},
        {"no_mask", &Problem::all_seen}, {"no_mask", &Problem::all_of_block}, {"top_left", &Problem::top_left},
        {"first_span", &Problem::first_span},
        {"last_span", &Problem::last_span}, {"not_divided", &Problem::not_divided},
        {"scale_twice", &Problem::scale_twice}, {"wrong_head", &Problem::blocks_reversed},
    };
    for (const auto& [name, rule] : known) {
      std::vector<double> by_mistake, tolerance;
      compute(rule, by_mistake, tolerance);
      bool all = true;
      for (size_t i = 0; i < out.size() && all; i++) all = std::fabs(out[i] - by_mistake[i]) <= tolerance[i];
      if (all) return name;
    }
    // Queries without a key get zeros; NaN where the rest is right is a mistake of its own.
    std::vector<double> wanted, tolerance;
    compute(&Problem::right, wanted, tolerance);
    for (size_t i = 0; i < out.size(); i++) {
      if (!std::isnan(out[i]) && !(std::fabs(out[i] - wanted[i]) <= tolerance[i])) return "-";
    }
    return case_.mask == Mask::boolean || case_.mask == Mask::additive ? "nothing_seen" : "-";
  }

  Case case_;
  AttentionSize size_;
  float scale_;
  Heads q_, k_, v_;
  Mask mask_;
  std::vector<uint8_t> allowed_;
  std::vector<float> added_;
};

const char* name_of(Mask::Kind mask) {
  const char* const names[] = {"no mask", "causal", "boolean mask", "additive mask"};
  return names[mask];
}

class Check {
 public:
  Check(const AttentionRung& rung, bool threads) : rung_(rung), threads_(threads) {}

  void begin(const char* key) {
    std::printf("case\t%s\n", key);
    std::fflush(stdout);
  }

  std::vector<float> attend(const Case& c, unsigned seed) {
    const auto [B, H, H_kv, L, S, D] = c.size;
    std::printf("problem\tB=%d H=%d H_kv=%d L=%d S=%d D=%d, %s, %d worker%s\n", B, H, H_kv, L, S, D, name_of(c.mask),
                c.workers, c.workers == 1 ? "" : "s");
    std::fflush(stdout);
    Random random(seed);
    const Problem problem(c, random);
    InTurn in_turn(c.workers);
    AtOnce at_once(c.workers);
    Assigned& executor = threads_ ? static_cast<Assigned&>(at_once) : in_turn;
    std::vector<float> out = problem.run(rung_, executor);
    problem.compare(out);
    tasks_ = executor.most_tasks;
    return out;
  }

  // The same problem with several numbers of workers: the same bits, and work for every worker.
  void share(Case c, unsigned seed) {
    c.workers = 1;
    const std::vector<float> alone = attend(c, seed);
    for (int workers : {2, 5}) {
      c.workers = workers;
      const std::vector<float> shared = attend(c, seed);
      const auto [B, H, H_kv, L, S, D] = c.size;
      for (size_t i = 0; i < alone.size(); i++) {
        if (std::memcmp(&alone[i], &shared[i], sizeof(float)) == 0) continue;
        const size_t row = i / D;
        std::printf("bits\t%zu, %zu, %zu\t%zu\t%.9g\t%.9g\n", row / L / H, row / L % H, row % L, i % D, shared[i], alone[i]);
        end();
      }
      if (tasks_ >= workers) continue;
      std::printf("unshared\t%d\t%d\n", tasks_, workers);
      end();
    }
  }

 private:
  const AttentionRung& rung_;
  const bool threads_;
  int tasks_ = 0;
};

void memory(Check& check, bool shares) {
  check.begin("one_tile");
  for (int L : {1, 5}) check.attend({{1, 1, 1, L, 40, 64}}, 1);
  check.begin("ragged");
  for (int S : {1, 64, 65, 150}) check.attend({{1, 2, 2, 3, S, 64}}, 2);
  check.begin("rising");
  for (Scores scores : {Scores::rising, Scores::falling}) check.attend({{1, 1, 1, 4, 300, 64}, Mask::none, scores}, 3);
  check.begin("causal");
  check.attend({{1, 2, 2, 40, 40, 64}, Mask::causal}, 4);
  check.attend({{1, 2, 2, 70, 200, 64}, Mask::causal}, 4);
  check.begin("heads");
  for (int G : {3, 4, 8}) check.attend({{2, 2 * G, 2, 11, 90, 64}, Mask::causal}, 5);
  check.begin("widths");
  for (int D : {80, 96, 128, 20, 1}) check.attend({{1, 2, 1, 5, 70, D}}, 6);
  check.begin("masks");
  for (Mask::Kind mask : {Mask::boolean, Mask::additive}) check.attend({{2, 4, 2, 9, 150, 64}, mask}, 7);
  check.begin("extremes");
  check.attend({{1, 2, 1, 3, 200, 64}, Mask::none, Scores::extreme}, 8);
  check.attend({{1, 2, 1, 9, 150, 64}, Mask::causal, Scores::extreme}, 8);
  check.begin("strides");
  check.attend({{2, 3, 3, 4, 100, 64}, Mask::none, Scores::plain, 1, true}, 9);
  check.attend({{2, 6, 3, 4, 100, 80}, Mask::causal, Scores::plain, 1, true, true}, 9);
  if (shares) {
    check.begin("spans");
    check.attend({{1, 2, 1, 9, 1100, 32}, Mask::causal}, 10);
    check.attend({{1, 2, 1, 40, 600, 32}, Mask::none, Scores::rising}, 10);
    check.begin("workers");
    check.share({{1, 4, 2, 100, 120, 64}, Mask::causal}, 11);
    check.share({{1, 3, 1, 1, 2300, 32}}, 11);
    check.share({{2, 4, 2, 1, 600, 16}}, 11);
    check.share({{1, 6, 2, 1, 1700, 32}, Mask::additive, Scores::rising}, 11);
  }
  check.begin("any");
  Random random(12);
  for (int i = 0; i < 24; i++) {
    const int G = std::vector<int>{1, 3, 4, 8}[random.below(4)], H_kv = 1 + random.below(2);
    const int L = 1 + random.below(i < 20 ? 12 : 100), S = L + random.below(200);
    const int D = std::vector<int>{64, 80, 96, 128, 36}[random.below(5)];
    const auto mask = static_cast<Mask::Kind>(random.below(4));
    const bool transposed = random.below(2), spread = random.below(3) == 0;
    check.attend({{1 + random.below(2), H_kv * G, H_kv, L, S, D}, mask, Scores::plain, 1 + random.below(4), transposed, spread}, 100 + i);
  }
}

void races(Check& check) {
  check.begin("races");
  check.attend({{1, 4, 2, 100, 120, 64}, Mask::causal, Scores::plain, 4}, 13);
  check.attend({{1, 3, 1, 1, 2300, 32}, Mask::none, Scores::plain, 4}, 13);
}

}  // namespace

}  // namespace course

int main(int argc, char** argv) {
  using namespace course;
  const std::string name = argc == 3 ? argv[1] : "", phase = argc == 3 ? argv[2] : "";
  const AttentionRung* rung = attention_rung(name.c_str());
  if (rung == nullptr || (phase != "memory" && phase != "races")) {
    std::printf("usage: check_attention RUNG memory|races\n");
    return 2;
  }
  Check check(*rung, phase == "races");
  if (phase == "races") {
    races(check);
  } else {
    memory(check, name == "threads");
  }
  std::printf("done\n");
  end();
}
