"""scaled_dot_product_attention against MLX's own, and against float64 where MLX's is not defined."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kernels.closeness import assert_close, float64, same_bits

from course_lib.kernels import scaled_dot_product_attention, set_threads, threads


def normal(seed, *shape):
    return mx.array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def inputs(seed, B, H, H_kv, L, S, D):
    return normal(seed, B, H, L, D), normal(seed + 1, B, H_kv, S, D), normal(seed + 2, B, H_kv, S, D)


def oracle(q, k, v, scale, mask=None):
    """The result and the size of what was summed, in float64. Queries that see no key get zeros."""
    q, k, v = map(float64, (q, k, v))
    k, v = (np.repeat(a, q.shape[1] // a.shape[1], axis=1) for a in (k, v))
    scores = scale * q @ k.swapaxes(2, 3)
    L, S = scores.shape[2:]
    if isinstance(mask, str):
        mask = mx.array(np.tril(np.ones((L, S), bool), S - L))
    if mask is not None:
        shown = np.array(mask) if mask.dtype == mx.bool_ else None
        scores = scores + float64(mask) if shown is None else np.where(shown, scores, -np.inf)
    with np.errstate(invalid="ignore"):
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p = np.where(np.isfinite(p), p, 0)
        p = p / np.maximum(p.sum(-1, keepdims=True), 1e-300)
    return p @ v, p @ np.abs(v)


@settings(deadline=None, max_examples=100)
@given(
    st.integers(0, 2**31),
    st.integers(1, 2),
    st.integers(1, 3),
    st.sampled_from([1, 3, 4, 8]),
    st.integers(1, 150),
    st.integers(1, 150),
    st.sampled_from([64, 80, 96, 128, 1, 30, 256]),
    st.sampled_from([None, "causal", "bool", "float", "bool row", "float key"]),
)
def test_equals_mlx(seed, B, H_kv, G, L, S, D, kind):
    assume(kind != "causal" or L <= S)
    H, scale = H_kv * G, D**-0.5
    q, k, v = inputs(seed, B, H, H_kv, L, S, D)
    random = np.random.default_rng(seed)
    mask = {
        "bool": lambda: mx.array(random.random((L, S)) < 0.7),
        "float": lambda: normal(seed, B, H, L, S),
        "bool row": lambda: mx.array(random.random((B, 1, 1, S)) < 0.8),
        "float key": lambda: normal(seed, H, L, 1),
    }.get(kind, lambda: kind)()
    out = scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)
    want, size = oracle(q, k, v, scale, mask)
    assert_close(out, want, size, times=40)
    if kind in (None, "causal", "float"):
        mlx = mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)
        assert mx.allclose(out, mlx, rtol=1e-4, atol=2e-5).item()


@pytest.mark.parametrize(("L", "S"), [(1, 3000), (2, 1100), (600, 600), (70, 1300)])
def test_long_contexts(L, S):
    q, k, v = inputs(0, 1, 6, 2, L, S, 64)
    out = scaled_dot_product_attention(q, k, v, scale=0.125, mask="causal")
    assert_close(out, *oracle(q, k, v, 0.125, "causal"), times=60)


def test_scores_of_ten_thousand_do_not_overflow():
    q, k, v = inputs(1, 1, 2, 1, 5, 90, 64)
    for sign in (1, -1):
        large = sign * 1e4 * mx.sign(k) / 8
        out = scaled_dot_product_attention(mx.sign(q), large, v, scale=0.125)
        assert mx.isfinite(out).all().item()
        want, size = oracle(mx.sign(q), large, v, 0.125)
        assert np.abs(float64(out) - want).max() < 1e-3 * size.max()


def test_a_query_that_may_see_no_key_gets_zeros():
    q, k, v = inputs(2, 1, 2, 1, 4, 70, 64)
    allowed = np.ones((4, 70), bool)
    allowed[2] = False
    for mask in (mx.array(allowed), mx.where(mx.array(allowed), 0.0, -float("inf"))):
        out = scaled_dot_product_attention(q, k, v, scale=0.125, mask=mask)
        assert (out[:, :, 2] == 0).all().item()
        rest = scaled_dot_product_attention(q, k, v, scale=0.125)
        assert same_bits(out[:, :, :2], rest[:, :, :2])


def test_keys_masked_out_leave_no_trace_even_left_of_the_others():
    q, k, v = inputs(3, 1, 3, 1, 6, 200, 64)
    mask = mx.arange(200) >= 77
    out = scaled_dot_product_attention(q, k, v, scale=0.125, mask=mask)
    alone = scaled_dot_product_attention(q, k[:, :, 77:], v[:, :, 77:], scale=0.125)
    assert mx.allclose(out, alone, atol=2e-6).item()


def test_a_slice_of_a_cache_is_read_in_place():
    room = normal(4, 2, 3, 1024, 64)
    q = normal(5, 2, 9, 5, 64)
    k, v = room[:, :, :700], room[:, :, 300:1000]
    mx.eval(q, room, k, v)
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    out = scaled_dot_product_attention(q, k, v, scale=0.125, mask="causal")
    mx.eval(out)
    assert mx.get_peak_memory() - before < 700 * 1024  # copies of k and v alone would be 2 MiB
    plain = scaled_dot_product_attention(q, mx.contiguous(k), mx.contiguous(v), scale=0.125, mask="causal")
    assert same_bits(out, plain)


def test_memory_does_not_grow_with_the_square_of_the_length():
    def peak(L):
        q, k, v = inputs(6, 1, 4, 2, L, L, 64)
        mx.eval(q, k, v)
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        mx.eval(scaled_dot_product_attention(q, k, v, scale=0.125, mask="causal"))
        return mx.get_peak_memory() - before

    assert peak(1200) < 4 * 1200 * 64 * 4 + 2**20  # the result and a constant


def test_any_strides():
    plain = inputs(7, 2, 4, 2, 9, 40, 32)
    expected = scaled_dot_product_attention(*plain, scale=0.2)
    as_stored_by_tokens = [mx.contiguous(a.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3) for a in plain]
    assert same_bits(scaled_dot_product_attention(*as_stored_by_tokens, scale=0.2), expected)
    features_apart = [mx.contiguous(a.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2) for a in plain]
    assert same_bits(scaled_dot_product_attention(*features_apart, scale=0.2), expected)
    mask = mx.array(np.random.default_rng(8).random((40, 9)) < 0.6).T
    assert same_bits(
        scaled_dot_product_attention(*plain, scale=0.2, mask=mask),
        scaled_dot_product_attention(*plain, scale=0.2, mask=mx.contiguous(mask)),
    )


def test_the_result_can_be_used_like_any_array():
    q, k, v = inputs(9, 2, 6, 2, 7, 20, 16)
    out = scaled_dot_product_attention(q, k, v, scale=0.25)
    joined = out.transpose(0, 2, 1, 3).reshape(2, 7, 96)
    expected = np.array(out).swapaxes(1, 2).reshape(2, 7, 96)
    assert (np.array(joined) == expected).all()
    assert (np.array(out + 1) == np.array(out) + 1).all()
    assert (np.array(out[1, ::2, 3:]) == np.array(out)[1, ::2, 3:]).all()


@pytest.mark.parametrize("D", [64, 80])
def test_a_query_is_the_same_to_the_last_bit_whole_in_chunks_or_token_by_token(D):
    L = 600  # more than one span of keys
    q, k, v = inputs(10, 1, 6, 2, L, L, D)
    whole = scaled_dot_product_attention(q, k, v, scale=D**-0.5, mask="causal")
    for start, end in ((0, 1), (0, 33), (17, 18), (63, 64), (64, 65), (100, 113), (511, 514), (599, 600)):
        part = scaled_dot_product_attention(
            q[:, :, start:end], k[:, :, :end], v[:, :, :end], scale=D**-0.5, mask="causal"
        )
        assert same_bits(part, whole[:, :, start:end]), (start, end)


def test_a_row_is_the_same_to_the_last_bit_alone_and_padded_in_a_batch():
    lengths = [5, 300, 1]
    q, k, v = inputs(11, 3, 6, 2, 1, 300, 64)
    mask = (mx.arange(300) < mx.array(lengths)[:, None])[:, None, None]
    together = scaled_dot_product_attention(q, k, v, scale=0.125, mask=mask)
    for b, S in enumerate(lengths):
        alone = scaled_dot_product_attention(q[b : b + 1], k[b : b + 1, :, :S], v[b : b + 1, :, :S], scale=0.125)
        assert same_bits(alone, together[b : b + 1])


def test_the_number_of_threads_changes_nothing():
    before, results = threads(), []
    try:
        for count in (1, 2, 5):
            set_threads(count)
            shapes = [(1, 6, 2, 1, 1500, 64), (1, 6, 2, 80, 200, 64)]
            results.append([scaled_dot_product_attention(*inputs(12, *s), scale=0.1) for s in shapes])
            mx.eval(results[-1])
    finally:
        set_threads(before)
    assert all(same_bits(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize(("B", "L"), [(0, 3), (2, 0)])
def test_nothing_in_nothing_out(B, L):
    q, k, v = mx.zeros((B, 4, L, 16)), mx.zeros((B, 2, 5, 16)), mx.zeros((B, 2, 5, 16))
    assert scaled_dot_product_attention(q, k, v, scale=1.0).shape == (B, 4, L, 16)


def test_no_keys_at_all_give_zeros():
    q, k = mx.ones((1, 2, 3, 16)), mx.zeros((1, 1, 0, 16))
    assert (scaled_dot_product_attention(q, k, k, scale=1.0) == 0).all().item()


Q, KV = mx.zeros((2, 6, 4, 32)), mx.zeros((2, 3, 9, 32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Q[0], KV, KV, None), r"queries are float32 \[6, 4, 32\].*wanted queries \[B, H, L, D\]"),
        ((Q, KV[:1], KV[:1], None), "wanted queries"),
        ((Q, KV, KV[:, :, :8], None), "values float32"),
        ((Q, KV[..., :16], KV[..., :16], None), "wanted queries"),
        ((Q[:, :5], KV, KV, None), "H a multiple of H_kv"),
        ((mx.zeros((1, 1, 1, 257)), mx.zeros((1, 1, 1, 257)), mx.zeros((1, 1, 1, 257)), None), "D from 1 to 256"),
        ((Q, KV[:, :, :3], KV[:, :, :3], "causal"), r"no more queries than keys \(L <= S\)"),
        ((Q, KV, KV, "diagonal"), "mask is 'diagonal'; wanted an array, 'causal' or None"),
        ((Q, KV, KV, mx.zeros((4, 8))), r"mask is float32 \[4, 8\]; wanted .*\[2, 6, 4, 9\]"),
        ((Q, KV, KV, mx.zeros((1, 2, 6, 4, 9))), "wanted one that broadcasts"),
        ((Q, KV, KV, mx.zeros((4, 9), mx.int32)), "wanted bool .* or floating"),
        ((Q.astype(mx.bfloat16), KV, KV, None), "queries is bfloat16 .*wanted float32"),
        ((Q, KV, KV.astype(mx.float16), None), "values is float16"),
    ],
)
def test_bad_input_is_refused_with_what_was_given_and_wanted(arguments, message):
    q, k, v, mask = arguments
    with pytest.raises(ValueError, match=f"scaled_dot_product_attention: .*{message}"):
        scaled_dot_product_attention(q, k, v, scale=1.0, mask=mask)


def test_a_gpu_is_refused():
    with pytest.raises(ValueError, match=r"this kernel runs on the CPU.*stream=mx\.cpu"):
        scaled_dot_product_attention(Q, KV, KV, scale=1.0, stream=mx.gpu)


def test_half_precision_masks_are_added_too():
    q, k, v = inputs(13, 1, 2, 2, 3, 20, 16)
    mask = normal(14, 3, 20).astype(mx.bfloat16)
    out = scaled_dot_product_attention(q, k, v, scale=0.25, mask=mask)
    assert same_bits(out, scaled_dot_product_attention(q, k, v, scale=0.25, mask=mask.astype(mx.float32)))
