// Checks one rung of quantized matmul: runs it on small problems and compares with the definition in double.
//
//   check_quantized_matmul RUNG memory    workers one after the other: for the address sanitizer
//   check_quantized_matmul RUNG races     workers on threads of their own: for the thread sanitizer
//
// Prints lines of tab-separated fields and ends at the first failure:
//
//   case KEY                                           a case begins; the one before it has passed
//   problem WORDS                                      what is multiplied now
//   differs M N GIVEN WANTED TOLERANCE WRONG ALL MISTAKE    y[M, N]; MISTAKE: the known one that gives all of y, or -
//   bits M N GIVEN ELSEWHERE                           another value with another number of workers
//   unshared TASKS WORKERS                             too few tasks for the workers
//   left WORDS                                         a part that is not written yet
//   done
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "../../reference/dot_tile.h"
#include "../../reference/quantized_matmul_ladder.h"
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
ARRAY(float, x)
ARRAY(uint32_t, words)
ARRAY(uint8_t, scales)
ARRAY(uint8_t, biases)
ARRAY(float, y)
ARRAY(float, scratch)
#undef ARRAY

}  // namespace arrays

namespace {

struct Size {
  int M, N, K, bits, group_size;
  FloatType type = FloatType::float32;
  int workers = 1;
  bool extreme = false;
};

[[noreturn]] void end() {
  std::fflush(stdout);
  std::_Exit(0);
}

template <class T>
T* filled(T* to, const std::vector<T>& from) {
  std::copy(from.begin(), from.end(), to);
  return to;
}

class Problem {
 public:
  Problem(const Size& size, Random& random) : size_(size), stride_(size.K + 3), blocks_(std::max(words(), LANES)) {
    const size_t groups = static_cast<size_t>(size.N) * size.K / size.group_size;
    std::vector<uint32_t> packed(static_cast<size_t>(size.N) * words());
    for (uint32_t& word : packed) word = random.bits();
    std::vector<float> scales(groups), biases(groups);
    for (size_t g = 0; g < groups; g++) {
      scales[g] = random.uniform(0.001f, 0.02f);
      biases[g] = -random.uniform(4, 8) * scales[g];
      if (size.extreme && g % 3 == 0) scales[g] = 0;  // a group of equal weights
      if (size.extreme && g % 3 == 1) scales[g] *= 5e4f, biases[g] *= 5e4f;
      if (size.extreme && g % 5 == 0) scales[g] = biases[g] = 0;  // a group of zeros
    }
    scales_ = stored(scales, size.type), biases_ = stored(biases, size.type);
    matrix_ = {filled(arrays::words(packed.size()), packed), filled(arrays::scales(scales_.bytes.size()), scales_.bytes),
               filled(arrays::biases(biases_.bytes.size()), biases_.bytes), size.type, size.N, size.K,
               size.group_size, size.bits};
    // Between the rows of x lie numbers that nobody may use.
    const size_t floats = size.M ? (size.M - 1) * stride_ + size.K : 0;
    x_ = arrays::x(floats);
    for (size_t i = 0; i < floats; i++) x_[i] = static_cast<int>(i % stride_) < size.K ? random.activation() : NAN;
    if (size.extreme) {
      for (size_t i = 0; i < floats; i += 7) x_[i] *= 1e4f;
    }
  }

  // y as the rung computes it, with this executor.
  std::vector<float> run(const QuantizedMatmulRung& rung, Assigned& executor) const {
    const size_t count = static_cast<size_t>(size_.M) * size_.N;
    const size_t floats = rung.scratch(size_.M, matrix_, executor.workers());
    float *y = arrays::y(count), *scratch = arrays::scratch(floats);
    std::fill(y, y + count, NAN);
    std::fill(scratch, scratch + floats, NAN);
    rung.run(x_, stride_, matrix_, y, size_.M, scratch, executor);
    return {y, y + count};
  }

  void compare(const std::vector<float>& y) const {
    size_t wrong = 0, first = 0;
    for (size_t i = y.size(); i-- > 0;) {
      if (!near(y[i], i, &Problem::right)) first = i, wrong++;
    }
    if (wrong == 0) return;
    const double tolerance = tolerance_of(first);
    std::printf("differs\t%zu\t%zu\t%.7g\t%.7g\t%.2g\t%zu\t%zu\t%s\n", first / size_.N, first % size_.N, y[first],
                value(first, &Problem::right), tolerance, wrong, y.size(), mistake(y));
    end();
  }

 private:
  // What a learner's kernel would add up for weight row n and the activation at index k of a row of x.
  using Term = double (Problem::*)(const float* x, int n, int k) const;

  int per_word() const { return 32 / size_.bits; }
  int words() const { return size_.K / per_word(); }
  uint32_t q(int n, int k) const {
    const uint32_t word = matrix_.words[static_cast<size_t>(n) * words() + k / per_word()];
    return word >> (k % per_word() * size_.bits) & ((1u << size_.bits) - 1);
  }
  size_t group(int n, int k) const { return static_cast<size_t>(n) * matrix_.groups_per_row() + k / size_.group_size; }
  double weight(int n, int k) const { return scales_.exact[group(n, k)] * q(n, k) + biases_.exact[group(n, k)]; }
  // The blocks that hold the word of weight k: the last one repeats words of the one before it.
  template <class Visit>
  void blocks_with(int k, Visit visit) const {
    const int word = k / per_word(), last = blocks_.count - 1;
    if (word < last * LANES) visit(word / LANES, word % LANES);
    if (word >= blocks_.first_word(last)) visit(last, word - blocks_.first_word(last));
  }
  // Where weight k meets a part of x that is not zero: the lane in the one block that counts.
  int lane(int k) const {
    const int word = k / per_word(), last = blocks_.count - 1;
    return word < last * LANES ? word % LANES : word - blocks_.first_word(last);
  }
  // x as it is arranged: weight `slot` of the word in `lane` of a block.
  double arranged(const float* x, int block, int slot, int lane) const {
    return lane < blocks_.repeated(block) ? 0 : x[(blocks_.first_word(block) + lane) * per_word() + slot];
  }
  int slot(int k) const { return k % per_word(); }

  double right(const float* x, int n, int k) const { return x[k] * weight(n, k); }
  double no_bias(const float* x, int n, int k) const { return x[k] * scales_.exact[group(n, k)] * q(n, k); }
  double no_scale(const float* x, int n, int k) const { return x[k] * (q(n, k) + biases_.exact[group(n, k)]); }
  double first_group(const float* x, int n, int k) const {  // of the row, instead of the block's
    const size_t g = group(n, 0) + lane(k) * per_word() / size_.group_size;
    return x[k] * (scales_.exact[g] * q(n, k) + biases_.exact[g]);
  }
  double nibbles_swapped(const float* x, int n, int k) const {
    const int mirrored = k - slot(k) + per_word() - 1 - slot(k);
    return x[k] * (scales_.exact[group(n, k)] * q(n, mirrored) + biases_.exact[group(n, k)]);
  }
  double one_lane(const float* x, int n, int k) const { return lane(k) == 0 ? right(x, n, k) : 0; }
  double one_weight(const float* x, int n, int k) const { return slot(k) == 0 ? right(x, n, k) : 0; }
  double half_of_word(const float* x, int n, int k) const { return slot(k) % 2 == 0 ? right(x, n, k) : 0; }
  double last_block(const float* x, int n, int k) const {
    return k / per_word() < (blocks_.count - 1) * LANES ? right(x, n, k) : 0;
  }
  double first_block_of_x(const float* x, int n, int k) const {
    double sum = 0;
    blocks_with(k, [&](int, int lane) { sum += arranged(x, 0, slot(k), lane) * weight(n, k); });
    return sum;
  }
  double same_row(const float* x, int n, int k) const { return x[k] * weight(n - n % 16 % TILE_COLUMNS, k); }
  double natural_order(const float* x, int n, int k) const {  // of the weights, where x is arranged
    double sum = 0;
    blocks_with(k, [&](int block, int lane) {
      const int place = lane * per_word() + slot(k);
      sum += arranged(x, block, place / LANES, place % LANES) * weight(n, k);
    });
    return sum;
  }

  double value(size_t i, Term term) const {
    double size;
    return value(i, term, size);
  }
  double value(size_t i, Term term, double& size) const {
    const float* x = x_ + i / size_.N * stride_;
    double sum = size = 0;
    for (int k = 0; k < size_.K; k++) {
      const double part = (this->*term)(x, static_cast<int>(i % size_.N), k);
      sum += part, size += std::fabs(part);
    }
    return sum;
  }
  // Of a sum of K products in float, in any order.
  double tolerance_of(size_t i) const {
    const int n = static_cast<int>(i % size_.N);
    const float* x = x_ + i / size_.N * stride_;
    double size = 0;
    for (int k = 0; k < size_.K; k++) {
      size += std::fabs(x[k]) * (std::fabs(weight(n, k)) + 2 * std::fabs(biases_.exact[group(n, k)]));
    }
    return 1e-30 + 12 * 0x1p-23 * size;
  }
  bool near(float given, size_t i, Term term) const {
    double size;
    const double wanted = value(i, term, size);
    return std::fabs(given - wanted) <= tolerance_of(i) + (term == &Problem::right ? 0 : 12 * 0x1p-23 * size);
  }

  const char* mistake(const std::vector<float>& y) const {
    if (rows_missing(y)) return "rows_missing";
    if (words() < LANES) return "-";
    const std::pair<const char*, Term> known[] = {
        {"no_bias", &Problem::no_bias}, {"no_scale", &Problem::no_scale}, {"first_group", &Problem::first_group},
        {"nibbles_swapped", &Problem::nibbles_swapped}, {"one_lane", &Problem::one_lane},
        {"one_weight", &Problem::one_weight}, {"half_of_word", &Problem::half_of_word},
        {"last_block", &Problem::last_block}, {"first_block_of_x", &Problem::first_block_of_x},
        {"same_row", &Problem::same_row}, {"natural_order", &Problem::natural_order},
    };
    for (const auto& [name, term] : known) {
      bool all = true;
      for (size_t i = 0; i < y.size() && all; i++) all = near(y[i], i, term);
      if (all) return name;
    }
    return "-";
  }
  // Are the columns of y right up to some row of W, and never written from there on?
  bool rows_missing(const std::vector<float>& y) const {
    int begin = 0;
    while (begin < size_.N && !std::isnan(y[begin])) begin++;
    if (begin == 0 || begin == size_.N) return false;
    for (size_t i = 0; i < y.size(); i++) {
      const bool missing = static_cast<int>(i % size_.N) >= begin;
      if (missing ? !std::isnan(y[i]) : !near(y[i], i, &Problem::right)) return false;
    }
    return true;
  }

  Size size_;
  ptrdiff_t stride_;
  Blocks blocks_;
  Stored scales_, biases_;
  QuantizedMatrix matrix_;
  float* x_;
};

const char* name_of(FloatType type) {
  return type == FloatType::float32 ? "float32" : type == FloatType::float16 ? "float16" : "bfloat16";
}

class Check {
 public:
  Check(const QuantizedMatmulRung& rung, bool threads) : rung_(rung), threads_(threads) {}

  void begin(const char* key) {
    std::printf("case\t%s\n", key);
    std::fflush(stdout);
  }

  std::vector<float> multiply(const Size& size, unsigned seed) {
    std::printf("problem\tM=%d N=%d K=%d, %d bits in groups of %d, scales in %s, %d worker%s\n", size.M, size.N, size.K,
                size.bits, size.group_size, name_of(size.type), size.workers, size.workers == 1 ? "" : "s");
    std::fflush(stdout);
    Random random(seed);
    const Problem problem(size, random);
    InTurn in_turn(size.workers);
    AtOnce at_once(size.workers);
    Assigned& executor = threads_ ? static_cast<Assigned&>(at_once) : in_turn;
    std::vector<float> y = problem.run(rung_, executor);
    problem.compare(y);
    tasks_ = executor.most_tasks;
    return y;
  }

  // The same problem with several numbers of workers: the same bits, and work for every worker.
  void share(Size size, unsigned seed) {
    size.workers = 1;
    const std::vector<float> alone = multiply(size, seed);
    for (int workers : {2, 5}) {
      size.workers = workers;
      const std::vector<float> shared = multiply(size, seed);
      for (size_t i = 0; i < alone.size(); i++) {
        if (std::memcmp(&alone[i], &shared[i], sizeof(float)) == 0) continue;
        std::printf("bits\t%zu\t%zu\t%.9g\t%.9g\n", i / size.N, i % size.N, shared[i], alone[i]);
        end();
      }
      if (tasks_ >= workers) continue;
      std::printf("unshared\t%d\t%d\n", tasks_, workers);
      end();
    }
  }

 private:
  const QuantizedMatmulRung& rung_;
  const bool threads_;
  int tasks_ = 0;
};

void memory(Check& check, bool shares) {
  check.begin("one_token");
  check.multiply({1, 5, 512, 4, 32}, 1);
  check.begin("groups");
  for (int group_size : {64, 128}) check.multiply({1, 6, 512, 4, group_size}, 2);
  check.begin("eight_bits");
  for (int group_size : {32, 64, 128}) check.multiply({1, 6, 512, 8, group_size}, 3);
  check.begin("ragged");
  for (int K : {160, 608, 96, 32}) {
    for (int bits : {4, 8}) check.multiply({1, 7, K, bits, 32}, 4);
  }
  check.begin("tokens");
  for (int M : {2, 3, 5, 8, 40}) check.multiply({M, 21, 160, 4, 32, FloatType::float32, 2}, 5);
  check.begin("half_scales");
  for (FloatType type : {FloatType::float16, FloatType::bfloat16}) check.multiply({2, 9, 320, 4, 64, type}, 6);
  check.begin("extremes");
  for (int bits : {4, 8}) check.multiply({3, 9, 320, bits, 32, FloatType::float32, 1, true}, 7);
  check.begin("empty");
  check.multiply({0, 5, 160, 4, 32, FloatType::float32, 3}, 8);
  check.multiply({4, 0, 160, 4, 32, FloatType::float32, 3}, 8);
  if (shares) {
    check.begin("workers");
    check.share({2, 300, 288, 4, 32}, 9);
    check.share({1, 515, 288, 8, 32}, 9);
    check.begin("few_rows");
    for (int N : {1, 3, 17}) check.multiply({2, N, 160, 4, 32, FloatType::float32, 8}, 10);
  }
  check.begin("any");
  Random random(11);
  for (int i = 0; i < 24; i++) {
    const int bits = i % 2 ? 8 : 4, group_size = 32 << random.below(3);
    const int M = 1 + random.below(i < 20 ? 12 : 200), N = 1 + random.below(40), groups = 1 + random.below(4);
    const auto type = static_cast<FloatType>(random.below(3));
    check.multiply({M, N, groups * group_size, bits, group_size, type, 1 + random.below(4)}, 100 + i);
  }
}

void races(Check& check) {
  check.begin("races");
  check.multiply({1, 515, 288, 8, 32, FloatType::float32, 4}, 9);
  check.multiply({4, 300, 288, 4, 32, FloatType::float16, 3}, 9);
  check.multiply({40, 130, 160, 4, 32, FloatType::float32, 4}, 9);
}

}  // namespace

}  // namespace course

int main(int argc, char** argv) {
  using namespace course;
  const std::string name = argc == 3 ? argv[1] : "", phase = argc == 3 ? argv[2] : "";
  const QuantizedMatmulRung* rung = quantized_matmul_rung(name.c_str());
  if (rung == nullptr || (phase != "memory" && phase != "races")) {
    std::printf("usage: check_quantized_matmul RUNG memory|races\n");
    return 2;
  }
  Check check(*rung, phase == "races");
  if (phase == "races") {
    races(check);
  } else {
    memory(check, name == "threads" || name == "tiles");
  }
  std::printf("done\n");
  end();
}
