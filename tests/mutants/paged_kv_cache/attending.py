"""Attention over blocks."""

import mlx.core as mx

from .. import mutant, rival

ATTENTION = "paged_kv_cache.paged_attention"


def _attend(queries, cache, tables, scale, *, slots=None, hide=lambda n: n, mask=True):
    """Right in itself; mutants change the slots or the mask."""
    rows = [list(slots(t) if slots else t.slots()) for t in tables]
    S = max(map(len, rows))
    keys, values = cache.gather(mx.array([r + [0] * (S - len(r)) for r in rows]))
    visible = mx.arange(S) < mx.array([hide(len(r)) for r in rows])[:, None]
    return mx.fast.scaled_dot_product_attention(
        queries, keys, values, scale=scale, mask=visible[:, None, None] if mask else None
    )


@mutant(ATTENTION, "no_mask")
def sees_padding(queries, cache, tables, *, scale):
    return _attend(queries, cache, tables, scale, mask=False)


@mutant(ATTENTION, "no_mask")
def repeats_the_last(queries, cache, tables, *, scale):
    S = max(t.num_tokens for t in tables)
    rows = [[*t.slots()] for t in tables]
    keys, values = cache.gather(mx.array([r + r[-1:] * (S - len(r)) for r in rows]))
    return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale)


@mutant(ATTENTION, "whole_blocks")
def sees_whole_blocks(queries, cache, tables, *, scale):
    def slots(table):
        return [b * table.block_size + i for b in table.blocks for i in range(table.block_size)]

    return _attend(queries, cache, tables, scale, slots=slots)


@mutant(ATTENTION, "newest_missing")
def hides_the_newest(queries, cache, tables, *, scale):
    return _attend(queries, cache, tables, scale, hide=lambda n: n - 1)


@mutant(ATTENTION, "one_table")
def first_table_for_all(queries, cache, tables, *, scale):
    return _attend(queries, cache, [tables[0]] * len(tables), scale)


@mutant(ATTENTION, "blocks_as_slots")
def gathers_blocks(queries, cache, tables, *, scale):
    return _attend(queries, cache, tables, scale, slots=lambda t: t.blocks)


@mutant(ATTENTION, "no_scale")
def forgets_the_scale(queries, cache, tables, *, scale):
    return _attend(queries, cache, tables, 1.0)


@mutant(ATTENTION, "shape")
def drops_an_axis(queries, cache, tables, *, scale):
    return _attend(queries, cache, tables, scale)[:, :, 0]


@mutant(ATTENTION, "no_mask")
def off_by_one_to_the_right(queries, cache, tables, *, scale):
    return _attend(queries, cache, tables, scale, hide=lambda n: n + 1)


@rival(ATTENTION)
def row_by_row(queries, cache, tables, *, scale):
    """No padding, no mask: a call a sequence, in plain operations."""
    outputs = []
    for query, table in zip(queries, tables):
        keys, values = (x[0] for x in cache.gather(mx.array([list(table.slots())])))  # [H_kv, S, D]
        grouped = (query * scale).reshape(keys.shape[0], -1, query.shape[-1])  # [H_kv, H / H_kv, D]
        weights = mx.softmax(grouped @ keys.swapaxes(1, 2), axis=-1)
        outputs.append((weights @ values).reshape(query.shape))
    return mx.stack(outputs)
