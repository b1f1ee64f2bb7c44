"""Who may go, and who may write, while others still hold a weight or a cache."""

import copy
import subprocess
import sys

import mlx.core as mx
import pytest
from kernels.closeness import same_bits

from course_lib.llm.room import RoomBatchedKVCache, RoomKVCache

LAST_HOLDER_ON_ANOTHER_THREAD = """
import mlx.core as mx
from course_lib.kernels.extension import extension

ext = extension()
arrays = *mx.quantize(mx.random.normal((4096, 1024)), group_size=32, bits=4), 32, 4
for _ in range(20):
    x = mx.random.normal((64, 1024))
    y = ext.linear(x, ext.Weight(arrays))  # the step is the weight's last holder
    mx.async_eval(y)
    ext.Weight(arrays)  # evaluates, which waits for the thread that lets go of the other
"""


def test_a_weight_may_go_on_another_thread_while_one_is_made():
    subprocess.run([sys.executable, "-c", LAST_HOLDER_ON_ANOTHER_THREAD], check=True, timeout=60)


def new(tokens, value, rows=1):
    return mx.full((rows, 2, tokens, 32), value, dtype=mx.float32)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copied_cache_and_its_original_do_not_write_into_each_other(copied):
    cache = RoomKVCache()
    cache.update_and_fetch(new(3, 1), new(3, 1))
    twin = copied(cache)
    twin.update_and_fetch(new(1, 2), new(1, 2))
    cache.update_and_fetch(new(1, 3), new(1, 3))
    for held, value in ((twin, 2), (cache, 3)):
        keys, values = held.update_and_fetch(new(1, 4), new(1, 4))
        want = mx.concatenate([new(3, 1), new(1, value), new(1, 4)], axis=2)
        assert same_bits(keys, want) and same_bits(values, want)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_row_removed_from_a_copied_batch_stays_in_the_original(copied):
    cache = RoomBatchedKVCache(3)
    for value in (1, 2, 3):
        row = cache.add()
        cache.append(row, new(2, value), new(2, value))
    twin = copied(cache)
    twin.remove(0)
    for row, value in enumerate((1, 2, 3)):
        keys, values = cache.fetch(row, 1)
        assert same_bits(keys[..., :2, :], new(2, value)) and same_bits(values[..., :2, :], new(2, value))
