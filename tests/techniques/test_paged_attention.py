"""Attention over blocks is attention."""

import mlx.core as mx
import numpy as np
import pytest

from course_lib.techniques.paged_attention import paged_attention
from course_lib.techniques.paged_kv import BlockTable, PagedKVCache


@pytest.mark.parametrize("lengths", [[1], [4, 4], [1, 9, 8, 3]])
def test_each_row_sees_its_own_tokens_and_no_others(lengths):
    random = np.random.default_rng(0)
    H, H_kv, D, size, blocks = 4, 2, 8, 4, 16
    cache = PagedKVCache(blocks, size, H_kv, D)
    pool = [mx.array(random.standard_normal((blocks * size, H_kv, D)).astype(np.float32)) for _ in range(2)]
    cache.write(mx.arange(blocks * size), *pool)
    free = random.permutation(blocks).tolist()
    tables = [BlockTable(size, [free.pop() for _ in range(-(-n // size))], n) for n in lengths]
    queries = mx.array(random.standard_normal((len(lengths), H, 1, D)).astype(np.float32))
    given = paged_attention(queries, cache, tables, scale=0.3)
    for row, table in enumerate(tables):
        own = [x[mx.array(list(table.slots()))].swapaxes(0, 1)[None] for x in pool]
        want = mx.fast.scaled_dot_product_attention(queries[row : row + 1], *own, scale=0.3)
        assert mx.allclose(given[row : row + 1], want, atol=1e-5)
