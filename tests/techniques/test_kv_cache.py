"""The two KV caches against the plainest one there is: a list that keeps every token."""

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.techniques.kv_cache import ConcatKVCache, KVCache

B, H_KV, D, D_V = 2, 3, 4, 5
CACHES = [ConcatKVCache, KVCache, lambda: KVCache(step=1), lambda: KVCache(step=4)]
NAMES = ["concat", "stepwise", "step-1", "step-4"]

every_cache = pytest.mark.parametrize("make_cache", CACHES, ids=NAMES)


def tokens(start: int, count: int) -> tuple[mx.array, mx.array]:
    """Keys and values of `count` tokens, each number its own, distinct from every other token's."""

    def numbered(width: int, sign: int) -> mx.array:
        base = mx.arange(start, start + count)[None, None, :, None] * 1000
        rest = mx.arange(B * H_KV * width).reshape(B, H_KV, 1, width)
        return (sign * (base + rest)).astype(mx.float32)

    return numbered(D, 1), numbered(D_V, -1)


def same(left: mx.array, right: mx.array) -> bool:
    return left.shape == right.shape and mx.array_equal(left, right).item()


@every_cache
@given(steps=st.lists(st.one_of(st.integers(1, 9), st.integers(-12, 0)), min_size=1, max_size=12))
def test_holds_what_was_appended_and_not_trimmed(make_cache, steps):
    cache, kept, drawn = make_cache(), [], 0
    for step in steps:
        if step > 0:
            keys, values = tokens(drawn, step)
            kept += range(drawn, drawn + step)
            drawn += step
            got_keys, got_values = cache.update_and_fetch(keys, values)
            wanted = [tokens(index, 1) for index in kept]
            assert same(got_keys, mx.concatenate([k for k, _ in wanted], axis=2))
            assert same(got_values, mx.concatenate([v for _, v in wanted], axis=2))
        else:
            assert cache.trim(-step) == min(-step, len(kept))
            kept = kept[: max(0, len(kept) + step)]
        assert cache.offset == len(kept)


@every_cache
@given(counts=st.lists(st.integers(1, 6), min_size=2, max_size=6), trimmed=st.integers(0, 4))
def test_what_was_handed_out_stays_as_it_was(make_cache, counts, trimmed):
    cache, handed_out, drawn = make_cache(), [], 0
    for count in counts:
        keys, values = cache.update_and_fetch(*tokens(drawn, count))
        handed_out.append((keys, values, keys.tolist(), values.tolist()))
        cache.trim(trimmed)
        drawn += count
    for keys, values, keys_then, values_then in handed_out:
        assert keys.tolist() == keys_then
        assert values.tolist() == values_then


@every_cache
def test_changing_a_result_or_an_argument_in_place_does_not_reach_the_cache(make_cache):
    cache = make_cache()
    first_keys, first_values = tokens(0, 4)
    keys, values = cache.update_and_fetch(first_keys, first_values)
    for array in (keys, values, first_keys, first_values):
        array[...] = 0
    keys, _ = cache.update_and_fetch(*tokens(4, 1))
    assert same(keys, tokens(0, 5)[0])


@every_cache
def test_unevaluated_updates_evaluate_to_the_same(make_cache):
    cache = make_cache()
    results = [cache.update_and_fetch(*tokens(index, 1)) for index in range(10)]
    mx.eval(results)
    for index, (keys, values) in enumerate(results):
        assert same(keys, tokens(0, index + 1)[0])
        assert same(values, tokens(0, index + 1)[1])


@every_cache
def test_trim_forgets_the_newest_tokens(make_cache):
    cache = make_cache()
    cache.update_and_fetch(*tokens(0, 6))
    assert cache.trim(2) == 2
    keys, _ = cache.update_and_fetch(*tokens(6, 1))
    assert same(keys, mx.concatenate([tokens(0, 4)[0], tokens(6, 1)[0]], axis=2))


@every_cache
def test_keeps_the_dtype(make_cache):
    cache = make_cache()
    keys, values = (array.astype(mx.float16) for array in tokens(0, 2))
    for _ in range(2):
        got_keys, got_values = cache.update_and_fetch(keys, values)
        assert got_keys.dtype == got_values.dtype == mx.float16


def test_room_grows_by_whole_steps():
    cache = KVCache(step=4)
    assert (cache.capacity, cache.nbytes) == (0, 0)
    for count, capacity in ((3, 4), (1, 4), (1, 8), (9, 16)):
        cache.update_and_fetch(*tokens(0, count))
        assert cache.capacity == capacity
        assert cache.nbytes == B * H_KV * capacity * (D + D_V) * 4


def test_concatenation_copies_the_cache_at_every_step_and_reserved_room_rarely():
    token = B * H_KV * (D + D_V) * 4  # bytes
    concat, stepwise = ConcatKVCache(), KVCache(step=4)
    for index in range(10):
        concat.update_and_fetch(*tokens(index, 1))
        stepwise.update_and_fetch(*tokens(index, 1))
    assert concat.bytes_copied == token * sum(range(1, 11))
    assert stepwise.bytes_copied == token * (10 + 4 + 8)


def test_an_update_writes_in_place_while_nobody_holds_an_older_result():
    cache = KVCache(step=1024)
    wide = mx.zeros((1, 8, 1, 512))
    mx.eval(cache.update_and_fetch(wide, wide))
    mx.synchronize()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    mx.eval(cache.update_and_fetch(wide, wide))
    assert mx.get_peak_memory() - before < cache.nbytes / 4


@every_cache
@pytest.mark.parametrize(
    ("keys", "values"),
    [
        (mx.zeros((H_KV, 1, D)), mx.zeros((H_KV, 1, D_V))),
        (mx.zeros((B, H_KV, 2, D)), mx.zeros((B, H_KV, 1, D_V))),
        (mx.zeros((1, H_KV, 1, D)), mx.zeros((1, H_KV, 1, D_V))),
        (mx.zeros((B, H_KV + 1, 1, D)), mx.zeros((B, H_KV + 1, 1, D_V))),
        (mx.zeros((B, H_KV, 1, D + 1)), mx.zeros((B, H_KV, 1, D_V))),
        (mx.zeros((B, H_KV, 1, D), mx.float16), mx.zeros((B, H_KV, 1, D_V), mx.float16)),
    ],
    ids=["3-d", "lengths", "batch", "heads", "head-size", "dtype"],
)
def test_refuses_tokens_that_do_not_fit_and_stays_as_it_was(make_cache, keys, values):
    cache = make_cache()
    cache.update_and_fetch(*tokens(0, 2))
    with pytest.raises(ValueError, match=r"keys|values"):
        cache.update_and_fetch(keys, values)
    assert cache.offset == 2
    assert same(cache.update_and_fetch(*tokens(2, 1))[0], tokens(0, 3)[0])


@every_cache
def test_refuses_to_trim_a_negative_number(make_cache):
    with pytest.raises(ValueError, match="-1"):
        make_cache().trim(-1)


def test_refuses_a_step_of_zero():
    with pytest.raises(ValueError, match="step is 0"):
        KVCache(step=0)
