"""Wrong and right rungs of the Metal ladder."""

from ..native import native_mutant, native_rival

SIMD_SUM, ROWS, TILES, FEW = (f"quantized_matmul.metal.{name}" for name in ("simd_sum", "rows", "tiles", "few_tokens"))

# --- simd_sum ------------------------------------------------------------------------------------------------

LOOP = "for (uint i = lane; i < words_per_row; i += 32) {"
SCALE = "const float scale = scales[i * PER_WORD / GROUP], bias = biases[i * PER_WORD / GROUP];"
WEIGHT = "const float weight = scale * float(word >> (BITS * j) & MASK) + bias;"
ADD = "sum += float(x[i * PER_WORD + j]) * weight;"
SUM = "sum = simd_sum(sum);"
WRITE = "if (lane == 0) y[m * N + n] = T(sum);"
BY_SHUFFLES = "for (ushort far = {}; far > 0; far /= 2) sum += simd_shuffle_xor(sum, far);"

native_mutant(SIMD_SUM, "nibbles_swapped", (WEIGHT, WEIGHT.replace("BITS * j", "BITS * (PER_WORD - 1 - j)")))
native_mutant(SIMD_SUM, "no_bias", (WEIGHT, WEIGHT.replace(" + bias", "")))
native_mutant(SIMD_SUM, "first_group", (SCALE, "const float scale = scales[0], bias = biases[0];"))
native_mutant(SIMD_SUM, "half_sums", ("float sum = 0;", "T sum = T(0);"), (ADD, "sum += T(float(x[i * PER_WORD + j]) * weight);"))
native_mutant(SIMD_SUM, "half_the_lanes", (SUM, BY_SHUFFLES.format(8)))
native_mutant(SIMD_SUM, "one_lane", (SUM, ""))
native_mutant(SIMD_SUM, "last_round", (LOOP, "for (uint i = lane, round = 0; round < words_per_row / 32; round++, i += 32) {"))
native_mutant(SIMD_SUM, "past_row", (LOOP, "for (uint i = lane, round = 0; round < (words_per_row + 31) / 32; round++, i += 32) {"))
native_mutant(SIMD_SUM, "in_the_loop", (LOOP, "float whole = 0;\n  " + LOOP + "\n    sum = 0;"), ("      sum += float(x[i * PER_WORD + j]) * weight;\n    }", "      " + ADD + "\n    }\n    whole += simd_sum(sum);"), (SUM, "sum = whole;"))
native_mutant(SIMD_SUM, "each_lane_writes", (SUM, ""), (WRITE, WRITE.replace("if (lane == 0) ", "")))
native_mutant(SIMD_SUM, "missing_outputs", (WRITE, WRITE.replace("lane == 0", "lane == 0 && n % 4 == 0")))
native_mutant(SIMD_SUM, "endless", (LOOP, LOOP.replace("i += 32", "sum += 0")))
native_mutant(SIMD_SUM, None, (LOOP, LOOP.replace("i += 32", "i += 16")), name="words taken twice")
native_mutant(SIMD_SUM, None, (ADD, ADD.replace("sum", "summ")), name="does not compile")
native_mutant(SIMD_SUM, None, ("const uint word = words[i];", "const uint* place = words + i;\n    const uint word = *place;"), name="no address space")

native_rival(SIMD_SUM, (SUM, BY_SHUFFLES.format(16)), name="shuffles")
native_rival(SIMD_SUM, (WRITE, "y[m * N + n] = T(sum);"), name="every lane writes the sum")
native_rival(
    SIMD_SUM,
    (LOOP, "const uint share = (words_per_row + 31) / 32, end = min(words_per_row, (lane + 1) * share);\n  for (uint i = lane * share; i < end; i++) {"),
    name="a stretch a lane",
)  # fmt: skip

# --- rows ----------------------------------------------------------------------------------------------------

LEFT = "const uint rows = min(ROWS, N - n);"
PAIRS = "for (uint i = lane; i < pairs_per_row; i += 32) {"
DOT_X = "dot += mine[j] * float(pair.x >> (BITS * j) & MASK);"
DOT_Y = "dot += mine[PER_WORD + j] * float(pair.y >> (BITS * j) & MASK);"
GROUP = "const uint group = i * WEIGHTS / GROUP;"
SUMS = "sums[r] += float(scales[r * groups_per_row + group]) * dot + float(biases[r * groups_per_row + group]) * total;"
REDUCED = "const float sum = simd_sum(sums[r]);"
STORE = "if (lane == 0) y[r] = T(sum);"
BACKWARDS = ("BITS * j", "BITS * (PER_WORD - 1 - j)")

native_mutant(ROWS, "nibbles_swapped", (DOT_X, DOT_X.replace(*BACKWARDS)), (DOT_Y, DOT_Y.replace(*BACKWARDS)))
native_mutant(ROWS, "no_bias", (SUMS, SUMS.replace("* total", "* 0")))
native_mutant(ROWS, "bias_once", (SUMS, SUMS.replace(" * total", "")))
native_mutant(ROWS, "first_group", (GROUP, "const uint group = 0;"))
native_mutant(ROWS, "half_sums", ("float sums[ROWS] = {0, 0, 0, 0};", "T sums[ROWS] = {T(0), T(0), T(0), T(0)};"), (SUMS, SUMS.replace("sums[r] += ", "sums[r] += T(").replace("total;", "total);")))
native_mutant(ROWS, "half_the_lanes", (REDUCED, "float sum = sums[r];\n    " + BY_SHUFFLES.format(8)))
native_mutant(ROWS, "one_lane", (REDUCED, "const float sum = sums[r];"))
native_mutant(ROWS, "last_round", (PAIRS, "for (uint i = lane, round = 0; round < pairs_per_row / 32; round++, i += 32) {"))
native_mutant(ROWS, "past_last_row", (LEFT, "const uint rows = ROWS;"))
native_mutant(ROWS, "past_last_row", (REDUCED, "const float sum = simd_sum(sums[r]);\n    if (lane == 0) y[r + (n + ROWS > N)] = T(0);"), name="writes past it")
native_mutant(ROWS, "in_the_loop", (SUMS, SUMS.replace("sums[r] += ", "sums[r] += simd_sum(").replace("total;", "total);")), (REDUCED, "const float sum = sums[r];"))
native_mutant(ROWS, "each_lane_writes", (REDUCED, "const float sum = sums[r];"), (STORE, "y[r] = T(sum);"))
native_mutant(ROWS, "missing_outputs", (LEFT, "const uint rows = N - n < ROWS ? 0 : ROWS;"))
native_mutant(ROWS, "endless", (PAIRS, PAIRS.replace("i += 32", "sums[0] += 0")))
native_mutant(ROWS, None, (DOT_Y, ""), name="every second word")
native_mutant(ROWS, None, ("pairs[r * pairs_per_row + i]", "pairs[i]"), name="the first row for all")

native_rival(
    ROWS,
    (SUMS, "const float scale = scales[r * groups_per_row + group], bias = biases[r * groups_per_row + group];\n      sums[r] += scale * dot + bias * total;"),
    ("for (uint r = 0; r < rows; r++) {\n      const uint2 pair", "for (int r = rows - 1; r >= 0; r--) {\n      const uint2 pair"),
    name="last row first",
)  # fmt: skip
native_rival(
    ROWS,
    (DOT_X, "dot += mine[j] * (float(scales[r * groups_per_row + group]) * float(pair.x >> (BITS * j) & MASK) + float(biases[r * groups_per_row + group]));"),
    (DOT_Y, "dot += mine[PER_WORD + j] * (float(scales[r * groups_per_row + group]) * float(pair.y >> (BITS * j) & MASK) + float(biases[r * groups_per_row + group]));"),
    (SUMS, "sums[r] += dot;"),
    name="scaled weight by weight",
)  # fmt: skip

# --- tiles ---------------------------------------------------------------------------------------------------

FILL_X = "x_tile[i] = token < M ? x[token * K + k + i % TILE] : T(0);"
FILL_W = "w_tile[i * PER_WORD + j] = T(scale * float(word >> (BITS * j) & MASK) + bias);"
INSIDE = "if (row < N) {"
PLACE = "place = k / PER_WORD + i % TILE_WORDS;"
LOAD_W = "simdgroup_load(rows[a], w_tile + (first_row + 8 * a) * TILE + j, TILE, ulong2(0, 0), true);"
FILLED = "    threadgroup_barrier(mem_flags::mem_threadgroup);\n\n    // Part 2"
READ = "sums[a][b]);\n    }\n    threadgroup_barrier(mem_flags::mem_threadgroup);"
HALF = [
    ("simdgroup_float8x8 sums[2][2];", "simdgroup_matrix<T, 8, 8> sums[2][2];"),
    ("make_filled_simdgroup_matrix<float, 8, 8>(0.0f)", "make_filled_simdgroup_matrix<T, 8, 8>(T(0))"),
    ("threadgroup float y_tile", "threadgroup T y_tile"),
]

native_mutant(TILES, "nibbles_swapped", (FILL_W, FILL_W.replace(*BACKWARDS)))
native_mutant(TILES, "no_bias", (FILL_W, FILL_W.replace(" + bias", "")))
native_mutant(TILES, "first_group", ("scales[row * groups_per_row + place * PER_WORD / GROUP]", "scales[row * groups_per_row]"), ("biases[row * groups_per_row + place * PER_WORD / GROUP]", "biases[row * groups_per_row]"))
native_mutant(TILES, "half_sums", *HALF)
native_mutant(TILES, "no_barrier", (FILLED, "\n    // Part 2"), name="none after filling")
native_mutant(TILES, "no_barrier", (READ, "sums[a][b]);\n    }"), name="none after reading")
native_mutant(TILES, "no_barrier", (FILLED, FILLED.replace("threadgroup_barrier", "simdgroup_barrier")), name="a SIMD-group's")
native_mutant(TILES, "past_edge", (INSIDE, "{"))
native_mutant(TILES, "past_edge", (FILL_X, "x_tile[i] = x[token * K + k + i % TILE];"), name="tokens")
native_mutant(TILES, "not_filled", ("for (uint i = thread_index; i < TILE * TILE; i += THREADS) {\n      const uint token = m + i / TILE;\n      x_tile", "for (uint i = thread_index; i < TILE * TILE / 2; i += THREADS) {\n      const uint token = m + i / TILE;\n      x_tile"))
native_mutant(TILES, "not_filled", (FILL_X, "if (token < M) " + FILL_X), name="edge left as it was")
native_mutant(TILES, "not_transposed", (LOAD_W, LOAD_W.replace(", ulong2(0, 0), true", "")))
native_mutant(TILES, "too_large", ("threadgroup float y_tile[TILE * TILE];", "threadgroup float y_tile[8 * TILE * TILE];"))
native_mutant(TILES, None, ("for (uint j = 0; j < TILE; j += 8) {", "for (uint j = 0; j < TILE / 2; j += 8) {"), name="half of each step")
native_mutant(TILES, None, (FILL_W, FILL_W.replace("T(scale", "(scale")), name="float to bfloat")

native_rival(
    TILES,
    ("uint word = 0;\n      float scale = 0, bias = 0;\n      if (row < N) {\n        word =", "const bool inside = row < N;\n      const uint at = inside ? row : 0;\n      uint word = 0;\n      float scale = 0, bias = 0;\n      if (inside) {\n        word ="),
    name="asked once",
)  # fmt: skip
native_rival(
    TILES,
    ("for (uint a = 0; a < 2; a++)\n        for (uint b = 0; b < 2; b++) simdgroup_multiply_accumulate(sums[a][b], tokens[a], rows[b], sums[a][b]);",
     "for (uint c = 0; c < 4; c++) simdgroup_multiply_accumulate(sums[c / 2][c % 2], tokens[c / 2], rows[c % 2], sums[c / 2][c % 2]);"),
    name="one loop",
)  # fmt: skip

# --- few_tokens ----------------------------------------------------------------------------------------------

HERE = "const uint rows = min(ROWS, N - n), tokens = min(TOKENS, M - m);"
BOTH = "const float low = float(pair.x >> (BITS * j) & MASK), high = float(pair.y >> (BITS * j) & MASK);"
ALL = "sums[t][r] += scale * dots[t] + bias * totals[t];"
OUT = "const float sum = simd_sum(sums[t][r]);"
LAST = "if (lane == 0) y[t * N + r] = T(sum);"

native_mutant(FEW, "nibbles_swapped", (BOTH, BOTH.replace(*BACKWARDS)))
native_mutant(FEW, "no_bias", (ALL, ALL.replace(" + bias * totals[t]", "")))
native_mutant(FEW, "bias_once", (ALL, ALL.replace(" * totals[t]", "")))
native_mutant(FEW, "first_group", (GROUP, "const uint group = 0;"))
native_mutant(FEW, "half_sums", ("float sums[TOKENS][ROWS] = {};", "T sums[TOKENS][ROWS];\n  for (uint t = 0; t < TOKENS; t++)\n    for (uint r = 0; r < ROWS; r++) sums[t][r] = T(0);"), (ALL, "sums[t][r] += T(scale * dots[t] + bias * totals[t]);"))
native_mutant(FEW, "half_the_lanes", (OUT, "float sum = sums[t][r];\n      " + BY_SHUFFLES.format(8)))
native_mutant(FEW, "one_lane", (OUT, "const float sum = sums[t][r];"))
native_mutant(FEW, "last_round", (PAIRS, "for (uint i = lane, round = 0; round < pairs_per_row / 32; round++, i += 32) {"))
native_mutant(FEW, "past_last_row", (HERE, HERE.replace("min(ROWS, N - n)", "ROWS")))
native_mutant(FEW, "past_last_token", (HERE, HERE.replace("min(TOKENS, M - m)", "TOKENS")))
native_mutant(FEW, "first_token", ("vectors[t * K / 4 + i", "vectors[i"))
native_mutant(FEW, "in_the_loop", (ALL, "sums[t][r] += simd_sum(scale * dots[t] + bias * totals[t]);"), (OUT, "const float sum = sums[t][r];"))
native_mutant(FEW, "each_lane_writes", (OUT, "const float sum = sums[t][r];"), (LAST, LAST.replace("if (lane == 0) ", "")))
native_mutant(FEW, "missing_outputs", (HERE, HERE.replace("min(TOKENS, M - m)", "(M - m < TOKENS ? 0 : TOKENS)")))
native_mutant(FEW, "endless", (PAIRS, PAIRS.replace("i += 32", "sums[0][0] += 0")))

native_rival(FEW, (LAST, "y[t * N + r] = T(sum);"), name="every lane writes the sum")
native_rival(
    FEW,
    ("for (uint t = 0; t < tokens; t++) sums[t][r] += scale", "for (uint t = tokens; t-- > 0;) sums[t][r] += scale"),
    name="last token first",
)
