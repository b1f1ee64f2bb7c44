"""The Metal ladder of attention."""

from ....kernels.metal_attention import MetalAttention
from ...native.ladder import MetalLadder, Rung
from .benchmark import benchmark
from .problems import problems

LADDER = "attention.metal"
CASES = {
    "one_query": "one query, 70 keys",
    "few_keys": "one key, and five",
    "rising": "scores that rise along the keys, and that fall",
    "heads": "two batch entries, 3 query heads to a key/value head",
    "causal": "a causal mask, with as many keys as queries and with more",
    "edges": "queries and keys that fill no whole block",
    "extremes": "scores of 10,000 and -10,000",
    "wide": "head size 128",
    "half": "float16",
    "bfloat": "bfloat16",
    "long": "float16, 500 keys",
}

SOFTMAX = {
    "no_rescale": (
        "What was summed up before is not corrected when a larger score comes: `sum` and every `weighted` are multiplied by "
        "exp(old largest - new largest) before anything is added."
    ),
    "not_carried": "Only the newest keys count: `largest` has to be set to the new largest score, after the factor was computed from the old one.",
    "half_sums": (
        "The result is near, but further off than one rounding explains: something is summed up in half precision. "
        "Inputs and the result are of type `T`; scores, weights and sums are `float`."
    ),
    "not_scaled": "The scores are not scaled: `scale` times query times key.",
    "not_divided": "The result is not divided by the sum of the weights.",
    "endless": "A loop never ends: its counter does not move, or its condition stays true.",
}
CAUSAL = {
    "one_too_many": "A query sees one key too many. Query l sees keys 0 to S - L + l, so S - L + l + 1 of them.",
    "one_too_few": "A query does not see its own key. Query l sees keys 0 to S - L + l, so S - L + l + 1 of them.",
    "no_mask": "The causal mask does not show: query l sees keys 0 to S - L + l.",
    "top_left": "With more keys than queries the queries stand at the end: query l sees keys 0 to S - L + l, not 0 to l.",
}
LANES = {
    "half_the_lanes": "Only half of the lanes are in a sum or a maximum. A SIMD-group has 32: shuffles by 16, 8, 4, 2 and 1, or `simd_sum` and `simd_max`, which know.",
    "in_a_branch": "A SIMD-group operation is called where some lanes do not come to: all 32 must meet there. Take the call out of the `if` or the loop.",
}
BARRIERS = {
    "no_barrier": (
        "A barrier is missing. There is one before the tile is written (others may still read what it held) and one before it is "
        "read (others may still write): `threadgroup_barrier(mem_flags::mem_threadgroup)`, four in a step."
    ),
    "past_edge": "You read behind the last key: the last tile reaches past S. Where `first + i / D` is not below S, put 0 into the tile and read nothing.",
    "not_filled": "Part of the tile is read that nobody has filled: each thread goes on by THREADS until all KEYS * D places are done, zeros behind the last key too.",
    "too_large": "A threadgroup has 32 KiB. What is given takes up to 25 of them (D = 128, float32); scores and weights belong into registers.",
    "keys_as_values": "The values never come: what is weighted and summed up are the keys. The values take the keys' place in the tile.",
}

simd_group = Rung(
    LADDER,
    "simd_group",
    "Metal: one SIMD-group a query, an online softmax",
    source="attention_simd_group.metal",
    parts=("what_is_read", "score", "online_softmax"),
    cases=CASES,
    mistakes={
        **SOFTMAX,
        **CAUSAL,
        **LANES,
        "one_lane": "A lane's own share of the score is taken for the whole: `simd_sum` adds up the 32 shares, and every lane gets the sum.",
        "wrong_head": "A query head reads another head's keys. Neighbours share: head h of batch entry b reads key/value head h / sharing of the same entry, which is number b * H_kv + h / sharing.",
        "past_keys": "You read where no keys are. There are B * H_kv key/value heads of S keys: is `kv_head` one of them, and `seen` at most S?",
    },
    findings={
        ("out_of_bounds", "k"): "past_keys",
        ("out_of_bounds", "v"): "past_keys",
        ("simd_divergence", ""): "in_a_branch",
        ("time_limit", ""): "endless",
    },
    output="out",
)

tiles = Rung(
    LADDER,
    "tiles",
    "Metal: queries and keys in threadgroup memory",
    source="attention_tiles.metal",
    parts=("load_keys", "online_softmax", "load_values", "weighted_sum"),
    cases=CASES,
    mistakes={
        **SOFTMAX,
        **CAUSAL,
        **LANES,
        **BARRIERS,
        "own_weight": "Every lane uses the weight of its own key for all keys of the tile. Key j's weight is in lane j: `simd_shuffle(weights[r], j)` brings it to all.",
    },
    findings={
        ("race", "tile"): "no_barrier",
        ("out_of_bounds", "k"): "past_edge",
        ("out_of_bounds", "v"): "past_edge",
        ("uninitialised", "tile"): "not_filled",
        ("threadgroup_memory", ""): "too_large",
        ("simd_divergence", ""): "in_a_branch",
        ("time_limit", ""): "endless",
    },
    output="out",
)

matrices = Rung(
    LADDER,
    "matrices",
    "Metal: products of 8 x 8 matrices",
    source="attention_matrices.metal",
    parts=("scores", "online_softmax", "weighted_sum"),
    cases=CASES,
    mistakes={
        **SOFTMAX,
        **CAUSAL,
        "half_the_row": "A lane's row is reduced over two lanes alone. Four lanes hold it, and their numbers differ in bits 0 and 3: `simd_shuffle_xor` by 1, and then by 8.",
        "not_transposed": "The tile is [key, feature], and the product wants [feature, key]: load it transposed, `simdgroup_load(key, place, D, ulong2(0, 0), true)`.",
        "keys_as_values": BARRIERS["keys_as_values"],
        "out_of_tile": "A matrix is loaded from outside the tile: matrix (n, j) begins at `tile + n * SIDE * D + j * SIDE`, and a row is D long.",
    },
    findings={
        ("out_of_bounds", "fours"): "out_of_tile",
        ("uninitialised", "fours"): "out_of_tile",
        ("time_limit", ""): "endless",
    },
    output="out",
)

split_keys = Rung(
    LADDER,
    "split_keys",
    "Metal: one query's keys on many SIMD-groups, merged",
    source="attention_split_keys.metal",
    parts=("span", "walk", "merge"),
    cases=CASES,
    mistakes={
        **SOFTMAX,
        **CAUSAL,
        "in_a_branch": LANES["in_a_branch"],
        "last_keys": "The last keys are missing: S need not be a multiple of `spans`, so round a span's length *up*; the last one is cut off at the keys that are seen.",
        "not_merged": (
            "The parts are not brought together: each part's sums are relative to its own largest score. Multiply both sides by "
            "exp(their largest - the larger of the two), then add."
        ),
        "past_keys": "You read behind the last key: a span ends at `seen`, where that comes first.",
    },
    findings={
        ("out_of_bounds", "k"): "past_keys",
        ("out_of_bounds", "v"): "past_keys",
        ("simd_divergence", ""): "in_a_branch",
        ("time_limit", ""): "endless",
    },
    output="out",
    stretch=True,
)


def load(path, rung: str) -> MetalAttention:
    return MetalAttention(rung, path)


attention = MetalLadder(
    LADDER,
    rungs=(simd_group, tiles, matrices, split_keys),
    given=("one_thread",),
    load=load,
    problems=problems,
    benchmark=benchmark,
)
