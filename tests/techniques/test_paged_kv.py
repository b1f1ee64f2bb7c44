"""Blocks: nothing leaks, nobody writes to what another holds, what is found is what was asked for."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from course_lib.techniques.paged_kv import (
    BlockAllocator,
    BlockManager,
    BlockTable,
    OutOfBlocks,
    PagedKVCache,
    PrefixCache,
)

BLOCKS = 7


class Sequences(RuleBasedStateMachine):
    """Beside each table stand its tokens; a slot of the pool remembers which prefix its token ended."""

    @initialize(block_size=st.integers(1, 4), prefix_caching=st.booleans())
    def begin(self, block_size, prefix_caching):
        self.manager = BlockManager(BLOCKS, block_size, prefix_caching)
        self.pool = {}  # slot -> the tokens up to and including its own: what keys and values depend on
        self.held = []  # (table, tokens)

    @rule(tokens=st.lists(st.integers(0, 1), max_size=9))
    def a_sequence_begins(self, tokens):
        table = self.manager.new_table(tokens)
        assert table.num_tokens < max(len(tokens), 1)
        held = tokens[: table.num_tokens]
        self.held.append((table, held))
        if len(self.held) > 4:
            self.manager.free(self.held.pop(0)[0])

    @precondition(lambda self: self.held)
    @rule(data=st.data(), new=st.lists(st.integers(0, 1), max_size=6))
    def one_grows(self, data, new):
        table, tokens = data.draw(st.sampled_from(self.held))
        before = self.snapshot()
        missing = self.manager.missing(table, len(new))
        try:
            copies = self.manager.append(table, len(new))
        except OutOfBlocks:
            assert missing > self.manager.allocator.num_free and self.snapshot() == before
            return
        size = self.manager.block_size
        for source, target in copies:
            for i in range(size):
                if source * size + i in self.pool:
                    self.pool[target * size + i] = self.pool[source * size + i]
        start = len(tokens)
        tokens += new
        slots = list(table.slots(start))
        for position, slot in enumerate(slots, start):
            assert self.manager.allocator.owners(slot // size) == 1, "a shared block is written to"
            self.pool[slot] = tuple(tokens[: position + 1])
        self.manager.remember(table, tokens)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def one_is_trimmed(self, data):
        table, tokens = data.draw(st.sampled_from(self.held))
        count = data.draw(st.integers(0, len(tokens)))
        self.manager.trim(table, count)
        del tokens[len(tokens) - count :]

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def one_forks(self, data):
        table, tokens = data.draw(st.sampled_from(self.held))
        if len(self.held) < 5:
            self.held.append((self.manager.fork(table), list(tokens)))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def one_ends(self, data):
        index = data.draw(st.integers(0, len(self.held) - 1))
        table, _ = self.held.pop(index)
        self.manager.free(table)
        assert table.blocks == [] and table.num_tokens == 0

    def snapshot(self):
        return [(list(table.blocks), table.num_tokens) for table, _ in self.held]

    @invariant()
    def the_books_are_right(self):
        if not hasattr(self, "manager"):
            return
        allocator, size = self.manager.allocator, self.manager.block_size
        owners = [0] * BLOCKS
        for table, tokens in self.held:
            assert table.num_tokens == len(tokens)
            assert len(table.blocks) == -(-len(tokens) // size)
            for block in table.blocks:
                owners[block] += 1
            # What a sequence reads is what it wrote, or what another wrote after the same beginning.
            for position, slot in enumerate(table.slots()):
                assert self.pool[slot] == tuple(tokens[: position + 1])
        assert owners == [allocator.owners(block) for block in range(BLOCKS)]
        assert allocator.num_free == owners.count(0)


TestSequences = Sequences.TestCase
TestSequences.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_blocks_are_used_again_the_longest_unused_last_and_kept_ones_after_all_others():
    allocator = BlockAllocator(3)
    a, b, c = (allocator.allocate() for _ in range(3))
    with pytest.raises(OutOfBlocks, match="all 3 blocks are in use"):
        allocator.allocate()
    allocator.release(b, keep=True)
    allocator.release(a, keep=True)
    allocator.release(c)
    assert [allocator.allocate() for _ in range(3)] == [c, b, a]


def test_releasing_once_too_often_is_refused():
    allocator = BlockAllocator(2)
    block = allocator.allocate()
    allocator.share(block)
    allocator.release(block), allocator.release(block)
    with pytest.raises(ValueError, match=f"block {block} is free already"):
        allocator.release(block)
    with pytest.raises(ValueError, match="there is no block 2"):
        allocator.share(2)


def test_slots_follow_the_table():
    table = BlockTable(4, [5, 0, 2], 10)
    assert list(table.slots()) == [20, 21, 22, 23, 0, 1, 2, 3, 8, 9]
    assert list(table.slots(3, 6)) == [23, 0, 1]
    assert table.num_full == 2


def test_a_known_prefix_is_found_in_whole_blocks_and_never_whole():
    manager = BlockManager(10, 4)
    first = manager.new_table(range(12))
    manager.append(first, 12)
    manager.remember(first, range(12))
    assert manager.new_table(range(12)).blocks == first.blocks[:2]  # the last token is left to compute
    assert manager.new_table(range(13)).blocks == first.blocks
    assert manager.new_table([0, 1, 2, 3, 4, 5, 6, 99, 8]).blocks == first.blocks[:1]
    assert manager.new_table([99, *range(1, 12)]).blocks == []
    assert BlockManager(10, 4, prefix_caching=False).new_table(range(12)).blocks == []


def test_the_same_tokens_behind_another_beginning_are_another_block():
    prefixes = PrefixCache()
    one = prefixes.add(PrefixCache.EMPTY, [1, 2], block=0)
    other = prefixes.add(PrefixCache.EMPTY, [3, 4], block=1)
    prefixes.add(one, [5, 6], block=2)
    assert prefixes.find(one, [5, 6])[0] == 2
    assert prefixes.find(other, [5, 6]) is None


class Colliding(int):
    """A token whose hash is that of all others."""

    def __hash__(self):
        return 1


def test_equal_hashes_do_not_confuse():
    manager = BlockManager(10, 2)
    tokens = [[Colliding(t) for t in ids] for ids in ([1, 2, 3, 4, 9], [1, 2, 5, 6, 9], [3, 4, 1, 2, 9])]
    assert len({hash(tuple(t[:2])) for t in tokens}) == 1
    tables = []
    for ids in tokens:
        table = manager.new_table(ids)
        manager.append(table, len(ids) - table.num_tokens)
        manager.remember(table, ids)
        tables.append(table)
    assert tables[1].blocks[0] == tables[0].blocks[0]
    assert not set(tables[2].blocks) & {*tables[0].blocks, *tables[1].blocks}
    assert manager.new_table(tokens[1]).blocks == tables[1].blocks[:2]


def test_a_prefix_that_nobody_uses_is_kept_until_its_blocks_are_needed_the_end_first():
    manager = BlockManager(4, 2)
    old = manager.new_table()
    manager.append(old, 6)
    manager.remember(old, [1, 2, 3, 4, 5, 6])
    blocks = list(old.blocks)
    manager.free(old)
    assert manager.allocator.num_free == 4
    other = manager.new_table()
    manager.append(other, 3)  # the fourth block, then the end of the prefix
    again = manager.new_table([1, 2, 3, 4, 5, 6, 7])
    assert again.blocks == blocks[:2]


def test_a_block_whose_known_beginning_was_evicted_is_known_behind_its_own():
    manager = BlockManager(5, 2)
    one, other = manager.new_table(), manager.new_table()
    for table in (one, other):
        manager.append(table, 2)
        manager.remember(table, [1, 1])  # the first block stays the known one
    manager.append(other, 2)
    manager.remember(other, [1, 1, 0, 0])  # known behind a block that `other` does not hold
    manager.free(one)
    manager.append(manager.new_table(), 6)  # which is evicted now
    manager.remember(other, [1, 1, 0, 0])
    assert manager.new_table([1, 1, 0, 0, 9]).blocks == other.blocks


def test_a_trimmed_block_is_forgotten_when_it_is_written_to():
    manager = BlockManager(4, 4)
    table = manager.new_table()
    manager.append(table, 4)
    manager.remember(table, [1, 2, 3, 4])
    manager.trim(table, 1)
    assert manager.new_table([1, 2, 3, 4, 5]).num_tokens == 4  # still there: nothing was overwritten
    manager = BlockManager(4, 4)
    table = manager.new_table()
    manager.append(table, 4)
    manager.remember(table, [1, 2, 3, 4])
    manager.trim(table, 1)
    manager.append(table, 1)
    assert manager.new_table([1, 2, 3, 4, 5]).num_tokens == 0


@pytest.mark.parametrize("block_size", [1, 4, 16])
def test_gathered_attention_equals_dense(block_size):
    H, H_kv, D = 6, 2, 16
    random = np.random.default_rng(0)
    manager = BlockManager(200, block_size)
    cache = PagedKVCache(200, block_size, H_kv, D)
    lengths = [1, 37, 16, 50]
    rows = []
    for length in lengths:
        table = manager.new_table()
        keys, values = (mx.array(random.standard_normal((length, H_kv, D)).astype(np.float32)) for _ in range(2))
        for start in range(0, length, 7):  # in pieces, and turn by turn with nobody's blocks in order
            count = min(7, length - start)
            manager.append(table, count)
            manager.append(other := manager.new_table(), 1)
            manager.free(other)
            slots = mx.array(list(table.slots(start)))
            cache.write(slots, keys[start : start + count], values[start : start + count])
        rows.append((table, keys, values))
    S = max(lengths)
    slots = [[*table.slots(), *[0] * (S - table.num_tokens)] for table, _, _ in rows]
    keys, values = cache.gather(mx.array(slots))
    assert keys.shape == values.shape == (4, H_kv, S, D)
    queries = mx.array(random.standard_normal((4, H, 1, D)).astype(np.float32))
    mask = (mx.arange(S) < mx.array(lengths)[:, None])[:, None, None]
    out = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=0.25, mask=mask)
    for row, (_, own_keys, own_values) in enumerate(rows):
        dense = [a.swapaxes(0, 1)[None] for a in (own_keys, own_values)]
        want = mx.fast.scaled_dot_product_attention(queries[row : row + 1], *dense, scale=0.25)
        assert mx.allclose(out[row : row + 1], want, atol=1e-5)


def test_writing_and_copying_a_block_copy_no_others():
    cache = PagedKVCache(64, 16, 4, 64)
    new = [mx.ones((3, 4, 64)) for _ in range(2)]
    mx.eval(new)
    for change in (lambda: cache.write(mx.array([5, 900, 17]), *new), lambda: cache.copy_block(0, 3)):
        mx.eval(cache._keys, cache._values)
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        change()
        mx.eval(cache._keys, cache._values)
        assert mx.get_peak_memory() - before < cache.nbytes / 8
    assert (cache._keys[48:64] == cache._keys[0:16]).all() and cache._keys[53, 0, 0] == 1


def test_bad_calls_are_refused():
    with pytest.raises(ValueError, match="num_blocks is 0"):
        BlockManager(0)
    with pytest.raises(ValueError, match="block_size is 0"):
        BlockManager(1, 0)
    manager = BlockManager(1, 4)
    table = manager.new_table()
    with pytest.raises(ValueError, match="cannot trim 1 of 0 tokens"):
        manager.trim(table, 1)
    with pytest.raises(ValueError, match="cannot append -1 tokens"):
        manager.append(table, -1)
