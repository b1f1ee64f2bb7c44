"""A layer that reads a text in steps gives what the layer gives for the text as a whole."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.techniques.cached_attention import AttentionLayer, cached_attention, full_attention
from course_lib.techniques.kv_cache import ConcatKVCache, KVCache

E, H, H_KV, D = 24, 6, 2, 8


def layer_and_text(B, S, seed):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return mx.array(rng.standard_normal(shape).astype(np.float32) * 0.4)

    layer = AttentionLayer(
        normal(H * D, E), normal(H_KV * D, E), normal(H_KV * D, E), normal(E, H * D), H, H_KV, rope_base=100.0
    )
    return layer, normal(B, S, E)


def by_mlx(x, layer):
    """The layer in MLX's own operations."""

    def split(y, heads):
        return y.reshape(*y.shape[:2], heads, D).transpose(0, 2, 1, 3)

    q, k = (
        mx.fast.rope(split(x @ w.T, n), D, traditional=False, base=100.0, scale=1.0, offset=0)
        for w, n in ((layer.wq, H), (layer.wk, H_KV))
    )
    v = split(x @ layer.wv.T, H_KV)
    out = mx.fast.scaled_dot_product_attention(q, k, v, scale=D**-0.5, mask="causal")
    return out.transpose(0, 2, 1, 3).reshape(*x.shape[:2], H * D) @ layer.wo.T


def test_the_layer_without_a_cache_is_that_of_mlx():
    layer, x = layer_and_text(2, 11, seed=1)
    assert mx.allclose(full_attention(x, layer), by_mlx(x, layer), atol=1e-5).item()


@settings(max_examples=30, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=7),
    B=st.integers(1, 2),
    make_cache=st.sampled_from([ConcatKVCache, lambda: KVCache(step=4), KVCache]),
    seed=st.integers(0, 1000),
)
def test_steps_of_any_length_give_what_the_whole_text_gives(cuts, B, make_cache, seed):
    layer, x = layer_and_text(B, sum(cuts), seed)
    cache, at, outputs = make_cache(), 0, []
    for L in cuts:
        outputs.append(cached_attention(x[:, at : at + L], layer, cache))
        at += L
        assert cache.offset == at
    assert mx.allclose(mx.concatenate(outputs, axis=1), by_mlx(x, layer), atol=1e-5).item()


@pytest.mark.parametrize("forgotten", [1, 4, 7])
def test_after_a_trim_the_text_can_go_on_differently(forgotten):
    layer, x = layer_and_text(1, 12, seed=5)
    cache = KVCache(step=4)
    cached_attention(x[:, :9], layer, cache)
    cache.trim(forgotten)
    other = mx.concatenate([x[:, : 9 - forgotten], x[:, 9:]], axis=1)
    given = cached_attention(x[:, 9:], layer, cache)
    assert mx.allclose(given, by_mlx(other, layer)[:, -3:], atol=1e-5).item()
