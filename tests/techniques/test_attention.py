"""Attention by plain operations agrees with MLX's fused kernel, and says what is wrong with bad input."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.techniques.attention import attention, causal_mask


def arrays(B, H, H_kv, L, S, D, dtype=mx.float32, seed=0):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return mx.array(rng.standard_normal(shape).astype(np.float32)).astype(dtype)

    return normal(B, H, L, D), normal(B, H_kv, S, D), normal(B, H_kv, S, D)


@given(L=st.integers(1, 40), more=st.integers(0, 40))
def test_a_query_sees_the_keys_up_to_its_own(L, more):
    S = L + more
    mask = np.array(causal_mask(L, S))
    assert mask.shape == (L, S)
    assert [int(row.sum()) for row in mask] == list(range(S - L + 1, S + 1))
    assert all(row[: row.sum()].all() for row in mask)


@pytest.mark.parametrize(("L", "S"), [(0, 3), (4, 3), (-1, 2)])
def test_a_mask_for_no_query_or_too_many_is_refused(L, S):
    with pytest.raises(ValueError, match=f"{L} queries and {S} keys"):
        causal_mask(L, S)


@settings(max_examples=60, deadline=None)
@given(
    B=st.integers(1, 3),
    heads=st.sampled_from([(1, 1), (3, 1), (9, 3), (8, 2), (4, 4)]),
    L=st.integers(1, 20),
    more=st.integers(0, 20),
    D=st.sampled_from([1, 5, 64]),
    kind=st.sampled_from(["none", "causal", "boolean", "per head", "added"]),
    seed=st.integers(0, 1000),
)
def test_attention_is_that_of_mlx(B, heads, L, more, D, kind, seed):
    H, H_kv = heads
    S = L + more
    queries, keys, values = arrays(B, H, H_kv, L, S, D, seed=seed)
    rng = np.random.default_rng(seed)
    allowed = rng.random((B, H, L, S)) < 0.6
    allowed[..., 0] = True
    mask = {
        "none": None,
        "causal": "causal",
        "boolean": mx.array(allowed[0, 0]),
        "per head": mx.array(allowed),
        "added": mx.array(rng.standard_normal((B, 1, L, S)).astype(np.float32)),
    }[kind]
    wanted = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=D**-0.5, mask=mask)
    given = attention(queries, keys, values, scale=D**-0.5, mask=mask)
    assert given.shape == wanted.shape and given.dtype == wanted.dtype
    assert mx.allclose(given, wanted, atol=1e-5, rtol=1e-5).item()


@pytest.mark.parametrize(("dtype", "atol"), [(mx.float16, 5e-3), (mx.bfloat16, 4e-2)])
def test_narrow_inputs_give_a_narrow_result(dtype, atol):
    inputs = arrays(1, 4, 2, 5, 9, 16, dtype)
    wide = [x.astype(mx.float32) for x in inputs]
    wanted = mx.fast.scaled_dot_product_attention(*wide, scale=0.25, mask="causal")
    given = attention(*inputs, scale=0.25, mask="causal")
    assert given.dtype == dtype
    assert mx.allclose(given.astype(mx.float32), wanted, atol=atol).item()


def test_large_scores_do_not_overflow():
    queries, keys, values = arrays(1, 2, 2, 3, 8, 16)
    assert not mx.isnan(attention(queries * 1e3, keys * 1e3, values, scale=1.0, mask=None)).any().item()


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (((4, 1, 8), (1, 2, 5, 8), (1, 2, 5, 8)), r"wanted \[B, H, L, D\]"),
        (((1, 4, 1, 8), (1, 2, 5, 8), (1, 2, 6, 8)), "must agree"),
        (((1, 4, 1, 8), (1, 2, 5, 4), (1, 2, 5, 8)), "same head size"),
        (((1, 4, 1, 8), (1, 3, 5, 8), (1, 3, 5, 8)), "4 query heads cannot share 3"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, words):
    with pytest.raises(ValueError, match=words):
        attention(*(mx.zeros(s) for s in shapes), scale=1.0, mask=None)


def test_an_unknown_mask_is_refused():
    with pytest.raises(ValueError, match="mask='diagonal'"):
        attention(*arrays(1, 2, 2, 3, 3, 4), scale=1.0, mask="diagonal")
