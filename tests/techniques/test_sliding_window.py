"""A bounded cache gives the attention of a window with sinks, in whatever steps the text is read."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.techniques.sliding_window import SlidingWindowCache


@settings(max_examples=60, deadline=None)
@given(
    window=st.integers(1, 9),
    sinks=st.integers(0, 4),
    cuts=st.lists(st.sampled_from([1, 1, 1, 2, 3, 8, 15]), min_size=1, max_size=12),
    seed=st.integers(0, 1000),
)
def test_each_token_attends_to_its_window_and_the_sinks(window, sinks, cuts, seed):
    S = sum(cuts)
    rng = np.random.default_rng(seed)
    q, k, v = (mx.array(rng.standard_normal((1, 2, S, 4)).astype(np.float32)) for _ in range(3))
    p, j = np.arange(S)[:, None], np.arange(S)
    allowed = mx.array((j <= p) & ((j < sinks) | (j > p - window)))
    wanted = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.5, mask=allowed)

    cache, at, outputs = SlidingWindowCache(window, sinks), 0, []
    for L in cuts:
        step = slice(at, at + L)
        mask = cache.make_mask(L)
        keys, values = cache.update_and_fetch(k[:, :, step], v[:, :, step])
        outputs.append(
            mx.fast.scaled_dot_product_attention(q[:, :, step], keys, values, scale=0.5, mask=mask)
        )
        at += L
        assert cache.offset == at
        assert cache.nbytes <= (sinks + window - 1) * 2 * 2 * 4 * 4  # K and V, heads, D, float32
    assert mx.allclose(mx.concatenate(outputs, axis=2), wanted, atol=1e-5).item()


def test_one_token_needs_no_mask():
    assert SlidingWindowCache(4).make_mask(1) is None


@pytest.mark.parametrize(("window", "sinks"), [(0, 4), (4, -1)])
def test_an_impossible_window_is_refused(window, sinks):
    with pytest.raises(ValueError, match=f"window={window}, sinks={sinks}"):
        SlidingWindowCache(window, sinks)
