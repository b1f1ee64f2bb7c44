"""Sharing without forks."""

import pytest

from course_lib.techniques.paged_kv import OutOfBlocks
from course_lib.techniques.sharing_blocks import SharingBlocks


def test_what_begins_alike_is_shared_and_nothing_is_copied():
    manager = SharingBlocks(5, 2)
    first = manager.new_table()
    assert manager.append(first, 5) == []
    manager.remember(first, [1, 2, 3, 4, 5])
    second = manager.new_table([1, 2, 3, 4, 6])
    assert second.blocks == first.blocks[:2]
    assert manager.append(second, 1) == [] and second.num_tokens == 5
    with pytest.raises(OutOfBlocks, match="2 blocks are missing and 1 are free"):
        manager.append(second, 4)
    assert second.num_tokens == 5 and manager.allocator.num_free == 1
    manager.free(first), manager.free(second)
    assert manager.allocator.num_free == 5


def test_sequences_cannot_fork():
    manager = SharingBlocks(5, 2)
    with pytest.raises(TypeError, match="cannot fork"):
        manager.fork(manager.new_table())
