"""The Metal ladder of quantized matmul."""

from ....kernels.metal_quantized_matmul import MetalQuantizedMatmul
from ...native.ladder import MetalLadder, Rung
from .benchmark import benchmark
from .problems import problems

LADDER = "quantized_matmul.metal"
CASES = {
    "one_token": "one token in float16, 4 bits in groups of 32",
    "ragged": "rows of a length that does not suit 32 lanes, and any number of them",
    "tokens": "several tokens, a slice of a larger x",
    "tiles": "many tokens, and edges that cut through a tile",
    "bfloat": "bfloat16, groups of 64",
    "float": "float32, groups of 128",
    "eight_bits": "8 bits",
    "sums": "sums are kept in float32",
}
FEW_TOKENS = {key: title for key, title in CASES.items() if key != "tiles"}

# What any rung can get wrong.
COMMON = {
    "nibbles_swapped": "The weights of each word come in reverse: weight `j` sits in bits `BITS * j` and up, the lowest first.",
    "no_bias": "The biases are missing: a weight is `scale * q + bias`.",
    "first_group": "Every weight gets the scale and bias of its row's first group. Word `i` of a row belongs to group `i * PER_WORD / GROUP`.",
    "half_sums": (
        "The sum is kept in half precision, which has 11 bits: small terms are lost on a large sum. Declare what you add to as "
        "`float`, and convert once, at the end."
    ),
}

# What rungs with a SIMD-group a row can get wrong.
LANES = {
    "half_the_lanes": "Only lanes 0 to 15 are in the sum. A SIMD-group has 32: shuffles by 16, 8, 4, 2 and 1, or `simd_sum`, which knows.",
    "one_lane": "Only the words of lane 0 are in the sum: add up the lanes with `simd_sum` before lane 0 writes.",
    "last_round": (
        "The last words of a row are missing where its length is no multiple of 32 lanes. Let each lane go on until "
        "its own index is past the row, instead of counting whole rounds."
    ),
    "in_the_loop": (
        "`simd_sum` is called where some lanes have left already: all 32 must meet there. Each lane adds up its own words "
        "first, and `simd_sum` comes once, behind the loop."
    ),
    "each_lane_writes": "Several lanes write the same `y`, each its own part of the sum. Add up first, then let lane 0 write alone.",
    "missing_outputs": "Some values of `y` are never written.",
    "endless": "A loop never ends: its counter has to grow, by 32 for a lane's words.",
}

simd_sum = Rung(
    LADDER,
    "simd_sum",
    "Metal: one SIMD-group a row",
    source="quantized_matmul_simd_sum.metal",
    parts=("dot_row",),
    cases=FEW_TOKENS,
    mistakes={
        **COMMON,
        **LANES,
        "past_row": "You read past the end of the row: its words are 0 to `words_per_row - 1`, and a lane whose `i` is larger is done.",
    },
    findings={
        ("out_of_bounds", "words"): "past_row",
        ("out_of_bounds", "x"): "past_row",
        ("simd_divergence", ""): "in_the_loop",
        ("race", "y"): "each_lane_writes",
        ("time_limit", ""): "endless",
    },
)

rows = Rung(
    LADDER,
    "rows",
    "Metal: vector loads, and several rows a SIMD-group",
    source="quantized_matmul_rows.metal",
    parts=("dot_rows",),
    cases=FEW_TOKENS,
    mistakes={
        **COMMON,
        **LANES,
        "bias_once": "Each bias is added once for a lane's two words. It belongs to every weight, so it meets the sum of the lane's x: `bias * total`.",
        "past_last_row": (
            "The last SIMD-group reaches past row N - 1: where N is no multiple of ROWS, fewer rows are left. "
            "`min(ROWS, N - n)` says how many."
        ),
    },
    findings={
        ("out_of_bounds", "words"): "past_last_row",
        ("out_of_bounds", "scales"): "past_last_row",
        ("out_of_bounds", "biases"): "past_last_row",
        ("out_of_bounds", "y"): "past_last_row",
        ("simd_divergence", ""): "in_the_loop",
        ("race", "y"): "each_lane_writes",
        ("time_limit", ""): "endless",
    },
)

tiles = Rung(
    LADDER,
    "tiles",
    "Metal: tiles and 8 x 8 matrices, for many tokens",
    source="quantized_matmul_tiles.metal",
    parts=("fill_tiles", "multiply_tiles"),
    cases=CASES,
    mistakes={
        **COMMON,
        "no_barrier": (
            "A barrier is missing. There are two a step: between filling the tiles and reading them, and between reading "
            "them and filling them again. `threadgroup_barrier(mem_flags::mem_threadgroup)`."
        ),
        "past_edge": "You read past the last token or the last row: where a tile reaches over the edge, put 0 into it and read nothing.",
        "not_filled": (
            "Part of a tile is read that nobody has filled: 128 threads fill 1,024 places, so each goes on by THREADS until all are done. "
            "What lies past an edge is filled, too, with 0."
        ),
        "not_transposed": (
            "`w_tile` is [row, k], and the product wants [k, row]: load it transposed, "
            "`simdgroup_load(matrix, place, TILE, ulong2(0, 0), true)`."
        ),
        "too_large": "A threadgroup has 32 KiB. Tiles of TILE by TILE in T, and one in float for the result, take at most 12.",
    },
    findings={
        ("race", "x_tile"): "no_barrier",
        ("race", "w_tile"): "no_barrier",
        ("out_of_bounds", "x"): "past_edge",
        ("out_of_bounds", "words"): "past_edge",
        ("out_of_bounds", "scales"): "past_edge",
        ("out_of_bounds", "biases"): "past_edge",
        ("uninitialised", "x_tile"): "not_filled",
        ("uninitialised", "w_tile"): "not_filled",
        ("threadgroup_memory", ""): "too_large",
    },
)


few_tokens = Rung(
    LADDER,
    "few_tokens",
    "Metal: words read once for several tokens",
    source="quantized_matmul_few_tokens.metal",
    parts=("dot_rows",),
    cases=CASES,
    mistakes={
        **COMMON,
        **LANES,
        "bias_once": rows.mistakes["bias_once"],
        "past_last_row": rows.mistakes["past_last_row"],
        "past_last_token": "The last SIMD-group reaches past token M - 1: where M is no multiple of TOKENS, `min(TOKENS, M - m)` tokens are left.",
        "first_token": "All tokens of a SIMD-group get the x of its first: token `t` begins at `vectors[t * K / 4]`.",
    },
    findings={
        ("out_of_bounds", "words"): "past_last_row",
        ("out_of_bounds", "scales"): "past_last_row",
        ("out_of_bounds", "biases"): "past_last_row",
        ("out_of_bounds", "x"): "past_last_token",
        ("out_of_bounds", "y"): "past_last_token",
        ("simd_divergence", ""): "in_the_loop",
        ("race", "y"): "each_lane_writes",
        ("time_limit", ""): "endless",
    },
    stretch=True,
)


def load(path, rung: str) -> MetalQuantizedMatmul:
    return MetalQuantizedMatmul(rung, path)


quantized_matmul = MetalLadder(
    LADDER,
    rungs=(simd_sum, rows, tiles, few_tokens),
    given=("one_thread",),
    load=load,
    problems=problems,
    benchmark=benchmark,
)
