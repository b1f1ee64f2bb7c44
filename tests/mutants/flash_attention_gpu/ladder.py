"""Wrong and right rungs of the Metal ladder of attention."""

from ..native import native_mutant, native_rival

SIMD_GROUP, TILES, MATRICES, SPLIT = (f"attention.metal.{name}" for name in ("simd_group", "tiles", "matrices", "split_keys"))
BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"

# --- one SIMD-group a query ------------------------------------------------------------------------------------

HEAD = "kv_head = b * H_kv + h / sharing;"
SEEN = "if (causal) seen = S - L + l + 1;"
SCORE = "score += mine[i] * float(keys[s * D + i * LANES + lane]);"
SUM_LANES = "score = simd_sum(score);"
NOW = "const float now = max(largest, score);"
UPDATE = "largest = now;"
SUM = "sum = sum * rescale + weight;"
WEIGHTED = "weighted[i] = weighted[i] * rescale + weight * float(values[s * D + i * LANES + lane]);"
WALK = "for (uint s = 0; s < seen; s++) {"
HALF_SUM = "for (ushort step = 8; step > 0; step /= 2) score += simd_shuffle_xor(score, step);"
DIVIDED = "T(weighted[i] / sum)"

native_mutant(SIMD_GROUP, "no_rescale", (SUM, "sum += weight;"), (WEIGHTED, WEIGHTED.replace("weighted[i] * rescale", "weighted[i]")))
native_mutant(SIMD_GROUP, "no_rescale", (WEIGHTED, WEIGHTED.replace("weighted[i] * rescale", "weighted[i]")), name="values not rescaled")
native_mutant(SIMD_GROUP, "no_rescale", (SUM, "sum += weight;"), name="sum not rescaled")
native_mutant(SIMD_GROUP, "not_carried", (UPDATE, ""))
native_mutant(SIMD_GROUP, "half_sums", (SUM_LANES, "score = float(T(simd_sum(score)));"), name="scores in half")
native_mutant(SIMD_GROUP, "half_sums", (WEIGHTED, WEIGHTED.replace("= weighted[i]", "= T(weighted[i]").replace("lane]);", "lane]));")))
native_mutant(SIMD_GROUP, "not_scaled", ("mine[i] = scale * float(", "mine[i] = float("))
native_mutant(SIMD_GROUP, "not_divided", (DIVIDED, "T(weighted[i])"))
native_mutant(SIMD_GROUP, "endless", (WALK, "for (uint s = 0; s < seen;) {"))
native_mutant(SIMD_GROUP, "past_keys", (SEEN, SEEN.replace("+ 1", "+ 2")), name="one too many, past the last key")
native_mutant(SIMD_GROUP, "one_too_many", (SEEN, "if (causal) seen = min(S, S - L + l + 2);"))
native_mutant(SIMD_GROUP, "one_too_few", (SEEN, SEEN.replace(" + 1", "")))
native_mutant(SIMD_GROUP, "no_mask", (SEEN, ""))
native_mutant(SIMD_GROUP, "top_left", (SEEN, "if (causal) seen = l + 1;"))
native_mutant(SIMD_GROUP, "half_the_lanes", (SUM_LANES, HALF_SUM))
native_mutant(SIMD_GROUP, "one_lane", (SUM_LANES, ""))
native_mutant(SIMD_GROUP, "in_a_branch", (SUM_LANES, "if (lane < 16) score = simd_sum(score);"))
native_mutant(SIMD_GROUP, "wrong_head", (HEAD, "kv_head = b * H_kv + h % H_kv;"))
native_mutant(SIMD_GROUP, "wrong_head", (HEAD, "kv_head = h / sharing;"), name="no batch entry")
native_mutant(SIMD_GROUP, "wrong_head", (HEAD, "kv_head = b * H_kv;"), name="the first head")
native_mutant(SIMD_GROUP, "past_keys", (HEAD, "kv_head = b * H + h;"))
native_mutant(SIMD_GROUP, None, (SUM_LANES, "score = simd_sum(score)"), name="does not compile")
native_mutant(SIMD_GROUP, None, (WALK, WALK.replace("s = 0", "s = 1")), name="the first key is missing")
native_mutant(SIMD_GROUP, None, (SUM_LANES, "thread float* place = &score; device float* other = place; score = simd_sum(*other);"), name="wrong address space")

native_rival(
    SIMD_GROUP,
    (WALK, "for (uint s = seen; s-- > 0;) {"),
    (SUM_LANES, "for (ushort step = 16; step > 0; step /= 2) score += simd_shuffle_xor(score, step);"),
    name="backwards, by a butterfly",
)  # fmt: skip
native_rival(
    SIMD_GROUP,
    (NOW, "float now = largest;\n    if (score > largest) now = score;"),
    (HEAD, "kv_head = (b * H + h) / sharing;"),
    name="another head formula",
)  # fmt: skip

# --- tiles -----------------------------------------------------------------------------------------------------


def load(name):
    return f"tile[i / D * PITCH + i % D] = first + i / D < S ? {name}[first * D + i] : T(0);"


def fill(name):
    return f"    {BARRIER}\n    for (uint i = thread_index; i < KEYS * D; i += THREADS) {{\n      {load(name)}\n    }}\n    {BARRIER}\n"


KEYS_IN = fill("keys").replace(BARRIER, f"{BARRIER}  // the tile before is no longer needed", 1)
VALUES_IN = fill("values")
TILE_DOT = "for (int d = 0; d < D; d++) score += float(block[row * D + d]) * float(tile[lane * PITCH + d]);"
TILE_SEEN = "score = first + lane < seen ? scale * score : LOWEST;"
TILE_NOW = "const float now = max(largest[r], simd_max(score));"
TILE_UPDATE = "largest[r] = now;"
TILE_SUM = "sum[r] = sum[r] * rescale + simd_sum(weights[r]);"
TILE_WEIGHTED = "for (int i = 0; i < SHARE; i++) weighted[r][i] *= rescale;"
SHUFFLE = "const float weight = simd_shuffle(weights[r], j);"
ADD = "weighted[r][i] += weight * float(tile[j * PITCH + i * LANES + lane]);"


def half(name, what, operation):
    """A butterfly over 16 lanes."""
    return f"float {name} = {what};\n      for (ushort step = 8; step > 0; step /= 2) {name} = {operation.format(name, f'simd_shuffle_xor({name}, step)')};\n      "


HALF_MAX = half("most", "score", "max({}, {})") + TILE_NOW.replace("simd_max(score)", "most")
HALF_TOTAL = half("all", "weights[r]", "{} + {}") + TILE_SUM.replace("simd_sum(weights[r])", "all")

native_mutant(TILES, "no_rescale", (TILE_SUM, TILE_SUM.replace("sum[r] * rescale", "sum[r]")), (TILE_WEIGHTED, ""))
native_mutant(TILES, "no_rescale", (TILE_WEIGHTED, ""), name="values not rescaled")
native_mutant(TILES, "no_rescale", (TILE_SUM, TILE_SUM.replace("sum[r] * rescale", "sum[r]")), name="sum not rescaled")
native_mutant(TILES, "not_carried", (TILE_UPDATE, ""))
native_mutant(TILES, "half_sums", (TILE_DOT, "T all = T(0);\n      for (int d = 0; d < D; d++) all += T(block[row * D + d] * tile[lane * PITCH + d]);\n      score = float(all);"))
native_mutant(TILES, "half_sums", (ADD, ADD.replace("weighted[r][i] += ", "weighted[r][i] = T(weighted[r][i] + ").replace(";", ");")), name="sums in half")
native_mutant(TILES, "not_scaled", (TILE_SEEN, TILE_SEEN.replace("scale * ", "")))
native_mutant(TILES, "not_divided", ("T(weighted[r][i] / sum[r])", "T(weighted[r][i])"))
native_mutant(TILES, "endless", ("for (ushort j = 0; j < KEYS; j++) {", "for (ushort j = 0; j < KEYS;) {"))
native_mutant(TILES, "one_too_many", (TILE_SEEN, TILE_SEEN.replace("first + lane < seen", "first + lane < min(S, seen + causal)")))
native_mutant(TILES, "one_too_few", (TILE_SEEN, TILE_SEEN.replace("< seen", "< seen - causal")))
native_mutant(TILES, "no_mask", (TILE_SEEN, TILE_SEEN.replace("< seen", "< S")), ("first < end; first += KEYS", "first < S; first += KEYS"))
native_mutant(TILES, "top_left", (TILE_SEEN, TILE_SEEN.replace("< seen", "< (causal ? l + 1 : S)")))
native_mutant(TILES, "half_the_lanes", (TILE_NOW, HALF_MAX), (TILE_SUM, HALF_TOTAL))
native_mutant(TILES, "half_the_lanes", (TILE_SUM, HALF_TOTAL), name="half of the sum")
native_mutant(TILES, "in_a_branch", (TILE_SEEN, f"if (first + lane >= S) continue;\n      {TILE_SEEN}"))
for place, what in enumerate(("the tile before", "the keys not all there", "the keys still read", "the values not all there")):
    text, first = (KEYS_IN, place == 0) if place < 2 else (VALUES_IN, place == 2)
    parts = text.split(BARRIER)
    gone = parts[0] + parts[1] + BARRIER + parts[2] if first else parts[0] + BARRIER + parts[1] + parts[2]
    native_mutant(TILES, "no_barrier", (text, gone), name=f"missing barrier: {what}")
native_mutant(TILES, "no_barrier", (VALUES_IN, VALUES_IN.replace("threadgroup_barrier", "simdgroup_barrier")), name="a barrier of the SIMD-group alone")
native_mutant(TILES, "past_edge", (load("keys"), "tile[i / D * PITCH + i % D] = keys[first * D + i];"))
native_mutant(TILES, "past_edge", (load("values"), "tile[i / D * PITCH + i % D] = values[first * D + i];"), name="past the last value")
native_mutant(TILES, "not_filled", (load("keys"), f"if (first + i / D < S) {load('keys')}"))
native_mutant(TILES, "not_filled", (KEYS_IN, KEYS_IN.replace("for (uint i = thread_index; i < KEYS * D; i += THREADS)", "for (uint i = thread_index; i < THREADS; i += THREADS)")), name="one round")
native_mutant(TILES, "too_large", ("  threadgroup T block[QUERIES * D];", "  threadgroup float parts[LANES * THREADS * 2];\n  threadgroup T block[QUERIES * D];"), (SHUFFLE, f"parts[thread_index] = 0;\n        {SHUFFLE}"))
native_mutant(TILES, "keys_as_values", (load("values"), load("keys")), name="keys again")
native_mutant(TILES, "keys_as_values", (VALUES_IN, ""))
native_mutant(TILES, "own_weight", (SHUFFLE, "const float weight = weights[r];"))
native_mutant(TILES, None, (ADD, ADD.replace("i * LANES + lane", "lane * SHARE + i")), name="other features")
native_mutant(TILES, None, (TILE_DOT, TILE_DOT.replace("d < D;", "d < D - 1;")), name="a feature short")

native_rival(
    TILES,
    (TILE_NOW, "const float now = simd_max(max(largest[r], score));"),
    (SHUFFLE, "const float weight = simd_broadcast(weights[r], j);"),
    (TILE_WEIGHTED, "if (rescale != 1) {\n        for (int i = 0; i < SHARE; i++) weighted[r][i] *= rescale;\n      }"),
    name="rescales only where it must",
)  # fmt: skip
native_rival(
    TILES,
    (TILE_DOT, "for (int d = D - 1; d >= 0; d--) score = fma(float(block[row * D + d]), float(tile[lane * PITCH + d]), score);"),
    (VALUES_IN, VALUES_IN.replace("for (uint i = thread_index; i < KEYS * D; i += THREADS) {", "for (uint i = thread_index + THREADS * (KEYS * D / THREADS - 1); i < KEYS * D; i -= THREADS) {")),
    name="backwards",
)  # fmt: skip

# --- matrices --------------------------------------------------------------------------------------------------

LOAD_KEY = "simdgroup_load(key, tile + n * SIDE * D + j * SIDE, D, ulong2(0, 0), true);"
PAIR = "const bool sees = first + n * SIDE + column + e < seen;"
SCALED = "sees ? scale * scores[n].thread_elements()[e] : LOWEST;"
MAX_8, SUM_8 = "now = max(now, simd_shuffle_xor(now, 8));", "total += simd_shuffle_xor(total, 8);"
MATRIX_SUM = "sum = sum * rescale + total;"
MATRIX_WEIGHTED = "for (int e = 0; e < 2; e++) weighted[j].thread_elements()[e] *= rescale;"
MULTIPLY = "simdgroup_multiply_accumulate(scores[n], queries[j], key, scores[n]);"
LOAD_VALUE = "simdgroup_load(value, tile + n * SIDE * D + j * SIDE, D);"
VALUES = "((device const vec<T, 4>*)(values + first * D))[i]"

native_mutant(MATRICES, "no_rescale", (MATRIX_SUM, "sum += total;"), (MATRIX_WEIGHTED, ""))
native_mutant(MATRICES, "no_rescale", (MATRIX_WEIGHTED, ""), name="values not rescaled")
native_mutant(MATRICES, "no_rescale", (MATRIX_SUM, "sum += total;"), name="sum not rescaled")
native_mutant(MATRICES, "not_carried", (UPDATE, ""))
native_mutant(MATRICES, "half_sums", (SCALED, SCALED.replace("scores[n].thread_elements()[e]", "float(T(scores[n].thread_elements()[e]))")), name="scores in half")
native_mutant(
    MATRICES, "half_sums",
    ("simdgroup_multiply_accumulate(weighted[j], scores[n], value, weighted[j]);",
     "simdgroup_matrix<T, SIDE, SIDE> weights, all;\n        for (int e = 0; e < 2; e++) {\n          weights.thread_elements()[e] = T(scores[n].thread_elements()[e]);\n"
     "          all.thread_elements()[e] = T(weighted[j].thread_elements()[e]);\n        }\n        simdgroup_multiply_accumulate(all, weights, value, all);\n"
     "        for (int e = 0; e < 2; e++) weighted[j].thread_elements()[e] = float(all.thread_elements()[e]);"),
)  # fmt: skip
native_mutant(MATRICES, "not_scaled", (SCALED, SCALED.replace("scale * ", "")))
native_mutant(MATRICES, "not_divided", ("weighted[j].thread_elements()[e] / sum", "weighted[j].thread_elements()[e]"))
native_mutant(MATRICES, "endless", ("      for (int j = 0; j < D / SIDE; j++) {\n        simdgroup_matrix<T, SIDE, SIDE> key;", "      for (int j = 0; j < D / SIDE;) {\n        simdgroup_matrix<T, SIDE, SIDE> key;"))
native_mutant(MATRICES, "one_too_many", (PAIR, PAIR.replace("< seen", "< min(S, seen + causal)")))
native_mutant(MATRICES, "one_too_few", (PAIR, PAIR.replace("< seen", "< seen - causal")))
native_mutant(MATRICES, "no_mask", (PAIR, PAIR.replace("< seen", "< S")), ("first < end; first += KEYS", "first < S; first += KEYS"))
native_mutant(MATRICES, "top_left", (PAIR, PAIR.replace("< seen", "< (causal ? l + 1 : S)")))
native_mutant(MATRICES, "half_the_row", (MAX_8, ""), (SUM_8, ""))
native_mutant(MATRICES, "half_the_row", (SUM_8, ""), name="half of the sum")
native_mutant(MATRICES, "not_transposed", (LOAD_KEY, LOAD_KEY.replace(", ulong2(0, 0), true", "")))
native_mutant(MATRICES, "keys_as_values", (VALUES, VALUES.replace("values", "keys")))
native_mutant(MATRICES, "out_of_tile", (LOAD_VALUE, LOAD_VALUE.replace("n * SIDE * D", "(first + n * SIDE) * D")))
native_mutant(MATRICES, None, (SUM_8, "total = simd_sum(total);"), name="all rows together")
native_mutant(MATRICES, None, (MATRIX_WEIGHTED, "thread float2& pair = weighted[j].thread_elements();\n      pair *= rescale;"), name="elements are no pair to Metal's compiler")
native_mutant(MATRICES, None, (PAIR, PAIR.replace("column + e", "e")), name="the column forgotten")
native_mutant(MATRICES, None, (LOAD_VALUE, LOAD_VALUE.replace("D);", "D, ulong2(0, 0), true);")), name="values transposed")

native_rival(
    MATRICES,
    (MATRIX_WEIGHTED, "weighted[j].thread_elements() *= rescale;"),
    (MAX_8, "now = max(now, simd_shuffle_xor(now, 9));"),
    name="another butterfly",
)  # fmt: skip
native_rival(
    MATRICES,
    (MULTIPLY, "simdgroup_float8x8 product;\n        simdgroup_multiply(product, queries[j], key);\n        scores[n].thread_elements() += product.thread_elements();"),
    name="multiply, then add",
)  # fmt: skip

# --- split keys ------------------------------------------------------------------------------------------------

LENGTH = "const uint length = (S + spans - 1) / spans;"
END = "end = min(begin + length, seen);"
SPAN_WALK = "for (uint s = begin; s < end; s++) {"
BOTH = "const float before = exp(largest - now), added = exp(part[D] - now);"
MERGED_MAX = "const float now = max(largest, part[D]);"
MERGED_SUM = "sum = sum * before + part[D + 1] * added;"
MERGED = "for (int i = 0; i < SHARE; i++) weighted[i] = weighted[i] * before + part[i * LANES + lane] * added;"

native_mutant(SPLIT, "no_rescale", (SUM, "sum += weight;"), (WEIGHTED, WEIGHTED.replace("weighted[i] * rescale", "weighted[i]")))
native_mutant(SPLIT, "not_carried", (NOW, NOW.replace("max(largest, score)", "score")), (SUM, "sum = weight;"), (WEIGHTED, WEIGHTED.replace("weighted[i] * rescale + ", "")))
native_mutant(SPLIT, "half_sums", (SUM_LANES, "score = float(T(simd_sum(score)));"))
native_mutant(SPLIT, "not_scaled", ("mine[i] = scale * float(", "mine[i] = float("))
native_mutant(SPLIT, "not_divided", (DIVIDED, "T(weighted[i])"))
native_mutant(SPLIT, "endless", (SPAN_WALK, "for (uint s = begin; s < end;) {"))
native_mutant(SPLIT, "one_too_many", (END, "end = min(begin + length, min(S, seen + causal));"))
native_mutant(SPLIT, "one_too_few", (END, "end = min(begin + length, seen - causal);"))
native_mutant(SPLIT, "no_mask", (END, "end = min(begin + length, S);"))
native_mutant(SPLIT, "top_left", (END, "end = min(begin + length, causal ? l + 1 : S);"))
native_mutant(SPLIT, None, (SUM_LANES, HALF_SUM), name="half of the lanes")
native_mutant(SPLIT, "in_a_branch", (SUM_LANES, "if (lane < 16) score = simd_sum(score);"))
native_mutant(SPLIT, "last_keys", (LENGTH, "const uint length = S / spans;"))
native_mutant(SPLIT, "past_keys", (END, "end = begin + length;"))
native_mutant(SPLIT, "not_merged", (BOTH, "const float before = 1, added = 1;"))
native_mutant(SPLIT, "not_merged", (MERGED_SUM, "sum = part[D + 1];"), (MERGED, "for (int i = 0; i < SHARE; i++) weighted[i] = part[i * LANES + lane];"), name="the last part alone")
native_mutant(SPLIT, None, (MERGED_SUM, "sum += part[D + 1];"), name="sums of parts not rescaled")

native_rival(
    SPLIT,
    (LENGTH, "const uint length = S / spans + 1;"),
    (MERGED_MAX, "float now = part[D];\n    if (largest > now) now = largest;"),
    name="other spans",
)  # fmt: skip
