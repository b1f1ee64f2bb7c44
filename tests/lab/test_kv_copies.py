"""Bytes moved, counted from outside, are those the caches count themselves."""

import mlx.core as mx
import pytest

from course_lib.lab.kv_copies import bytes_copied
from course_lib.techniques.kv_cache import ConcatKVCache, KVCache


@pytest.mark.parametrize("make", [ConcatKVCache, lambda: KVCache(step=4), lambda: KVCache(step=16), KVCache])
def test_the_count_agrees_with_the_cache_s_own(make):
    cache, own = make(), []
    new = mx.ones((1, 2, 1, 8))
    for _ in range(40):
        cache.update_and_fetch(new, new)
        own.append(cache.bytes_copied)
    assert bytes_copied(make, 40, (1, 2, 8)).tolist() == own


def test_concatenating_copies_the_triangle():
    token = 2 * 3 * 64 * 4
    assert bytes_copied(ConcatKVCache, 10, (1, 3, 64))[-1] == token * 55
