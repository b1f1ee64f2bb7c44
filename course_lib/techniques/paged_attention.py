"""Attention over keys and values that lie in blocks: gather them first, then attend as ever.

vLLM's kernel does without the gathering: it follows the block table while it attends, and reads each key
and value where it lies (PagedAttention, https://arxiv.org/abs/2309.06180, section 4.1).
"""

from collections.abc import Sequence

import mlx.core as mx

from course_lib.techniques.paged_kv import BlockTable, PagedKVCache


def paged_attention(
    queries: mx.array, cache: PagedKVCache, tables: Sequence[BlockTable], *, scale: float
) -> mx.array:
    """Each sequence's newest token attends to all tokens of its own table.

    Args:
        queries: [B, H, 1, D], one row a table.
        cache: the pool of this layer. The newest tokens have been written to it.
        tables: B of them, of any lengths.
        scale: of the scores.

    Returns:
        [B, H, 1, D].
    """
    lengths = [table.num_tokens for table in tables]
    S = max(lengths)
    # Slot 0 stands in where a row is shorter: something must be gathered there, and the mask hides it.
    slots = [[*table.slots(), *[0] * (S - length)] for table, length in zip(tables, lengths, strict=True)]
    keys, values = cache.gather(mx.array(slots))  # [B, H_kv, S, D]
    visible = mx.arange(S) < mx.array(lengths)[:, None]  # [B, S]
    return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=visible[:, None, None])
