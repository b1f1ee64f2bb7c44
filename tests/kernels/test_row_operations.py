"""The operations that treat each row by itself: rms_norm, rope, swiglu."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.closeness import assert_close, float64, same_bits

from course_lib.kernels import rms_norm, rope, swiglu


def normal(seed, *shape):
    return mx.array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


# rms_norm


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**31),
    st.integers(0, 40),
    st.integers(1, 700),
    st.sampled_from([mx.float32, mx.float16, mx.bfloat16]),
    st.sampled_from([1e-5, 1e-6, 1e-2]),
)
def test_rms_norm_equals_mlx(seed, M, D, dtype, eps):
    x, weight = normal(seed, M, D), normal(seed + 1, D).astype(dtype)
    wide = float64(x)
    want = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + eps) * float64(weight)
    assert_close(rms_norm(x, weight, eps), want, np.abs(want), times=8)
    if M:
        mlx = mx.fast.rms_norm(x, weight.astype(mx.float32), eps)
        assert mx.allclose(rms_norm(x, weight, eps), mlx, rtol=1e-5, atol=1e-6).item()


def test_rms_norm_of_zeros_and_of_large_and_small_rows():
    weight = mx.ones((64,))
    assert (rms_norm(mx.zeros((3, 64)), weight, 1e-5) == 0).all().item()
    assert mx.allclose(mx.abs(rms_norm(mx.full((1, 64), 1e15), weight, 1e-5)), mx.array(1.0)).item()
    assert mx.allclose(rms_norm(mx.full((1, 64), 1e-15), weight, 1e-5), mx.array(1e-15 / 1e-5**0.5), rtol=1e-5, atol=0).item()


def test_rms_norm_of_any_strides_and_of_each_head():
    x, weight = normal(1, 2, 5, 3, 64), normal(2, 64)
    plain = rms_norm(x, weight, 1e-5)
    assert same_bits(rms_norm(x.transpose(0, 2, 1, 3), weight, 1e-5), mx.contiguous(plain.transpose(0, 2, 1, 3)))
    wide = mx.concatenate([x, x], axis=-1)
    assert same_bits(rms_norm(wide[..., 64:], weight, 1e-5), plain)
    assert same_bits(rms_norm(x, mx.repeat(weight, 2)[::2], 1e-5), plain)


def test_rms_norm_rows_are_the_same_to_the_last_bit_alone():
    x, weight = normal(3, 200, 576), normal(4, 576)
    together = rms_norm(x, weight, 1e-5)
    assert all(same_bits(rms_norm(x[m : m + 1], weight, 1e-5), together[m : m + 1]) for m in (0, 1, 77, 199))


@pytest.mark.parametrize(
    ("x", "weight", "message"),
    [
        (mx.zeros((3, 8), mx.float16), mx.zeros((8,)), "x is float16"),
        (mx.zeros((3, 8)), mx.zeros((7,)), r"x is float32 \[3, 8\] and weight float32 \[7\]; wanted"),
        (mx.zeros((3, 8)), mx.zeros((1, 8)), "weight"),
        (mx.array(1.0), mx.zeros((1,)), "wanted x"),
        (mx.zeros((3, 8)), mx.zeros((8,), mx.int32), "weight is int32"),
    ],
)
def test_rms_norm_refuses_bad_input(x, weight, message):
    with pytest.raises(ValueError, match=f"rms_norm: .*{message}"):
        rms_norm(x, weight, 1e-5)


# rope


def rotated(x, dims, traditional, speeds, positions):
    """RoPE in float64: x [B, H, L, D], positions [B, L]."""
    x = float64(x)
    out = x.copy()
    angle = positions[:, None, :, None] * speeds  # [B, 1, L, dims / 2]
    first, second = (slice(0, dims, 2), slice(1, dims, 2)) if traditional else (slice(0, dims // 2), slice(dims // 2, dims))
    a, b = x[..., first], x[..., second]
    out[..., first] = a * np.cos(angle) - b * np.sin(angle)
    out[..., second] = a * np.sin(angle) + b * np.cos(angle)
    return out


@settings(deadline=None, max_examples=100)
@given(
    st.integers(0, 2**31),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 20),
    st.sampled_from([(64, 64), (64, 32), (80, 80), (10, 6), (2, 2), (128, 128)]),
    st.booleans(),
    st.sampled_from([1e4, 1e5, 5e5]),
    st.sampled_from([1.0, 0.25]),
    st.sampled_from(["number", "one", "rows"]),
    st.booleans(),
)
def test_rope_equals_the_definition_and_mlx(seed, B, H, L, sizes, traditional, base, scale, offsets, by_freqs):
    D, dims = sizes
    x, random = normal(seed, B, H, L, D), np.random.default_rng(seed)
    starts = random.integers(0, 8000, B if offsets == "rows" else 1)
    offset = {"number": int(starts[0]), "one": mx.array(int(starts[0])), "rows": mx.array(starts)}[offsets]
    speeds = base ** (-2.0 * np.arange(dims // 2) / dims)
    given = {"freqs": mx.array((1 / speeds).astype(np.float32))} if by_freqs else {"base": base}
    if by_freqs:
        speeds = 1 / float64(given["freqs"])
    out = rope(x, dims, traditional=traditional, scale=scale, offset=offset, **given)
    positions = (np.broadcast_to(starts, B)[:, None] + np.arange(L)).astype(float)
    want = rotated(x, dims, traditional, speeds * scale, positions)
    assert_close(out, want, np.full(want.shape, np.abs(float64(x)).max()), times=8)
    mlx = mx.fast.rope(
        x, dims, traditional=traditional, scale=scale, offset=offset, base=given.get("base"), freqs=given.get("freqs")
    )
    assert mx.allclose(out, mlx, atol=5e-3).item()  # MLX's angles are float32: 8000 radians have 5e-4


def test_rope_is_as_exact_far_out_as_near():
    x = normal(1, 1, 2, 3, 64)
    speeds = 1e5 ** (-2.0 * np.arange(32) / 64)
    for offset in (0, 1000, 130_000):
        want = rotated(x, 64, False, speeds, offset + np.arange(3.0)[None])
        assert_close(rope(x, 64, base=1e5, offset=offset), want, np.full(want.shape, 4.0), times=4)


def test_rope_of_any_strides_keeps_values_and_shape():
    x = normal(2, 2, 9, 5, 64)  # [B, L, H, D], as the projections give it
    plain = rope(mx.contiguous(x.transpose(0, 2, 1, 3)), 64, base=1e4, offset=7)
    assert same_bits(rope(x.transpose(0, 2, 1, 3), 64, base=1e4, offset=7), plain)
    part = normal(3, 2, 5, 12, 70)[:, :, 2:11, 3:67]
    assert same_bits(rope(part, 64, base=1e4), rope(mx.contiguous(part), 64, base=1e4))
    assert same_bits(rope(plain[:, 0], 64, base=1e4), rope(plain[:, :1], 64, base=1e4)[:, 0])
    assert (np.array(rope(x.transpose(0, 2, 1, 3), 64, base=1e4) * 2) == 2 * np.array(rope(mx.contiguous(x.transpose(0, 2, 1, 3)), 64, base=1e4))).all()


def test_rope_of_one_row_that_stands_for_several():
    x = normal(7, 1, 1, 5, 64)
    starts = mx.array([0, 40, 900])
    out = rope(mx.broadcast_to(x, (3, 2, 5, 64)), 64, base=1e4, offset=starts)
    for b in range(3):
        for h in range(2):
            assert same_bits(out[b, h], rope(x, 64, base=1e4, offset=starts[b].item())[0, 0])


def test_rope_of_a_token_is_the_same_to_the_last_bit_alone():
    x = normal(4, 2, 9, 60, 64)
    whole = rope(x, 64, base=1e5, offset=3)
    for t in (0, 17, 59):
        assert same_bits(rope(x[:, :, t : t + 1], 64, base=1e5, offset=3 + t), whole[:, :, t : t + 1])
        starts = mx.array([3 + t, 3 + t])
        assert same_bits(rope(x[:, :, t : t + 1], 64, base=1e5, offset=starts), whole[:, :, t : t + 1])


def test_rope_of_nothing():
    assert rope(mx.zeros((0, 2, 3, 8)), 8, base=1e4).shape == (0, 2, 3, 8)
    assert rope(mx.zeros((1, 2, 0, 8)), 8, base=1e4).shape == (1, 2, 0, 8)


X = mx.zeros((2, 3, 4, 8))


@pytest.mark.parametrize(
    ("x", "dims", "options", "message"),
    [
        (X.astype(mx.float16), 8, {"base": 1e4}, "x is float16"),
        (X[0, 0], 8, {"base": 1e4}, r"x is float32 \[4, 8\]; wanted \[B, ..., L, D\]"),
        (X, 7, {"base": 1e4}, "dims is 7 .*wanted an even number from 2 to D = 8"),
        (X, 10, {"base": 1e4}, "dims is 10"),
        (X, 8, {}, "neither base nor freqs"),
        (X, 8, {"base": 1e4, "freqs": mx.ones((4,))}, "both base and freqs"),
        (X, 8, {"freqs": mx.ones((8,))}, r"freqs are float32 \[8\]; wanted \[dims / 2\] = \[4\]"),
        (X, 8, {"base": 1e4, "offset": mx.array([1, 2, 3])}, r"offset is int32 \[3\].*\[B\] = \[2\]"),
        (X, 8, {"base": 1e4, "offset": mx.array(1.5)}, "offset is float32"),
    ],
)
def test_rope_refuses_bad_input(x, dims, options, message):
    with pytest.raises(ValueError, match=f"rope: .*{message}"):
        rope(x, dims, **options)


@pytest.mark.parametrize(
    "call",
    [
        lambda where: rms_norm(X, mx.ones((8,)), 1e-5, stream=where),
        lambda where: rope(X, 8, base=1e4, stream=where),
        lambda where: swiglu(X, X, stream=where),
    ],
)
def test_a_gpu_is_refused(call):
    mx.eval(call(mx.cpu))
    with pytest.raises(ValueError, match=r"this kernel runs on the CPU.*stream=mx\.cpu"):
        call(mx.gpu)


# swiglu


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31), st.integers(0, 30), st.integers(1, 300), st.sampled_from([1.0, 30.0, 200.0]))
def test_swiglu_equals_the_definition(seed, M, F, size):
    gate, up = normal(seed, M, F) * size, normal(seed + 1, M, F)
    g = float64(gate)
    want = g / (1 + np.exp(np.minimum(-g, 700))) * float64(up)
    # Below -87 the result is smaller than the smallest normal float32.
    assert_close(swiglu(gate, up), want, np.abs(want) + 1e-30, times=8)


def test_swiglu_of_extremes():
    gate = mx.array([0.0, -0.0, 1e30, -1e30, 90.0, -90.0, float("nan"), float("-inf")])
    out = np.array(swiglu(gate, mx.ones((8,))))
    assert (out[:2] == 0).all()
    assert out[2] == np.float32(1e30)
    assert out[4] == 90
    assert abs(out[3]) < 1e-30 and abs(out[5]) < 1e-30
    assert np.isnan(out[6])


def test_swiglu_of_the_halves_of_one_array():
    both = normal(1, 2, 5, 140)
    gate, up = mx.split(both, 2, axis=-1)
    expected = swiglu(mx.contiguous(gate), mx.contiguous(up))
    assert same_bits(swiglu(gate, up), expected)
    assert same_bits(swiglu(gate.transpose(2, 0, 1), up.transpose(2, 0, 1)), mx.contiguous(expected.transpose(2, 0, 1)))


def test_swiglu_rows_are_the_same_to_the_last_bit_alone():
    gate, up = normal(2, 90, 1536), normal(3, 90, 1536)
    together = swiglu(gate, up)
    assert all(same_bits(swiglu(gate[m : m + 1], up[m : m + 1]), together[m : m + 1]) for m in (0, 44, 89))


@pytest.mark.parametrize(
    ("gate", "up", "message"),
    [
        (mx.zeros((2, 8), mx.bfloat16), mx.zeros((2, 8)), "gate is bfloat16"),
        (mx.zeros((2, 8)), mx.zeros((2, 8), mx.float16), "up is float16"),
        (mx.zeros((2, 8)), mx.zeros((2, 9)), r"gate is float32 \[2, 8\] and up float32 \[2, 9\]"),
    ],
)
def test_swiglu_refuses_bad_input(gate, up, message):
    with pytest.raises(ValueError, match=f"swiglu: .*{message}"):
        swiglu(gate, up)
