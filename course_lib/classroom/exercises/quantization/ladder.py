"""The C++ ladder of quantized matmul."""

import mlx.core as mx
from matplotlib.ticker import NullFormatter

from ....kernels.loaded import LoadedQuantizedMatmul
from ....lab.plots import bars, new_figure
from ....lab.timing import compare
from ...native.ladder import Ladder, Rung

CASES = {
    "one_token": "one token, 4 bits in groups of 32",
    "groups": "groups of 64 and 128",
    "eight_bits": "8 bits",
    "ragged": "rows that do not fill whole blocks",
    "tokens": "several tokens, with gaps between the rows of x",
    "half_scales": "scales in float16 and bfloat16",
    "extremes": "groups of equal weights, of zeros, and large numbers",
    "empty": "no tokens, and no rows",
}
SHARED = {
    "workers": "the same bits on 1, 2 and 5 workers, and work for each",
    "few_rows": "more workers than rows",
}
ANY = {"any": "24 problems of random sizes"}
RACES = {"races": "no two workers touch the same memory"}

# What any rung can get wrong.
COMMON = {
    "endless": "A loop's counter does not move, or its condition stays true: `block`, `j`, `n` and `task` all have to grow.",
    "rows_missing": (
        "From some row of `w` on nothing is written. Where a number does not divide evenly, round the number of pieces "
        "*up*, `(rows + piece - 1) / piece`, and let the last piece be shorter. Which rows are a task's own follows "
        "from `task`, never from `worker`."
    ),
    "past_y": "You write behind the end of `y`, or before it. It has `M * N` floats, and `y[m, n]` is at `m * N + n`.",
}

# What is wrong with the arithmetic of one row.
ARITHMETIC = {
    "no_bias": "The biases are missing: a weight is `scale * q + bias`, which `unpack` gives if both are handed to it.",
    "no_scale": "The scales are missing: a weight is `scale * q + bias`, which `unpack` gives if both are handed to it.",
    "first_group": (
        "Every weight gets the scale and bias of its row's first group. A block starts at word `blocks.first_word(block)`, "
        "which belongs to group `word / GROUP_WORDS`."
    ),
    "nibbles_swapped": "The weights of each word come in reverse: weight `j` sits in bits `BITS * j` and up, the lowest first.",
}
WORDS_FINDING = (
    "A block is read past its row: the last one does not start at `block * LANES` but earlier, so that it ends with "
    "the row. `blocks.first_word(block)` says where."
)

vectors = Rung(
    "quantized_matmul",
    "vectors",
    "C++: as many weights at a time as a vector has lanes",
    source="quantized_matmul_vectors.cpp",
    parts=("dot_row",),
    cases={**CASES, **ANY},
    mistakes={
        **COMMON,
        **ARITHMETIC,
        "past_row": WORDS_FINDING,
        "one_lane": "Only one lane of the sum comes back. `sum_lanes(v)` adds up all of them; `v[0]` is one.",
        "one_weight": "Only weight 0 of each word is used. A word holds `PER_WORD<BITS>` of them: a loop over `j`, inside that over the blocks.",
        "half_of_word": "Every second weight of a word is missing. If you keep two sums, add both before the lanes are summed.",
        "last_block": "The last block is missing. It starts earlier where it would be short, and counts all the same: loop to `blocks.count`.",
        "first_block_of_x": "Every block meets the x of the first one: `arranged` has to move on by LANES with each weight.",
    },
    findings={("read", "words"): "past_row", ("write", "y"): "past_y"},
)

threads = Rung(
    "quantized_matmul",
    "threads",
    "C++: the rows handed out to several threads",
    source="quantized_matmul_threads.cpp",
    parts=("hand_out_rows",),
    cases={**CASES, **SHARED, **ANY, **RACES},
    mistakes={
        **COMMON,
        "past_end": "The last task reaches past the last row: its end is `std::min(w.rows, begin + rows_a_task)`.",
        "shared_scratch": (
            "All workers use the same scratch memory, and write over each other's scales. Worker `i` has its own: "
            "`rest + i * row_scratch(w)`."
        ),
        "same_rows": "Two tasks compute the same rows. Each row of `w` belongs to one task alone.",
        "unshared": "There are fewer tasks than workers, so that some have nothing to do. Make more of them, with fewer rows each.",
        "no_rows_a_task": "With fewer rows than workers `w.rows / workers` is 0, and a division by it ends the program. At least one row a task.",
    },
    findings={
        ("read", "scales"): "past_end",
        ("read", "biases"): "past_end",
        ("read", "words"): "past_end",
        ("write", "y"): "past_y",
        ("race", "scratch"): "shared_scratch",
        ("race", "y"): "same_rows",
        ("undefined", ""): "no_rows_a_task",
    },
    threads=True,
)

tiles = Rung(
    "quantized_matmul",
    "tiles",
    "C++: weights unpacked once, used for many tokens",
    source="quantized_matmul.cpp",
    parts=("unpack_row", "multiply_many"),
    cases={**CASES, **SHARED, **ANY, **RACES},
    mistakes={
        **COMMON,
        **ARITHMETIC,
        "past_row": WORDS_FINDING,
        "natural_order": (
            "The weights are unpacked in the order in which they are stored, and x is in another: block after block, in "
            "each block first weight 0 of all words, then weight 1 of all. `store(unpacked, unpack<BITS>(packed, j, ...))` and on by LANES."
        ),
        "same_row": "All columns of a tile are the tile's first row: unpack row `n + c` into place `c`.",
        "past_unpacked": (
            "More is unpacked than there is room for: `unpacked` holds TILE_COLUMNS rows of `length` floats, column `c` at "
            "`unpacked + c * length`. Where fewer rows are left than a tile has columns, unpack only those."
        ),
    },
    findings={
        ("read", "words"): "past_row",
        ("write", "scratch"): "past_unpacked",
        ("read", "scratch"): "past_unpacked",
        ("write", "y"): "past_y",
    },
    threads=True,
)

TOKENS = {"one token (decode)": 1, "37 tokens (prefill)": 37}
SHAPE = (1536, 576)  # [N, K]: SmolLM2's gate and up projections
ROUNDS, SECONDS = 5, 1.5


def benchmark(kernels):
    """Time kernels and MLX's own, on the CPU, on the model's largest matrix, for one token and for many."""
    with mx.stream(mx.cpu):
        return _benchmark(kernels)


def _benchmark(kernels):
    w, scales, biases = mx.quantize(mx.random.normal(SHAPE, key=mx.random.key(0)), 32, 4)
    scales, biases = scales.astype(mx.float16), biases.astype(mx.float16)
    wide = scales.astype(mx.float32), biases.astype(mx.float32)  # MLX computes in the dtype of the scales
    figure, axes = new_figure(0.42 * len(kernels) + 1.7, width=10, columns=2)
    for ax, (title, M) in zip(axes, TOKENS.items(), strict=True):
        x = mx.random.normal((M, SHAPE[1]), key=mx.random.key(M))
        mx.eval(x, w, scales, biases, wide)
        contenders = {
            name: lambda kernel=kernel, x=x: kernel(x, w, scales, biases, 32, 4) for name, kernel in kernels.items()
        }
        contenders["MLX"] = lambda x=x: mx.quantized_matmul(x, w, *wide, True, 32, 4)
        times = compare(contenders, rounds=ROUNDS, budget=SECONDS)
        bars(times.median, spread=times.spread, quantity="time", unit="s", title=title, log=True, ax=ax)
        ax.xaxis.set_minor_formatter(NullFormatter())  # where the times span little, they would overlap
    return figure, "Times of the rungs and of MLX's own kernel, for one token and for 37, logarithmic."


quantized_matmul = Ladder(
    "quantized_matmul",
    sources=(
        "quantized_matmul_scalar.cpp",
        "quantized_matmul_vectors.cpp",
        "quantized_matmul_threads.cpp",
        "quantized_matmul.cpp",
        "quantized_matmul_ladder.cpp",
    ),
    program="check_quantized_matmul.cpp",
    rungs=(vectors, threads, tiles),
    given=("scalar",),
    load=LoadedQuantizedMatmul,
    benchmark=benchmark,
)
