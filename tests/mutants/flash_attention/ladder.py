"""Wrong and right rungs of the C++ ladder of attention."""

from ..native import native_mutant, native_rival

TILED, VECTORS, THREADS = (f"attention.{name}" for name in ("tiled", "vectors", "threads"))

# --- tiled -----------------------------------------------------------------------------------------------------

SUM, WEIGHTED = "row.sum *= rescale;", "for (int d = 0; d < row.width; d++) row.weighted[d] *= rescale;"
LARGEST = "const float largest = std::max(row.largest, *std::max_element(scores, scores + seen));"
UPDATE = "row.largest = largest;"
GUARD = "if (largest == MINUS_INFINITY) return;  // nothing seen yet: exp(-inf - -inf) would be NaN"
LOOP = "for (int first = 0; first < end; first += KEYS) {"
LOAD = "walk.load_tile(first, std::min(KEYS, end - first))"
SEEN = "const int seen = std::min(tile.count, walk.visible(r) - first);"
SCORE = "for (int d = 0; d < row.width; d++) scores[i] += row.query[d] * key[d];"

native_mutant(TILED, "no_rescale", (SUM, ""), (WEIGHTED, ""))
native_mutant(TILED, "no_rescale", (WEIGHTED, ""), name="values not rescaled")
native_mutant(TILED, "no_rescale", (SUM, ""), name="sum not rescaled")
native_mutant(TILED, "not_carried", (UPDATE, ""))
native_mutant(TILED, "own_largest", (LARGEST, "const float largest = *std::max_element(scores, scores + seen);"), (SUM, ""), (WEIGHTED, ""))
native_mutant(TILED, "nothing_seen", (GUARD, ""))
native_mutant(TILED, "last_tile", (LOOP, LOOP.replace("first < end", "first + KEYS <= end")))
native_mutant(TILED, "past_keys", (LOAD, "walk.load_tile(first, KEYS)"))
native_mutant(TILED, "one_too_many", (SEEN, SEEN.replace("- first", "- first + 1")))
native_mutant(TILED, "one_too_few", (SEEN, SEEN.replace("- first", "- first - 1")))
native_mutant(TILED, "no_mask", (SEEN, "const int seen = tile.count;"))
native_mutant(TILED, "scale_twice", (SCORE, SCORE + "\n    scores[i] *= row.p.scale;"))
native_mutant(TILED, "endless", (LOOP, LOOP.replace("first += KEYS", "")))
native_mutant(TILED, None, (SCORE, SCORE.replace("row.width", "row.width - 1")), name="a feature short")
native_mutant(TILED, None, (UPDATE, "row.largest = largest"), name="does not compile")

native_rival(
    TILED,
    (WEIGHTED, ""), (SUM, ""),
    (UPDATE, "if (largest > row.largest) {\n    row.sum *= rescale;\n    for (int d = 0; d < row.width; d++) row.weighted[d] *= rescale;\n  }\n  row.largest = largest;"),
    name="rescales only where it must",
)  # fmt: skip
native_rival(
    TILED,
    (LARGEST, "float largest = row.largest;\n  for (int i = seen - 1; i >= 0; i--) largest = scores[i] > largest ? scores[i] : largest;"),
    (LOOP, "for (int first = (end - 1) / KEYS * KEYS; first >= 0; first -= KEYS) {"),
    name="from the last tile to the first",
)  # fmt: skip

# --- vectors ---------------------------------------------------------------------------------------------------

VECTOR_SUM = "row.sum = row.sum * rescale + sum_lanes(sum);"
VECTOR_WEIGHTED = "Floats weighted = load(row.weighted + d) * broadcast(rescale);"
VECTOR_LARGEST = "const float largest = std::max(row.largest, max_lanes(most));"
VECTOR_GUARD = "if (largest == MINUS_INFINITY) return;"
KEY_LOOP = "for (int i = 0; i < seen; i++) {"

native_mutant(VECTORS, "no_rescale", (VECTOR_SUM, "row.sum += sum_lanes(sum);"), (VECTOR_WEIGHTED, "Floats weighted = load(row.weighted + d);"))
native_mutant(VECTORS, "no_rescale", (VECTOR_WEIGHTED, "Floats weighted = load(row.weighted + d);"), name="values not rescaled")
native_mutant(VECTORS, "not_carried", (VECTOR_SUM, "row.sum = sum_lanes(sum);"), (VECTOR_WEIGHTED, "Floats weighted = {};"), (VECTOR_LARGEST, "const float largest = max_lanes(most);"))
native_mutant(VECTORS, "own_largest", (VECTOR_LARGEST, "const float largest = max_lanes(most);"), ("rescale = exp(row.largest - largest);", "rescale = 1;"))
native_mutant(VECTORS, "nothing_seen", (VECTOR_GUARD, ""))
native_mutant(VECTORS, "scale_twice", ("scores[i] = sum_lanes(sum);", "scores[i] = sum_lanes(sum) * row.p.scale;"))
native_mutant(VECTORS, "endless", (KEY_LOOP, "for (int i = 0; i < seen;) {"))
native_mutant(VECTORS, None, ("scores[i] = sum_lanes(sum);", "scores[i] = sum[0];"), name="one lane")
native_mutant(VECTORS, None, ("const float largest = std::max(row.largest, max_lanes(most));", "const float largest = std::max(row.largest, most[0]);"), name="largest of one lane, sums overflow")

native_rival(
    VECTORS,
    ("    Floats sum = {};\n    for (int d = 0; d < row.width; d += LANES) sum += load(row.query + d) * load(key + d);\n    scores[i] = sum_lanes(sum);",
     "    scores[i] = 0;\n    for (int d = 0; d < row.width; d++) scores[i] += row.query[d] * key[d];"),
    name="scores one by one",
)  # fmt: skip
native_rival(
    VECTORS,
    ("    Floats weighted = load(row.weighted + d) * broadcast(rescale);\n    for (int i = 0; i < seen; i++) weighted +=",
     "    Floats weighted = load(row.weighted + d) * broadcast(rescale);\n    for (int i = KEYS < tile.count ? KEYS - 1 : tile.count - 1; i >= 0; i--) weighted +="),
    name="all keys of the tile, backwards, with weights of zero",
)  # fmt: skip

# --- threads ---------------------------------------------------------------------------------------------------

MINE = "const Scratch mine = scratch_of(worker);\n    load_queries(p, block, mine.query);\n    mine.total.reset(block.rows, p.width);"
SPANS = "for (int begin = 0; begin < end; begin += SPAN) {"
RUN = "run_span(p, block, mine, begin, std::min(begin + SPAN, end), mine.part);\n      merge(mine.total, mine.part, block.rows, p.width);"
TASKS = "parallel.for_each(blocks.count * span_count, one_span);"
ONE_SPAN = "const Scratch mine = scratch_of(worker);\n    load_queries(p, block, mine.query);\n    const int begin"
MERGED, MERGE_PART = "const Block block = blocks[index];", "part_at(index * span_count + span)"
PART = "run_span(p, block, mine, begin, std::min(begin + SPAN, end), part_at(index));"

native_mutant(THREADS, "shared_scratch", (MINE, MINE.replace("scratch_of(worker)", "scratch_of(0)")))
native_mutant(THREADS, "shared_scratch", (ONE_SPAN, ONE_SPAN.replace("scratch_of(worker)", "scratch_of(0)")), name="a shared accumulator of spans")
native_mutant(THREADS, "first_span", (SPANS, "for (int begin = 0; begin < std::min(SPAN, end); begin += SPAN) {"))
native_mutant(THREADS, "last_span", (RUN, "run_span(p, block, mine, begin, std::min(begin + SPAN, end), mine.total);"))
native_mutant(THREADS, "not_started", (MINE, MINE.replace("mine.total.reset(block.rows, p.width);", "")))
native_mutant(THREADS, "wrong_head", (MERGED, "const Block block = blocks[blocks.count - 1 - index];"))
native_mutant(THREADS, None, (MERGE_PART, "part_at(span * blocks.count + index)"), name="parts by span and then by block")
native_mutant(THREADS, "unshared", (TASKS, "for (int task = 0; task < blocks.count * span_count; task++) one_span(task, 0);"))
native_mutant(THREADS, "endless", (SPANS, "for (int begin = 0; begin < end;) {"))
native_mutant(THREADS, "parts_missing", (PART, PART.replace("part_at(index)", "part_at(0)")), name="one place for all parts")
native_mutant(THREADS, "parts_missing", (TASKS, "parallel.for_each(blocks.count * span_count - 1, one_span);"), name="a span short")

native_rival(
    THREADS,
    ("for (int span = 0; span < span_count; span++) {\n        merge(total, part_at(index * span_count + span), block.rows, p.width);\n      }",
     "int span = 0;\n      while (span < span_count) merge(total, part_at(index * span_count + span++), block.rows, p.width);"),
    name="another loop",
)  # fmt: skip
native_rival(
    THREADS,
    (RUN, "run_span(p, block, mine, begin, begin + SPAN < end ? begin + SPAN : end, mine.part);\n      merge(mine.total, mine.part, block.rows, p.width);\n      mine.part.reset(block.rows, p.width);"),
    name="resets once more",
)  # fmt: skip
