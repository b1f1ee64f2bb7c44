"""Block sizes, against a manager that really hands blocks out."""

import pytest

from course_lib.techniques.block_size import largest_block_size, slots_held
from course_lib.techniques.paged_kv import BlockManager


@pytest.mark.parametrize("block_size", [1, 3, 16])
@pytest.mark.parametrize("shared", [0, 5, 32])
def test_slots_held_are_those_that_a_manager_hands_out(block_size, shared):
    lengths = [33, 40, 64, 35]
    manager = BlockManager(500, block_size)
    for i, length in enumerate(lengths):
        tokens = [7] * shared + [1000 + i] * (length - shared)
        table = manager.new_table(tokens)
        manager.append(table, length - table.num_tokens)
        manager.remember(table, tokens)
    used = (500 - manager.allocator.num_free) * block_size
    assert slots_held(lengths, block_size, shared) == used


def test_the_largest_size_that_wastes_little():
    assert largest_block_size([64, 128], [8, 16, 32, 64, 128]) == 64
    assert largest_block_size([65, 129], [8, 16, 32]) == 8
    assert largest_block_size([65, 129], [8, 16, 32], most_waste=0.2) == 16
    assert largest_block_size([70, 70], [1, 4, 32], shared=64, most_waste=0.05) == 1
    assert largest_block_size([3], [2, 4]) == 2
