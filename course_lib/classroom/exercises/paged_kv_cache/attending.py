"""Attention over blocks."""

import mlx.core as mx

from ....techniques import paged_attention as reference
from ....techniques.paged_kv import BlockTable, PagedKVCache
from ...exercise import Exercise
from .names import NAMES

paged_attention = Exercise(
    "paged_kv_cache.paged_attention",
    "Gather, then attend",
    name="paged_attention",
    reference=reference.paged_attention,
    names=NAMES,
    mistakes={
        "no_mask": (
            "The shorter rows also see what was gathered to fill them up. Mask it: row b may look at its "
            "first tables[b].num_tokens keys."
        ),
        "whole_blocks": (
            "A row sees the places in its last block that hold no token yet. Mask by tokens, not by blocks."
        ),
        "newest_missing": (
            "The newest token does not see itself. It has been written already: all num_tokens are visible."
        ),
        "one_table": "Every row reads the first table. Each has its own.",
        "blocks_as_slots": "Blocks were gathered as if they were slots. `table.slots()` knows the slots.",
        "no_scale": "The scores are not scaled.",
        "shape": "One output a query: [B, H, 1, D].",
    },
)

H, H_KV, D, SIZE, BLOCKS, SCALE = 4, 2, 8, 4, 24, 0.3


def _attend(q, k, v, scale=SCALE):
    """Dense attention of one row: q [H, 1, D], k and v [S, H_kv, D]."""
    k, v = (x.swapaxes(0, 1)[None] for x in (k, v))
    return mx.fast.scaled_dot_product_attention(q[None], k, v, scale=scale)


def _check(answer, t, lengths, H_kv=H_KV, shared=0, lowest=0):
    """Rows of these lengths, whose first `shared` blocks are the same; block numbers from `lowest` on."""
    cache = PagedKVCache(BLOCKS, SIZE, H_kv, D)
    # Every slot holds something: what is not hidden shows.
    pool = [t.normal(name, BLOCKS * SIZE, H_kv, D) for name in ("keys in the pool", "values in the pool")]
    cache.write(mx.arange(BLOCKS * SIZE), *pool)
    free = (t.rng.permutation(BLOCKS - lowest) + lowest).tolist()
    common = [free.pop() for _ in range(shared)]
    tables = [
        BlockTable(SIZE, common + [free.pop() for _ in range(-(-n // SIZE) - shared)], n) for n in lengths
    ]
    queries = t.normal("queries", len(lengths), H, 1, D)
    rows = [(queries[i], [x[mx.array(list(b.slots()))] for x in pool]) for i, b in enumerate(tables)]

    def all_rows(of):
        return mx.concatenate([of(i, q, *kv) for i, (q, kv) in enumerate(rows)])

    def slots(i, end):
        return [x[mx.array([b * SIZE + j for b in tables[i].blocks for j in range(SIZE)][:end])] for x in pool]

    wanted = all_rows(lambda i, q, k, v: _attend(q, k, v))
    longest = max(lengths)
    right = [lengths[i] == longest for i in range(len(lengths))]

    def no_mask(y):
        """Rows of full length are right, shorter ones are not."""
        if not isinstance(y, mx.array) or y.shape != wanted.shape or all(right):
            return False
        return all(bool(mx.allclose(y[i], wanted[i], atol=1e-4)) == right[i] for i in range(len(lengths)))

    mistakes = {
        "shape": lambda y: isinstance(y, mx.array) and y.shape != wanted.shape,
        "no_scale": all_rows(lambda i, q, k, v: _attend(q, k, v, 1.0)),
        "whole_blocks": all_rows(lambda i, q, k, v: _attend(q, *slots(i, None))),
        "newest_missing": all_rows(lambda i, q, k, v: _attend(q, k[:-1], v[:-1])) if min(lengths) > 1 else None,
        "one_table": all_rows(lambda i, q, k, v: _attend(q, *rows[0][1])) if len(lengths) > 1 else None,
        "blocks_as_slots": all_rows(
            lambda i, q, k, v: _attend(q, *(x[mx.array(tables[i].blocks)] for x in pool))
        ),
        "no_mask": no_mask,
    }
    t.close(
        f"paged_attention of tables with {list(lengths)} tokens", answer(queries, cache, tables, scale=SCALE), wanted,
        mistakes={k: v for k, v in mistakes.items() if v is not None}, atol=1e-4, rtol=1e-4,
    )  # fmt: skip


@paged_attention.case("one table, full blocks")
def _(answer, t):
    _check(answer, t, [8])


@paged_attention.case("one table, its last block not full")
def _(answer, t):
    _check(answer, t, [6])
    _check(answer, t, [1])


@paged_attention.case("tables of equal length")
def _(answer, t):
    _check(answer, t, [7, 7, 7])


@paged_attention.case("tables of different lengths")
def _(answer, t):
    _check(answer, t, [9, 3, 16, 1])
    _check(answer, t, [2, 12], lowest=3)


@paged_attention.case("tables that share their first blocks")
def _(answer, t):
    _check(answer, t, [9, 12, 10], shared=2)


@paged_attention.case("each query head with its own keys, and one for all")
def _(answer, t):
    for H_kv in (4, 1):
        _check(answer, t, [5, 11], H_kv=H_kv)


@paged_attention.case("random batches")
def _(answer, t):
    for _ in range(8):
        _check(answer, t, t.rng.integers(1, 17, int(t.rng.integers(1, 6))).tolist())
