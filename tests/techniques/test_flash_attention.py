"""Attention in tiles against MLX's own, and against float64 where that is less exact."""

import mlx.core as mx
import numpy as np
import pytest

from course_lib.lab.memory import peak_memory
from course_lib.techniques import flash_attention as flash


def normal(*shape, seed=0, dtype=mx.float32):
    return mx.array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32)).astype(dtype)


def heads(B, H, H_kv, L, S, D):
    return normal(B, H, L, D, seed=1), normal(B, H_kv, S, D, seed=2), normal(B, H_kv, S, D, seed=3)


def close(given, wanted, tolerance=2e-5):
    assert given.shape == wanted.shape and given.dtype == wanted.dtype
    difference = mx.max(mx.abs(given.astype(mx.float32) - wanted.astype(mx.float32))).item() if wanted.size else 0.0
    assert difference <= tolerance


@pytest.mark.parametrize("S", [1, 7, 300])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_the_softmax_is_that_of_float64(S, size):
    scores = normal(3, S) * size
    exact = np.array(scores).astype(np.float64)
    exact = np.exp(exact - exact.max(-1, keepdims=True))
    close(flash.stable_softmax(scores), mx.array((exact / exact.sum(-1, keepdims=True)).astype(np.float32)), 1e-6)


def test_a_row_that_sees_nothing_has_no_weights():
    scores = mx.array([[-mx.inf, -mx.inf], [0.0, -mx.inf]])
    assert flash.stable_softmax(scores).tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize("pieces", [[300], [1] * 300, [7, 90, 203], [299, 1]])
def test_what_is_carried_does_not_depend_on_the_pieces(pieces):
    scores, values = normal(5, 300) * 8, normal(300, 6, seed=1)
    carried, at = flash.nothing_yet(5, 6), 0
    for n in pieces:
        carried = flash.take_up(carried, scores[:, at : at + n], values[at : at + n])
        at += n
    assert mx.array_equal(carried.largest, mx.max(scores, axis=-1, keepdims=True))
    close(flash.result(carried), mx.softmax(scores, axis=-1) @ values)


def test_tiles_that_show_nothing_change_nothing():
    scores, values = normal(2, 4), normal(4, 3)
    hidden = mx.full((2, 5), -mx.inf)
    first = flash.take_up(flash.nothing_yet(2, 3), hidden, normal(5, 3))
    then = flash.take_up(flash.take_up(first, scores, values), hidden, normal(5, 3))
    close(flash.result(then), mx.softmax(scores, axis=-1) @ values)
    assert flash.result(first).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("L, S", [(1, 1), (1, 300), (33, 64), (100, 77), (300, 300)])
def test_one_head_in_tiles(L, S):
    q, k, v = normal(L, 64, seed=1), normal(S, 64, seed=2), normal(S, 64, seed=3)
    wanted = mx.fast.scaled_dot_product_attention(q[None, None], k[None, None], v[None, None], scale=0.125)[0, 0]
    close(flash.tiled_attention(q, k, v, scale=0.125, query_block=32, key_block=64), wanted)


def test_memory_does_not_grow_with_the_matrix_of_scores():
    q, k, v = (normal(2048, 32, seed=i) for i in range(3))
    mx.eval(q, k, v)
    assert peak_memory(lambda: flash.tiled_attention(q, k, v, scale=0.1)) < 2048 * 2048 * 4 / 8


@pytest.mark.parametrize("L, S, query_block, key_block", [(40, 40, 8, 16), (5, 70, 2, 16), (33, 50, 16, 7), (1, 64, 8, 64)])
def test_tiles_are_full_masked_or_skipped_as_the_mask_says(L, S, query_block, key_block):
    mask = np.arange(S) <= np.arange(S - L, S)[:, None]
    for first in range(0, L, query_block):
        last = min(first + query_block, L)
        tiles = [mask[first:last, k : k + key_block] for k in range(0, S, key_block)]
        full = sum(t.all() for t in tiles)
        visited = sum(t.any() for t in tiles)
        assert flash.causal_tiles(first, last, L, S, key_block) == (full, visited)


@pytest.mark.parametrize("D", [64, 80, 96, 128])
@pytest.mark.parametrize("G", [1, 3, 4, 8])
@pytest.mark.parametrize("mask", [None, "causal"])
def test_heads_and_head_sizes(D, G, mask):
    q, k, v = heads(2, 2 * G, 2, 19, 150, D)
    wanted = mx.fast.scaled_dot_product_attention(q, k, v, scale=D**-0.5, mask=mask)
    close(flash.flash_attention(q, k, v, scale=D**-0.5, mask=mask, query_block=8, key_block=32), wanted)


@pytest.mark.parametrize("L, S", [(1, 1), (1, 300), (2, 131), (64, 64), (65, 257), (300, 300)])
def test_causal_lengths(L, S):
    q, k, v = heads(1, 4, 2, L, S, 64)
    close(
        flash.flash_attention(q, k, v, scale=0.125, mask="causal"),
        mx.fast.scaled_dot_product_attention(q, k, v, scale=0.125, mask="causal"),
    )


def test_boolean_and_additive_masks():
    q, k, v = heads(2, 6, 3, 20, 150, 64)
    allowed = normal(2, 1, 20, 150, seed=5) > 0
    for mask in (allowed, mx.where(allowed, normal(2, 1, 20, 150), -mx.inf), allowed[0, 0]):
        close(
            flash.flash_attention(q, k, v, scale=0.125, mask=mask, query_block=8, key_block=64),
            mx.fast.scaled_dot_product_attention(q, k, v, scale=0.125, mask=mask),
        )


def test_a_query_that_sees_nothing_gives_zeros():
    q, k, v = heads(1, 2, 1, 3, 70, 8)
    mask = mx.ones((3, 70), mx.bool_)
    mask[1] = False
    out = flash.flash_attention(q, k, v, scale=1.0, mask=mask, key_block=32)
    assert mx.all(out[:, :, 1] == 0).item() and not mx.any(mx.isnan(out)).item()


def test_scores_of_ten_thousand():
    q, k, v = heads(1, 2, 2, 9, 130, 64)
    exact = [np.array(x).astype(np.float64) for x in (q * 1000, k * 100, v)]
    scores = exact[0] @ exact[1].swapaxes(-1, -2) * 0.125
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    wanted = mx.array((weights / weights.sum(-1, keepdims=True) @ exact[2]).astype(np.float32))
    close(flash.flash_attention(q * 1000, k * 100, v, scale=0.125, key_block=32), wanted, 1e-2)


def test_views_that_are_not_contiguous():
    q, k, v = (x.swapaxes(1, 2) for x in heads(1, 30, 90, 3, 3, 64))
    wanted = mx.fast.scaled_dot_product_attention(q, k[:, :, ::2], v[:, :, ::2], scale=0.125, mask="causal")
    close(flash.flash_attention(q, k[:, :, ::2], v[:, :, ::2], scale=0.125, mask="causal", query_block=8), wanted)


def test_half_precision_comes_back_as_it_came():
    q, k, v = (x.astype(mx.float16) for x in heads(1, 2, 1, 5, 40, 64))
    wanted = mx.fast.scaled_dot_product_attention(*(x.astype(mx.float32) for x in (q, k, v)), scale=0.125)
    close(flash.flash_attention(q, k, v, scale=0.125), wanted.astype(mx.float16), 2e-3)


def test_tiles_behind_the_diagonal_are_not_read():
    q, k, v = heads(1, 1, 1, 64, 64, 8)
    v[:, :, 48:] = mx.nan
    out = flash.flash_attention(q, k, v, scale=1.0, mask="causal", query_block=16, key_block=16)
    assert not mx.any(mx.isnan(out[:, :, :48])).item() and mx.all(mx.isnan(out[:, :, 48:])).item()


@pytest.mark.parametrize("window", [1, 5, 40, 1000])
def test_a_window_is_a_band(window):
    q, k, v = heads(1, 4, 2, 50, 120, 64)
    position = mx.arange(70, 120)[:, None]
    band = (mx.arange(120) <= position) & (mx.arange(120) > position - window)
    wanted = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.125, mask=band)
    close(flash.flash_attention(q, k, v, scale=0.125, mask="causal", window=window, query_block=16, key_block=16), wanted)


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(mask="causal", L=9, S=8), "L <= S"),
        (dict(H=4, H_kv=3), "multiple of H_kv"),
        (dict(mask="casual"), "'causal'"),
        (dict(window=4), "mask='causal'"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    size = {"H": 4, "H_kv": 2, "L": 5, "S": 8} | {k: n for k, n in change.items() if k in "H_kvLS"}
    q, k, v = heads(1, size["H"], size["H_kv"], size["L"], size["S"], 8)
    with pytest.raises(ValueError, match=words):
        flash.flash_attention(q, k, v, scale=1.0, mask=change.get("mask"), window=change.get("window"))
