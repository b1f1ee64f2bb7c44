// With x in bytes too, four products are one step of one lane (int8_dot.h), and a weight is never made a float:
//
//   sum over a word's k of r w = unit scale (sum of x_byte q) + bias (sum of r)
//
// The first sum is of integers, and exact. unit, scale and the last sum are the same for a word's weights, so a word
// costs two multiplications of floats, not sixteen. This is what llama.cpp does for all its quantized weights
// (https://github.com/ggml-org/llama.cpp/tree/master/ggml/src/ggml-cpu).
#include "int8_matmul.h"

#include <algorithm>
#include <cmath>

#include "int8_dot.h"
#include "packed_rows.h"

namespace course {

namespace {

constexpr int STRIP = 16;  // weight rows whose scales are turned to float together
// Fewer multiplications than this are done before another thread has woken up.
constexpr int64_t WORTH_SHARING = 100'000;

// Vectors of x for a block of LANES words: its bytes (of 4-bit weights those of even k, then those of odd k), the unit
// of each word and the sum of r over each word.
template <int BITS>
constexpr int BYTE_VECTORS = BITS == 4 ? 2 : 1;
template <int BITS>
constexpr int BLOCK = (BYTE_VECTORS<BITS> + 2) * LANES;

typedef uint8_t Bytes __attribute__((vector_size(VECTOR_BYTES)));
typedef uint16_t Pairs __attribute__((vector_size(2 * VECTOR_BYTES)));
typedef uint8_t Quarter __attribute__((vector_size(VECTOR_BYTES / 4)));

// x [K] to bytes [K] and units [K / 32].
void round_row(const float* x, int K, uint8_t* bytes, float* units) {
  constexpr float ROUND = 12582912.0f;  // 1.5 * 2^23: adding it leaves an integer in the lowest bits
  for (int k = 0; k < K; k += ROUNDED_TOGETHER, x += ROUNDED_TOGETHER) {
    Floats largest = {};
    for (int i = 0; i < ROUNDED_TOGETHER; i += LANES) {
      const Floats v = load(x + i);
      largest = maximum(largest, maximum(v, -v));
    }
    const float most = max_lanes(largest), inverse = most > 0 ? 127 / most : 0;
    units[k / ROUNDED_TOGETHER] = most / 127;
    for (int i = 0; i < ROUNDED_TOGETHER; i += LANES) {
      const Floats scaled = opaque(load(x + i) * inverse);  // not one with the addition: rounded alike everywhere
      const Words rounded = (Words)(scaled + ROUND);
      const Quarter narrow = __builtin_convertvector(rounded, Quarter);
      std::memcpy(bytes + k + i, &narrow, sizeof narrow);
    }
  }
}

// The row's bytes in the order in which words hold their weights: [block, vector of bytes, units and sums, lane].
template <int BITS>
void arrange_bytes(const uint8_t* bytes, const float* units, Blocks blocks, float* arranged) {
  for (int block = 0; block < blocks.count; block++, arranged += BLOCK<BITS>) {
    const int word = blocks.first_word(block), repeated = blocks.repeated(block);
    Words x[2];
    if constexpr (BITS == 4) {
      Pairs pairs;  // not by load(): plain x86-64 has no register as wide to return it in
      std::memcpy(&pairs, bytes + word * 8, sizeof pairs);
      const Bytes even = __builtin_convertvector(pairs, Bytes), odd = __builtin_convertvector(pairs >> 8, Bytes);
      x[0] = (Words)even, x[1] = (Words)odd;
    } else {
      x[0] = load<Words>(bytes + word * 4);
    }
    Ints sums = {};
    for (int i = 0; i < BYTE_VECTORS<BITS>; i++) {
      for (int lane = 0; lane < repeated; lane++) x[i][lane] = 0;
      sums = dot_bytes(Words{} + 0x01010101, x[i], sums);
      std::memcpy(arranged + i * LANES, &x[i], sizeof x[i]);
    }
    const Floats unit = spread<BITS>(units + word / BITS);  // 32 k are BITS words
    store(arranged + BYTE_VECTORS<BITS> * LANES, unit);
    store(arranged + (BYTE_VECTORS<BITS> + 1) * LANES, __builtin_convertvector(sums, Floats) * unit);
  }
}

// TOKENS tokens with ROWS weight rows, from row `first` of the strip on, not yet summed over the lanes.
template <int BITS, int GROUP_WORDS, int TOKENS, int ROWS>
ALWAYS_INLINE void dot_rounded(const float* arranged, size_t token_stride, Blocks blocks, const Strip& strip, int first,
                               Floats* sums) {
  const uint32_t* words = strip.words + static_cast<size_t>(first) * blocks.words;
  const float* scales = strip.scales + first * strip.groups;
  const float* biases = strip.biases + first * strip.groups;
  Floats total[TOKENS * ROWS] = {};
  for (int block = 0; block < blocks.count; block++, arranged += BLOCK<BITS>) {
    const int word = blocks.first_word(block), group = word / GROUP_WORDS;
    for (int byte = 0; byte < ROWS * VECTOR_BYTES; byte += 64) {
      __builtin_prefetch(reinterpret_cast<const char*>(words) + block * ROWS * VECTOR_BYTES + byte + AHEAD);
    }
    Words q[ROWS][2];
    Floats scale[ROWS], bias[ROWS];
    for (int r = 0; r < ROWS; r++) {
      const Words packed = load<Words>(words + static_cast<size_t>(r) * blocks.words + word);
      q[r][0] = BITS == 4 ? packed & 0x0f0f0f0f : packed;
      q[r][1] = packed >> 4 & 0x0f0f0f0f;
      scale[r] = spread<GROUP_WORDS>(scales + r * strip.groups + group);
      bias[r] = spread<GROUP_WORDS>(biases + r * strip.groups + group);
    }
    for (int t = 0; t < TOKENS; t++) {
      const float* x = arranged + t * token_stride;
      const Floats unit = load(x + BYTE_VECTORS<BITS> * LANES), sum = load(x + (BYTE_VECTORS<BITS> + 1) * LANES);
      for (int r = 0; r < ROWS; r++) {
        Ints products = {};
        for (int i = 0; i < BYTE_VECTORS<BITS>; i++) products = dot_bytes(q[r][i], load<Words>(x + i * LANES), products);
        Floats& to = total[t * ROWS + r];
        to += __builtin_convertvector(products, Floats) * unit * scale[r];
        to += sum * bias[r];
      }
    }
  }
  for (int i = 0; i < TOKENS * ROWS; i++) sums[i] = total[i];
}

// TOKENS tokens with the strip's rows: y [TOKENS, rows], N floats apart. ROWS: side by side; a divisor of 4.
template <int BITS, int GROUP_WORDS, int TOKENS, int ROWS>
void multiply_rounded(const float* arranged, size_t token_stride, Blocks blocks, const Strip& strip, int rows, float* y,
                      int N) {
  int n = 0;
  for (; n + 4 <= rows; n += 4) {
    Floats sums[TOKENS][4], part[TOKENS * ROWS];
    for (int r = 0; r < 4; r += ROWS) {
      dot_rounded<BITS, GROUP_WORDS, TOKENS, ROWS>(arranged, token_stride, blocks, strip, n + r, part);
      for (int i = 0; i < TOKENS * ROWS; i++) sums[i / ROWS][r + i % ROWS] = part[i];
    }
    for (int t = 0; t < TOKENS; t++) {
      const Floats four = sum_lanes(sums[t][0], sums[t][1], sums[t][2], sums[t][3]);
      for (int r = 0; r < 4; r++) y[static_cast<size_t>(t) * N + n + r] = four[r];
    }
  }
  for (; n < rows; n++) {
    Floats sums[TOKENS];
    dot_rounded<BITS, GROUP_WORDS, TOKENS, 1>(arranged, token_stride, blocks, strip, n, sums);
    for (int t = 0; t < TOKENS; t++) y[static_cast<size_t>(t) * N + n] = sum_lanes(sums[t]);
  }
}

float* aligned(float* p) { return p + (64 - reinterpret_cast<uintptr_t>(p) % 64) % 64 / sizeof(float); }

// Scratch memory: x in blocks; then for each worker a strip's scales and biases, and a row's bytes and units.
template <int BITS>
struct Scratch {
  size_t token, scales, bytes, units, per_worker;

  explicit Scratch(const QuantizedMatrix& w) {
    auto vectors = [](size_t floats) { return (floats + 2 * LANES - 1) / LANES * LANES; };
    token = static_cast<size_t>(Blocks(w.words_per_row()).count) * BLOCK<BITS>;
    scales = vectors(static_cast<size_t>(STRIP) * w.groups_per_row() + LANES);
    bytes = vectors(w.columns / 4);
    units = vectors(w.columns / ROUNDED_TOGETHER + LANES);
    per_worker = 2 * scales + bytes + units;
  }
  size_t floats(int M, int workers) const { return 16 + M * token + workers * per_worker; }
};

template <int BITS, int GROUP_WORDS>
void multiply(const float* x, ptrdiff_t x_stride, const QuantizedMatrix& w, float* y, int M, float* scratch,
              Parallel& parallel) {
  const Blocks blocks(w.words_per_row());
  const Scratch<BITS> layout(w);
  const int groups = w.groups_per_row(), N = w.rows;
  float* const arranged = aligned(scratch);
  float* const workers = arranged + M * layout.token;
  auto arrange_row = [&](int m, int worker) {
    float* mine = workers + worker * layout.per_worker + 2 * layout.scales;
    uint8_t* bytes = reinterpret_cast<uint8_t*>(mine);
    float* units = mine + layout.bytes;
    std::fill_n(units, layout.units, 0.0f);
    round_row(x + m * x_stride, w.columns, bytes, units);
    arrange_bytes<BITS>(bytes, units, blocks, arranged + m * layout.token);
  };
  if (M > 16) {
    parallel.for_each(M, arrange_row);
  } else {
    for (int m = 0; m < M; m++) arrange_row(m, 0);
  }

  const int wanted = 8 * parallel.workers();
  const int rows_a_task = std::max(1, (N / wanted + STRIP - 1) / STRIP) * STRIP;
  const int tasks = (N + rows_a_task - 1) / rows_a_task;
  auto task = [&](int index, int worker) {
    const int begin = index * rows_a_task, end = std::min(N, begin + rows_a_task);
    float* scales = workers + worker * layout.per_worker;
    float* biases = scales + layout.scales;
    for (int n = begin; n < end; n += STRIP) {
      const int rows = std::min(STRIP, end - n);
      const size_t group = static_cast<size_t>(n) * groups;
      to_floats(w.scales, w.scale_type, group, rows * groups, scales);
      to_floats(w.biases, w.scale_type, group, rows * groups, biases);
      const Strip strip{w.words + static_cast<size_t>(n) * blocks.words, scales, biases, groups};
      int m = 0;
      auto tokens = [&](auto multiply_of, int count) {
        multiply_of(arranged + m * layout.token, layout.token, blocks, strip, rows, y + static_cast<size_t>(m) * N + n, N);
        m += count;
      };
      while (m + 4 <= M) tokens(multiply_rounded<BITS, GROUP_WORDS, 4, 2>, 4);
      while (m < M) tokens(multiply_rounded<BITS, GROUP_WORDS, 1, ROWS_AT_ONCE>, 1);
    }
  };
  if (static_cast<int64_t>(M) * N * w.columns > WORTH_SHARING) {
    parallel.for_each(tasks, task);
  } else {
    for (int i = 0; i < tasks; i++) task(i, 0);
  }
}

// Rows of fewer words than a vector has lanes have no blocks.
bool too_short(const QuantizedMatrix& w) { return w.words_per_row() < LANES; }

// By the definition.
void multiply_short(const float* x, ptrdiff_t x_stride, const QuantizedMatrix& w, float* y, int M) {
  const int per_word = 32 / w.bits, K = w.columns, groups = w.groups_per_row();
  uint8_t bytes[LANES * 8];  // K is less
  float units[LANES * 8 / ROUNDED_TOGETHER];
  for (int m = 0; m < M; m++) {
    round_row(x + m * x_stride, K, bytes, units);
    for (int n = 0; n < w.rows; n++) {
      float sum = 0;
      for (int k = 0; k < K; k++) {
        const size_t group = static_cast<size_t>(n) * groups + k / w.group_size;
        float scale[2 * LANES], bias[2 * LANES];
        to_floats(w.scales, w.scale_type, group, 1, scale);
        to_floats(w.biases, w.scale_type, group, 1, bias);
        const uint32_t word = w.words[static_cast<size_t>(n) * w.words_per_row() + k / per_word];
        const float q = word >> (k % per_word * w.bits) & ((1u << w.bits) - 1);
        sum += units[k / ROUNDED_TOGETHER] * static_cast<int8_t>(bytes[k]) * (q * scale[0] + bias[0]);
      }
      y[static_cast<size_t>(m) * w.rows + n] = sum;
    }
  }
}

}  // namespace

size_t int8_matmul_scratch(int M, const QuantizedMatrix& w, int workers) {
  if (too_short(w)) return 0;
  return w.bits == 4 ? Scratch<4>(w).floats(M, workers) : Scratch<8>(w).floats(M, workers);
}

void int8_matmul(const float* x, ptrdiff_t x_stride, const QuantizedMatrix& w, float* y, int M, float* scratch,
                 Parallel& parallel) {
  if (M == 0 || w.rows == 0) return;
  if (too_short(w)) return multiply_short(x, x_stride, w, y, M);
  auto run = [&](auto kernel) { kernel(x, x_stride, w, y, M, scratch, parallel); };
  switch (w.bits * 1000 + w.group_size) {
    case 4032: return run(multiply<4, 4>);
    case 4064: return run(multiply<4, 8>);
    case 4128: return run(multiply<4, 16>);
    case 8032: return run(multiply<8, 8>);
    case 8064: return run(multiply<8, 16>);
    case 8128: return run(multiply<8, 32>);
  }
  __builtin_trap();  // callers check bits and group size
}

}  // namespace course
