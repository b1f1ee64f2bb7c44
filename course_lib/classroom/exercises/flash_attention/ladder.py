"""The C++ ladder of attention."""

import mlx.core as mx

from ....kernels.loaded import LoadedAttention
from ....lab.plots import bars, new_figure
from ....lab.timing import compare
from ...native.ladder import Ladder, Rung

CASES = {
    "one_tile": "fewer keys than a tile holds",
    "ragged": "keys that do not fill whole tiles",
    "rising": "scores that rise from tile to tile, and that fall",
    "causal": "a causal mask, with as many keys as queries and with more",
    "heads": "3, 4 and 8 query heads to a key/value head",
    "widths": "head sizes 80, 96, 128, 20 and 1",
    "masks": "boolean and additive masks, and queries that see nothing",
    "extremes": "scores of 10,000 and -10,000",
    "strides": "inputs that are not contiguous",
}
SHARED = {
    "spans": "more than one span of keys",
    "workers": "the same bits on 1, 2 and 5 workers, and work for each",
}
ANY = {"any": "24 problems of random sizes"}
RACES = {"races": "no two workers touch the same memory"}

SCALED_TWICE = "The scale is applied twice: `row.query` is scaled already, when its block is loaded. A score is the dot product alone."
SOFTMAX = {
    "no_rescale": (
        "What was carried is not corrected when a larger score comes: both `row.sum` and `row.weighted` are multiplied by "
        "exp(old largest - new largest) before anything is added."
    ),
    "not_carried": "Only the last tile of keys counts: `row.largest` has to be set to the new largest score, and `sum` and `weighted` are to be added to, not set.",
    "own_largest": "Each tile is weighted relative to its own largest score. The reference is the largest of `row.largest` and the new ones.",
    "nothing_seen": (
        "There is a NaN where a mask hides everything: then the largest score is MINUS_INFINITY, and the difference of two such is NaN. "
        "Return before the exponentials as long as the largest is MINUS_INFINITY."
    ),
    "endless": "A loop's counter does not move, or its condition stays true.",
}

tiled = Rung(
    "attention",
    "tiled",
    "C++: keys in tiles, no row of scores is ever whole",
    source="attention_tiled.cpp",
    parts=("scores", "online_softmax", "walk"),
    cases={**CASES, **ANY},
    mistakes={
        **SOFTMAX,
        "last_tile": "The last keys are missing where they do not fill a tile: go on while `first < end`, and load `std::min(KEYS, end - first)`.",
        "one_too_many": "A query sees one key too many. Row r sees keys 0 to walk.visible(r) - 1, so `walk.visible(r) - first` of this tile.",
        "one_too_few": "A query does not see its own key. Row r sees keys 0 to walk.visible(r) - 1, so `walk.visible(r) - first` of this tile.",
        "no_mask": "The causal mask does not show: each row sees only `walk.visible(r)` keys.",
        "past_keys": "More keys are loaded than there are: the last tile may be shorter than KEYS.",
        "scale_twice": SCALED_TWICE,
    },
    findings={("read", "k"): "past_keys", ("read", "v"): "past_keys"},
    output="out",
)

vectors = Rung(
    "attention",
    "vectors",
    "C++: as many numbers at a time as a vector has lanes",
    source="attention_vectors.cpp",
    parts=("scores", "softmax", "values"),
    cases={**CASES, **ANY},
    mistakes={**SOFTMAX, "scale_twice": SCALED_TWICE},
    output="out",
)

threads = Rung(
    "attention",
    "threads",
    "C++: blocks of queries, or spans of keys, on several threads",
    source="attention.cpp",
    parts=("whole_block", "spans_as_tasks"),
    cases={**CASES, **SHARED, **ANY, **RACES},
    mistakes={
        "shared_scratch": (
            "Several workers write to the same scratch memory, and to the sums in it. Each worker has its own: `scratch_of(worker)`. "
            "What a span found goes to `part_at(index)`, and no two tasks have the same index."
        ),
        "first_span": "Only the first span of keys counts: go on in steps of SPAN to the end, and merge each.",
        "last_span": "Only the last span of keys counts. Each `run_span` starts its sums anew: let it write `mine.part`, and `merge` that into `mine.total`.",
        "not_started": "What `total` holds at first is what lay in memory before: `total.reset` comes before the first `merge`.",
        "parts_missing": (
            "A part is merged that was never computed. There are blocks.count * span_count tasks; what task `index` finds is in "
            "`part_at(index)`, and span s of block b has index b * span_count + s."
        ),
        "wrong_head": (
            "Heads get each other's results. The parts at index * span_count + span are those of `blocks[index]`, forwards: only `whole_block` "
            "takes the blocks from the last to the first."
        ),
        "unshared": "There are fewer tasks than workers, so that some have nothing to do: with one block of queries the spans are the tasks, blocks.count * span_count of them.",
        "endless": "A loop's counter does not move: the next span begins SPAN keys later.",
    },
    findings={("race", "scratch"): "shared_scratch", ("race", "out"): "shared_scratch"},
    threads=True,
    output="out",
)

HEADS, KV_HEADS, HEAD_DIM = 9, 3, 64  # SmolLM2's
SIZES = {"256 queries and keys (prefill)": (256, 256), "1 query, 2,048 keys (decode)": (1, 2048)}
ROUNDS, SECONDS = 4, 1.0


def benchmark(kernels):
    """Time kernels and MLX's own in the model's shapes, reading a prompt and writing a token."""
    figure, axes = new_figure(0.42 * len(kernels) + 1.7, width=10, columns=2)
    for ax, (title, (L, S)) in zip(axes, SIZES.items(), strict=True):
        q = mx.random.normal((1, HEADS, L, HEAD_DIM), key=mx.random.key(0))
        k, v = (mx.random.normal((1, KV_HEADS, S, HEAD_DIM), key=mx.random.key(i)) for i in (1, 2))
        mx.eval(q, k, v)
        contenders = {**kernels, "MLX": mx.fast.scaled_dot_product_attention}
        calls = {
            name: lambda kernel=kernel, q=q, k=k, v=v: kernel(q, k, v, scale=HEAD_DIM**-0.5, mask="causal")
            for name, kernel in contenders.items()
        }
        times = compare(calls, rounds=ROUNDS, budget=SECONDS)
        bars(times.median, spread=times.spread, quantity="time", unit="s", title=title, log=True, ax=ax)
    return figure, "Times of the rungs and of MLX's own attention, for a prompt of 256 tokens and for one token, logarithmic."


attention = Ladder(
    "attention",
    sources=(
        "attention_naive.cpp",
        "attention_tiled.cpp",
        "attention_vectors.cpp",
        "attention.cpp",
        "attention_ladder.cpp",
    ),
    program="check_attention.cpp",
    export="export_attention.cpp",
    rungs=(tiled, vectors, threads),
    given=("naive",),
    load=LoadedAttention,
    benchmark=benchmark,
)
