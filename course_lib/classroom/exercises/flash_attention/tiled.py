"""One head's attention in tiles."""

import mlx.core as mx

from ....lab.memory import peak_memory
from ....techniques import flash_attention as techniques
from ...exercise import Exercise
from .oracle import NAMES, attend, narrow, online_mistakes, wide

tiled_attention = Exercise(
    "flash_attention.tiled_attention",
    "Attention in tiles",
    name="tiled_attention",
    reference=techniques.tiled_attention,
    names=NAMES,
    uses=("flash_attention.take_up",),
    mistakes={
        "no_scale": "The scores are not multiplied by `scale`.",
        "scale_twice": "The scale is applied twice: to the queries (or keys) and to the scores, or once more for each tile. Once is enough.",
        "last_keys": "The last keys are missing: S need not be a multiple of key_block. Step from 0 to S by key_block and let slices end where the array does.",
        "last_queries": "The last queries are missing: L need not be a multiple of query_block.",
        "not_divided": "The weighted sum was never divided by the sum of the weights: `result(carried)` does it, when a block is through.",
        "no_rescale": "What was carried is not corrected when a larger score comes: use `take_up`, which does.",
        "own_largest": "Each tile is weighted relative to its own largest score. What is carried belongs together: start a block once, with `nothing_yet`, not in each tile.",
        "not_carried": "Only the last tile of keys counts: carry on from what `take_up` returned for the tile before.",
        "whole_matrix": "At some moment there was room for most of the matrix of scores. Make one tile of them at a time, and `mx.eval` each block's result before the next: MLX would otherwise record all tiles first.",
    },
)


def check_one(answer, t, L, S, D=64, query_block=32, key_block=64, scale=0.2):
    q, k, v = t.normal("queries", L, D), t.normal("keys", S, D), t.normal("values", S, D)
    a, b, c = wide(q), wide(k), wide(v)
    whole_keys = S // key_block * key_block
    mistakes = {
        "no_scale": narrow(attend(a, b, c, 1.0)),
        "scale_twice": narrow(attend(a, b, c, scale**2)),
        "last_queries": lambda y: isinstance(y, mx.array) and y.ndim == 2 and y.shape[0] == L // query_block * query_block != L,
        "not_divided": lambda y: _proportional(y, narrow(attend(a, b, c, scale))),
        **online_mistakes(a, b, c, scale, key_block),
    }
    if 0 < whole_keys < S:
        mistakes = {"last_keys": narrow(attend(a, b[:whole_keys], c[:whole_keys], scale)), **mistakes}
    t.close(
        f"tiled_attention of queries [{L}, {D}] and keys [{S}, {D}], blocks of {query_block} and {key_block}",
        answer(q, k, v, scale=scale, query_block=query_block, key_block=key_block), narrow(attend(a, b, c, scale)),
        atol=1e-4, rtol=1e-4, mistakes=mistakes,
    )  # fmt: skip


def _proportional(y, wanted):
    """Is each row a multiple of the right one?"""
    if not isinstance(y, mx.array) or y.shape != wanted.shape:
        return False
    factor = mx.sum(y * wanted, axis=-1, keepdims=True) / mx.sum(wanted * wanted, axis=-1, keepdims=True)
    return bool(mx.all(factor > 1.01).item()) and mx.allclose(y, factor * wanted, rtol=1e-3, atol=1e-3).item()


@tiled_attention.case("one tile")
def _(answer, t):
    check_one(answer, t, 5, 40)


@tiled_attention.case("several whole tiles")
def _(answer, t):
    check_one(answer, t, 64, 192)
    check_one(answer, t, 8, 12, 4, 4, 4)


@tiled_attention.case("lengths that are no multiples of the blocks")
def _(answer, t):
    check_one(answer, t, 64, 150)
    check_one(answer, t, 45, 128)
    check_one(answer, t, 33, 65)


@tiled_attention.case("from 1 to 300 queries and keys")
def _(answer, t):
    for L, S in ((1, 1), (1, 300), (300, 1), (33, 64), (300, 299)):
        check_one(answer, t, L, S)


@tiled_attention.case("head sizes 64, 80, 96, 128")
def _(answer, t):
    for D in (80, 96, 128):
        check_one(answer, t, 17, 70, D)


@tiled_attention.case("there is never more than a few tiles' worth of scores")
def _(answer, t):
    q, k, v = (t.normal(name, 1024, 16) for name in ("queries", "keys", "values"))
    mx.eval(q, k, v)
    peak = peak_memory(lambda: answer(q, k, v, scale=0.25, query_block=32, key_block=32))
    most = 1024 * 1024 * 4 // 4
    t.true(
        peak <= most, f"1,024 queries and keys in tiles of 32 x 32 took {peak / 2**20:.1f} MiB; all scores are 4 MiB, and a quarter of that is allowed.",
        "whole_matrix",
    )  # fmt: skip
