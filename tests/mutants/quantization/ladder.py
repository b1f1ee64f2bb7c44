"""Wrong and right rungs of the C++ ladder."""

from ..native import native_mutant, native_rival

VECTORS, THREADS, TILES = (f"quantized_matmul.{name}" for name in ("vectors", "threads", "tiles"))

# --- vectors -------------------------------------------------------------------------------------------------

EVEN = "even += load(arranged) * unpack<BITS>(packed, j, scale, bias);"
ODD = "odd += load(arranged + LANES) * unpack<BITS>(packed, j + 1, scale, bias);"
BOTH = f"{EVEN}\n      {ODD}"
LOOP = "for (int j = 0; j < PER_WORD<BITS>; j += 2, arranged += 2 * LANES) {"
BLOCKS = "for (int block = 0; block < blocks.count; block++) {"
GROUP = "const int word = blocks.first_word(block), group = word / GROUP_WORDS;"
RETURN = "return sum_lanes(even + odd);"
ZERO, ONE = "Floats{}", "broadcast(1.0f)"

native_mutant(VECTORS, "no_bias", (BOTH, BOTH.replace("bias)", f"{ZERO})")))
native_mutant(VECTORS, "no_scale", (BOTH, BOTH.replace("scale,", f"{ONE},")))
native_mutant(VECTORS, "first_group", ("(scales + group), bias", "(scales), bias"), ("(biases + group)", "(biases)"))
native_mutant(
    VECTORS, "nibbles_swapped",
    (BOTH, BOTH.replace("packed, j,", "packed, PER_WORD<BITS> - 1 - j,").replace("packed, j + 1,", "packed, PER_WORD<BITS> - 2 - j,")),
)  # fmt: skip
native_mutant(VECTORS, "one_lane", (RETURN, "return (even + odd)[0];"))
native_mutant(VECTORS, "half_of_word", (RETURN, "return sum_lanes(even);"))
native_mutant(VECTORS, "one_weight", (LOOP, "for (int j = 0; j < 1; j++, arranged += PER_WORD<BITS> * LANES) {"), (ODD, ""))
native_mutant(VECTORS, "last_block", (BLOCKS, BLOCKS.replace("< blocks.count", "< blocks.count - 1")))
native_mutant(VECTORS, "first_block_of_x", (GROUP, GROUP + " const float* first = arranged;"), ("    }\n  }\n  return", "    }\n    arranged = first;\n  }\n  return"))
native_mutant(VECTORS, "past_row", ("word = blocks.first_word(block)", "word = block * LANES"))
native_mutant(VECTORS, "endless", (LOOP, "for (int j = 0; j < PER_WORD<BITS>;) {"))
native_mutant(VECTORS, "rows_missing", ("for (int n = begin; n < end; n++)", "for (int n = begin; n < end - 1; n++)"))
native_mutant(VECTORS, "past_y", ("y[static_cast<size_t>(m) * w.rows + n]", "y[static_cast<size_t>(m + 1) * w.rows + n]"))
native_mutant(VECTORS, None, (EVEN, EVEN.replace("+=", "=")), name="last term alone")
native_mutant(VECTORS, None, ("Floats even = {}, odd = {};", "Floats even, odd;\n  even[0] = odd[0] = 0;"), name="not initialised")
native_mutant(VECTORS, None, (RETURN, "return *static_cast<volatile float*>(nullptr);"), name="null pointer")
native_mutant(VECTORS, None, (RETURN, "return sum_lanes(even + odd)"), name="does not compile")
native_mutant(VECTORS, None, ("void multiply_rows(", "void multiply_some_rows("), name="does not link")

native_rival(
    VECTORS,
    (LOOP, "for (int j = 0; j < PER_WORD<BITS>; j++, arranged += LANES) {"), (ODD, ""),
    name="one sum",
)  # fmt: skip
native_rival(
    VECTORS,
    (BOTH, "for (int lane = 0; lane < 2 * LANES; lane++) {\n        const int i = j + lane / LANES, l = lane % LANES;\n"
           "        even[l] += arranged[lane] * (float(packed[l] >> (BITS * i) & ((1u << BITS) - 1)) * scale[l] + bias[l]);\n      }"),
    name="lane by lane",
)  # fmt: skip

# --- threads -------------------------------------------------------------------------------------------------

ROWS = "const int rows_a_task = std::max(1, w.rows / (8 * parallel.workers()));"
TASKS = "const int tasks = (w.rows + rows_a_task - 1) / rows_a_task;"
OWN = "rest + worker * row_scratch(w)"
END = "end = std::min(w.rows, begin + rows_a_task);"
CALL = "multiply_rows(arranged, M, w, begin, end, y, rest + worker * row_scratch(w));"
FOR_EACH = "parallel.for_each(tasks, [&](int task, int worker) {"

native_mutant(THREADS, "shared_scratch", (OWN, "rest + 0 * worker"))
native_mutant(THREADS, "shared_scratch", (OWN, "rest + worker"), name="scratch that overlaps")
native_mutant(THREADS, "past_end", (END, "end = begin + rows_a_task;"))
native_mutant(THREADS, "rows_missing", (TASKS, "const int tasks = w.rows / rows_a_task;"), (ROWS, ROWS.replace("std::max(1,", "std::max(4,")))
native_mutant(THREADS, "rows_missing", ("begin = task * rows_a_task", "begin = worker * rows_a_task"), name="rows by worker")
native_mutant(THREADS, "same_rows", ("begin = task * rows_a_task", "begin = 0"), (END, "end = std::min(w.rows, (task + 1) * rows_a_task);"))
native_mutant(THREADS, "same_rows", ("begin = task * rows_a_task", "begin = task / 2 * 2 * rows_a_task"), (END, "end = std::min(w.rows, begin + 2 * rows_a_task);"), name="pairs twice")
native_mutant(THREADS, "unshared", (ROWS, "const int rows_a_task = w.rows;"))
native_mutant(THREADS, "unshared", (FOR_EACH, "auto run = [&](int task, int worker) {"), ("  });", "  };\n  for (int task = 0; task < tasks; task++) run(task, 0);"), name="no threads at all")
native_mutant(THREADS, "no_rows_a_task", (ROWS, "const int rows_a_task = w.rows / parallel.workers();"))
native_mutant(THREADS, "endless", (CALL, "for (int n = begin; n < end;) multiply_rows(arranged, M, w, n, n + 1, y, " + OWN + ");"))
native_mutant(THREADS, "past_y", (CALL, CALL.replace(" y,", " y + begin,")))
native_mutant(THREADS, None, (FOR_EACH, FOR_EACH.replace("int task, int worker", "int task")), name="does not compile")

native_rival(THREADS, (ROWS, "const int rows_a_task = 1;"), name="a row a task")
native_rival(
    THREADS,
    (ROWS, "const int rows_a_task = (w.rows + parallel.workers() - 1) / parallel.workers();"),
    name="a task a worker",
)
native_rival(
    THREADS,
    (CALL, "for (int n = end - 1; n >= begin; n--) multiply_rows(arranged, M, w, n, n + 1, y, " + OWN + ");"),
    name="row by row, backwards",
)

# --- tiles ---------------------------------------------------------------------------------------------------

STORE = "store(unpacked, unpack<BITS>(packed, j, scale, bias));"
SCALE = "Floats scale = spread<GROUP_WORDS>(strip.scales + row * strip.groups + group);"
BIAS = "Floats bias = spread<GROUP_WORDS>(strip.biases + row * strip.groups + group);"
UNPACK = "unpack_row<BITS, GROUP_WORDS>(blocks, strip, n + c, unpacked + static_cast<size_t>(c) * length);"
COLUMNS = "const int columns = std::min(TILE_COLUMNS, rows - n);"
RAGGED = "multiply_unpacked<1>(arranged, M, unpacked + static_cast<size_t>(c) * length, length, y + n + c, N);"

native_mutant(TILES, "no_bias", (STORE, f"store(unpacked, unpack<BITS>(packed, j, scale, {ZERO}));"))
native_mutant(TILES, "no_scale", (STORE, f"store(unpacked, unpack<BITS>(packed, j, {ONE}, bias));"))
native_mutant(TILES, "first_group", (SCALE, SCALE.replace(" + group)", ")")), (BIAS, BIAS.replace(" + group)", ")")))
native_mutant(TILES, "nibbles_swapped", (STORE, STORE.replace("packed, j,", "packed, PER_WORD<BITS> - 1 - j,")))
native_mutant(TILES, "past_row", ("const int word = blocks.first_word(block)", "const int word = block * LANES"))
native_mutant(
    TILES, "natural_order",
    (STORE, "for (int lane = 0; lane < LANES; lane++) {\n"
            "        unpacked[lane * PER_WORD<BITS> + j - j * LANES] = unpack<BITS>(packed, j, scale, bias)[lane];\n      }"),
)  # fmt: skip
native_mutant(TILES, "same_row", (UNPACK, UNPACK.replace("n + c,", "n,")))
native_mutant(TILES, "rows_missing", (COLUMNS, COLUMNS + " if (columns < TILE_COLUMNS) break;"))
native_mutant(TILES, "past_unpacked", (UNPACK, UNPACK.replace("(c) *", "(n + c) *")))
native_mutant(TILES, "past_y", (RAGGED, RAGGED.replace("y + n + c", "y + n + c + N")))
native_mutant(TILES, "endless", ("for (int n = 0; n < rows; n += TILE_COLUMNS) {", "for (int n = 0; n < rows;) {"))
native_mutant(TILES, None, (RAGGED, RAGGED.replace("y + n + c", "y + n")), name="ragged columns into one")
native_mutant(TILES, None, ("const uint32_t* words = strip.words + static_cast<size_t>(row)", "const uint32_t* words = strip.words + static_cast<size_t>(0 * row)"), name="first row's words")

native_rival(
    TILES,
    ("if (columns == TILE_COLUMNS) {\n      multiply_unpacked<TILE_COLUMNS>(arranged, M, unpacked, length, y + n, N);\n    } else {", "{"),
    name="column by column",
)  # fmt: skip
native_rival(
    TILES,
    ("for (int n = 0; n < rows; n += TILE_COLUMNS) {", "for (int n = (rows - 1) / TILE_COLUMNS * TILE_COLUMNS; n >= 0; n -= TILE_COLUMNS) {"),
    name="tiles backwards",
)
