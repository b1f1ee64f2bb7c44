"""The batched cache holds for each sequence what a cache of its own would, whoever comes and goes."""

import mlx.core as mx
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from course_lib.techniques.batched_kv_cache import BatchedKVCache, length_mask

H, D, D_V = 2, 4, 3
ROWS = 4


def tokens(seed, rows, count):
    keys = mx.random.normal((rows, H, count, D), key=mx.random.key(seed))
    return keys, mx.random.normal((rows, H, count, D_V), key=mx.random.key(seed + 1))


class Rows(RuleBasedStateMachine):
    """Beside each row stands what was appended to it, joined by concatenation."""

    @initialize(step=st.integers(1, 6))
    def begin(self, step):
        self.cache, self.rows, self.seed = BatchedKVCache(ROWS, step), [], 0

    @precondition(lambda self: len(self.rows) < ROWS)
    @rule()
    def a_sequence_joins(self):
        assert self.cache.add() == len(self.rows)
        self.rows.append(None)

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def a_sequence_leaves(self, data):
        row = data.draw(st.integers(0, len(self.rows) - 1))
        assert self.cache.remove(row) == len(self.rows) - 1
        last = self.rows.pop()
        if row < len(self.rows):
            self.rows[row] = last

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), count=st.integers(1, 5))
    def some_rows_grow(self, data, count):
        first = data.draw(st.integers(0, len(self.rows) - 1))
        number = data.draw(st.integers(1, len(self.rows) - first))
        keys, values = tokens(self.seed, number, count)
        self.seed += 2
        self.cache.append(first, keys, values)
        for i, row in enumerate(range(first, first + number)):
            new = keys[i], values[i]
            held = self.rows[row]
            self.rows[row] = new if held is None else tuple(
                mx.concatenate(pair, axis=1) for pair in zip(held, new, strict=True)
            )

    @invariant()
    def each_row_holds_its_own(self):
        lengths = [0 if row is None else row[0].shape[1] for row in self.rows]
        assert self.cache.lengths == lengths
        assert self.cache.nbytes_used == 4 * H * (D + D_V) * sum(lengths)
        if not self.rows:
            assert self.cache.nbytes == 0
        if not any(lengths):
            return
        for i, row in enumerate(self.rows):
            if row is None:
                continue
            keys, values = self.cache.fetch(i, 1)
            assert mx.array_equal(keys[0], row[0]) and mx.array_equal(values[0], row[1])
        keys, values = self.cache.fetch(0, len(self.rows))
        assert keys.shape == (len(self.rows), H, max(lengths), D)
        for i, row in enumerate(self.rows):
            if row is not None:
                assert mx.array_equal(keys[i, :, : lengths[i]], row[0])


TestRows = Rows.TestCase
TestRows.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


def test_the_mask_shows_each_row_its_own_tokens_and_the_new_ones_before():
    mask = length_mask([2, 0, 3], L=2)
    assert mask.shape == (3, 1, 2, 5)
    assert mask[:, 0].astype(mx.int32).tolist() == [
        [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]],
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0]],
        [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]],
    ]
    assert length_mask([4, 4]) is None  # one token in each of two equal rows: all may see all


def test_it_serves_as_a_models_cache(tiny_llama):
    """Three sequences that end at different places go on together, as each would alone."""
    from course_lib.llm import load

    model, _ = load(tiny_llama, cache=lambda: BatchedKVCache(3))
    plain, _ = load(tiny_llama)
    prompts = [[5, 6, 7], [9, 10, 11, 12, 13], [20]]
    cache = model.make_cache()
    for row, prompt in enumerate(prompts):
        alone = plain.make_cache()
        mx.eval(plain(mx.array([prompt[:-1] or prompt]), alone))
        for layer, lone in zip(cache, alone, strict=True):
            layer.add()
            if prompt[:-1]:
                layer.append(row, lone._keys[:, :, : lone.offset], lone._values[:, :, : lone.offset])
    together = model(mx.array([[prompt[-1]] for prompt in prompts]), cache)
    for row, prompt in enumerate(prompts):
        assert mx.allclose(together[row, -1], plain(mx.array([prompt]))[0, -1], atol=1e-4)


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory):
    from llm.tiny import tiny_config, write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("models") / "tiny", tiny_config())


def test_joining_leaving_and_growing_copies_no_other_row():
    cache = BatchedKVCache(max_rows=8, step=1024)
    big = [mx.ones((1, 4, 1000, 64)) for _ in range(2)]
    for row in range(7):
        cache.add()
        cache.append(row, *big)
    mx.eval(cache._keys, cache._values)
    row_bytes = 2 * 4 * 1000 * 64 * 4

    def extra_bytes(change):
        mx.eval(cache._keys, cache._values)
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        change()
        mx.eval(cache._keys, cache._values)
        return mx.get_peak_memory() - before

    def joins():
        cache.add()
        cache.append(7, big[0][:, :, :5], big[1][:, :, :5])

    one = [mx.ones((8, 4, 1, 64)) for _ in range(2)]
    mx.eval(one, big)
    assert extra_bytes(joins) < row_bytes / 10
    assert extra_bytes(lambda: cache.append(0, *one)) < row_bytes / 10
    assert extra_bytes(lambda: cache.remove(2)) < 2 * row_bytes  # the last row moves


def test_room_doubles_so_that_growing_stays_rare():
    cache, rooms = BatchedKVCache(1, step=4), []
    cache.add()
    for seed in range(40):
        cache.append(0, *tokens(seed, 1, 1))
        rooms.append(cache.capacity)
    assert sorted(set(rooms)) == [4, 8, 16, 32, 64]
    cache.append(0, *tokens(0, 1, 90))
    assert cache.capacity == 132  # at least what is needed, in whole steps


def test_bad_calls_are_refused():
    with pytest.raises(ValueError, match="max_rows is 0"):
        BatchedKVCache(0)
    cache = BatchedKVCache(2)
    with pytest.raises(ValueError, match="there is no row 0"):
        cache.remove(0)
    cache.add(), cache.add()
    with pytest.raises(ValueError, match="all 2 rows are in use"):
        cache.add()
    with pytest.raises(ValueError, match="keys for rows 1 to 2; rows 0 to 1 are in use"):
        cache.append(1, *tokens(0, 2, 1))
    with pytest.raises(ValueError, match=r"must be \[B, H_kv, L, D\]"):
        cache.append(0, mx.zeros((2, 3)), mx.zeros((2, 3)))
    cache.append(0, *tokens(0, 2, 1))
    with pytest.raises(ValueError, match=r"holds keys of shape \[2, 2, any, 4\]"):
        cache.append(0, mx.zeros((2, 3, 1, 4)), mx.zeros((2, 3, 1, 3)))
