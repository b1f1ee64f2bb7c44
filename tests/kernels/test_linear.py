"""A linear layer whose weight was made ready before (`ext.Weight`), by every instruction that this machine has."""

from contextlib import contextmanager
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.closeness import assert_close, float64, same_bits
from kernels.test_quantized_matmul import BITS, DTYPES, GROUPS, activations, oracle, packed

from course_lib.kernels import cpu_parts, set_threads, threads
from course_lib.kernels.extension import extension
from course_lib.llm import ModelConfig, Parts, random_model
from course_lib.llm.model import Model
from course_lib.llm.random_weights import random_weights


def ready(weight, group_size=32, bits=4, bias=None, int8=False):
    """A weight (w, scales, biases) as the kernels read it."""
    return extension().Weight((*weight, group_size, bits), bias, int8)


@pytest.fixture
def levels():
    """Products of bytes: each way that this processor has. What limits the kernels to one."""
    ext = extension()
    ways = [ext.ByteProducts.spelt_out, ext.ByteProducts.dot, ext.ByteProducts.tiles]
    yield ways[: ways.index(ext.byte_products()) + 1]
    ext.limit_byte_products(ext.ByteProducts.tiles)


@contextmanager
def multiplied_as_floats(always):
    """What is not rounded to 8 bits is multiplied as floats, or as integers where that is faster here."""
    extension().multiply_floats(always)
    try:
        yield
    finally:
        extension().multiply_floats(False)


@pytest.fixture(params=[False, True], ids=["integers", "floats"])
def floats(request):
    with multiplied_as_floats(request.param):
        yield


@pytest.fixture
def threads_as_they_were():
    before = threads()
    yield
    set_threads(before)


def check(x, weight, group_size, bits, bias=None):
    """Against the float64 product with x as it is.

    Each of 32 neighbours is rounded as finely as the largest of them: by half a unit, at most 2^-23 of the
    largest. Else nothing but sums of floats differ.
    """
    got = extension().linear(x, ready(weight, group_size, bits, bias))
    want, size = oracle(x, *weight, group_size, bits)
    largest = np.abs(float64(x)).reshape(-1, 32).max(axis=1).repeat(32).reshape(x.shape)
    rounding = oracle(mx.array(largest), *weight, group_size, bits)[1]
    added = 0 if bias is None else float64(bias)
    assert_close(got, want + added, size + rounding / 4 + np.abs(added))


@settings(deadline=None, max_examples=120)
@given(
    st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 100), st.integers(1, 9), GROUPS, BITS, DTYPES,
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_equals_the_product_with_the_dequantized_weight(seed, M, N, groups, group_size, bits, dtype, biased, in_floats):
    weight = packed(seed, N, groups * group_size, group_size, bits, dtype)
    bias = activations(seed, N) if biased else None
    with multiplied_as_floats(in_floats):
        check(activations(seed, M, groups * group_size), weight, group_size, bits, bias)


@pytest.mark.usefixtures("floats")
@pytest.mark.parametrize("M", [1, 8, 37, 200])
@pytest.mark.parametrize(("N", "K"), [(576, 576), (192, 576), (1536, 576), (576, 1536)])
def test_at_the_models_shapes(M, N, K):
    check(activations(0, M, K), packed(0, N, K, 32, 4, mx.float16), 32, 4)


@settings(deadline=None, max_examples=100)
@given(
    st.integers(0, 2**31), st.integers(2, 50), st.integers(1, 80), st.integers(1, 6), GROUPS, BITS, DTYPES,
    st.sampled_from(["integers", "floats", "int8"]), st.data(),
)  # fmt: skip
def test_any_rows_are_the_same_to_the_last_bit_alone(seed, M, N, groups, group_size, bits, dtype, way, data):
    weight = ready(packed(seed, N, groups * group_size, group_size, bits, dtype), group_size, bits, None, way == "int8")
    x = activations(seed, M, groups * group_size)
    begin = data.draw(st.integers(0, M - 1))
    rows = slice(begin, data.draw(st.integers(begin + 1, M)))
    with multiplied_as_floats(way == "floats"):
        assert same_bits(extension().linear(x[rows], weight), extension().linear(x, weight)[rows])


@pytest.mark.usefixtures("floats")
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize(("bits", "group_size", "K"), [(4, 32, 576), (4, 128, 256), (8, 32, 96), (8, 64, 1536)])
def test_every_instruction_and_number_of_threads_gives_the_same_bits(
    levels, threads_as_they_were, bits, group_size, K, int8
):
    weight = ready(packed(1, 150, K, group_size, bits, mx.float16), group_size, bits, activations(2, 150), int8)
    x, results = activations(1, 40, K), []
    for level in levels:
        extension().limit_byte_products(level)
        assert extension().byte_products() == level
        for count in (1, 3):
            set_threads(count)
            alone = [extension().linear(row, weight) for row in x.split(40)]
            results += [extension().linear(x, weight), mx.concatenate(alone)]
            mx.eval(results)
    assert all(same_bits(results[0], other) for other in results[1:])


@pytest.mark.usefixtures("floats")
@pytest.mark.parametrize("shape", [(64,), (0, 64), (3, 0, 64), (2, 1, 5, 64), (2, 9, 64)])
@pytest.mark.parametrize("int8", [False, True])
def test_any_number_of_leading_axes_also_of_size_zero(shape, int8):
    weight = ready(packed(1, 10, 64, 32, 4, mx.float32), int8=int8)
    x = activations(1, *shape)
    out = extension().linear(x, weight)
    assert out.shape == (*shape[:-1], 10) and out.dtype == mx.float32
    assert same_bits(out.reshape(-1, 10), extension().linear(x.reshape(-1, 64), weight))


@pytest.mark.usefixtures("floats")
@pytest.mark.parametrize("int8", [False, True])
def test_a_bias_is_added_once_and_behind_the_product(int8):
    arrays, bias = packed(3, 37, 128, 32, 4, mx.float16), activations(4, 37)
    for M in (1, 5, 20):
        x = activations(3, M, 128)
        plain = extension().linear(x, ready(arrays, int8=int8))
        assert same_bits(extension().linear(x, ready(arrays, bias=bias, int8=int8)), plain + bias)


@pytest.mark.usefixtures("floats")
def test_inputs_need_not_be_contiguous():
    w, scales, biases = packed(7, 30, 256, 64, 4, mx.float32)
    bias, weight = activations(6, 30), ready((w, scales, biases), 64, 4, activations(6, 30))
    x = activations(7, 256, 6, 4)
    plain = extension().linear(mx.contiguous(x.transpose(2, 1, 0)), weight)
    assert same_bits(extension().linear(x.transpose(2, 1, 0), weight), plain)
    rows = activations(8, 4, 6, 512)[..., 100:356]
    expected = extension().linear(mx.contiguous(rows), weight)
    assert same_bits(extension().linear(rows, weight), expected)
    strided = [mx.concatenate([a, a], axis=1)[:, : a.shape[1]] for a in (w, scales, biases)]
    strided_bias = mx.repeat(bias, 2)[::2]
    assert same_bits(extension().linear(rows, ready(strided, 64, 4, strided_bias)), expected)
    one = mx.broadcast_to(activations(9, 256), (3, 5, 256))
    assert same_bits(extension().linear(one, weight)[2, 4], extension().linear(one[0, 0], weight))


def test_a_weight_outlives_the_arrays_that_it_was_made_of():
    arrays = packed(10, 40, 128, 32, 4, mx.float16)
    weight, x = ready(arrays, bias=activations(11, 40) + 1), activations(10, 5, 128)
    before = [np.array(a) for a in (x, *arrays)]
    expected = np.array(extension().linear(x, weight))
    assert all((np.array(a) == copy).all() for a, copy in zip((x, *arrays), before, strict=True))
    del arrays
    mx.clear_cache()
    others = [mx.full((40, 128), 7.0) for _ in range(50)]
    mx.eval(others)
    assert (np.array(extension().linear(x, weight)) == expected).all()


@pytest.mark.usefixtures("floats")
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("M", [3, 20])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_infinite_and_nan_activations_reach_their_row_alone(bad, M, int8):
    weight = ready(packed(4, 20, 128, 32, 4, mx.float16), int8=int8)
    x = activations(4, M, 128)
    x[1, 7] = bad
    out = extension().linear(x, weight)
    assert mx.isnan(out[1]).all().item()
    others = mx.array([m for m in range(M) if m != 1])
    assert same_bits(out[others], extension().linear(x[others], weight))


@pytest.mark.usefixtures("floats")
@pytest.mark.parametrize("size", [1e-30, 1e-5, 1e30])
def test_tiny_and_huge_activations(size):
    weight = packed(5, 20, 256, 64, 8, mx.float32)
    check(activations(5, 20, 256) * size, weight, 64, 8)
    assert mx.abs(extension().linear(activations(5, 20, 256) * size, ready(weight, 64, 8))).max().item() > size


@pytest.mark.usefixtures("floats")
def test_an_outlier_costs_its_neighbours_no_more_than_its_own_rounding():
    x = mx.random.uniform(-1, 1, (4, 128), key=mx.random.key(0))
    x[:, 40] = 1e6
    weight = packed(6, 20, 128, 32, 4, mx.float32)
    check(x, weight, 32, 4)
    x[:, 40] = 0
    check(x, weight, 32, 4)


@pytest.mark.usefixtures("floats")
def test_operations_on_several_streams_at_once_do_not_disturb_each_other():
    weight = ready(packed(11, 300, 576, 32, 4, mx.float16))
    x = activations(11, 3, 20, 576)
    expected = [extension().linear(x[i], weight) for i in range(3)]
    mx.eval(x, expected)
    streams = [mx.new_stream(mx.cpu) for _ in range(3)]
    for _ in range(20):
        outs = [extension().linear(x[i], weight, stream=streams[i]) for i in range(3)]
        mx.eval(outs)
        assert all(same_bits(out, want) for out, want in zip(outs, expected, strict=True))


X = mx.zeros((2, 128))
W, SCALES, BIASES = mx.zeros((6, 16), mx.uint32), mx.zeros((6, 4)), mx.zeros((6, 4))


@pytest.mark.parametrize(
    ("arrays", "bias", "message"),
    [
        ((W, SCALES, BIASES, 32, 3), None, "bits is 3; wanted 4 or 8"),
        ((W, SCALES, BIASES, 16, 4), None, "group_size is 16; wanted 32, 64 or 128"),
        ((W[:, :15], SCALES, BIASES, 32, 4), None, r"w is uint32 \[6, 15\], so K = 120; wanted a multiple"),
        ((W.astype(mx.int32), SCALES, BIASES, 32, 4), None, r"w is int32 \[6, 16\]; wanted uint32"),
        ((W[0], SCALES, BIASES, 32, 4), None, r"w is uint32 \[16\]; wanted uint32 \[N, K \* bits / 32\]"),
        ((W, SCALES, BIASES, 64, 4), None, r"scales are float32 \[6, 4\].*wanted \[6, 2\]"),
        ((W, SCALES, BIASES, 32, 8), None, r"scales are float32 \[6, 4\].*wanted \[6, 2\]"),
        ((W, SCALES[:5], BIASES[:5], 32, 4), None, r"scales are float32 \[5, 4\].*wanted \[6, 4\]"),
        ((W, SCALES, BIASES[:, :3], 32, 4), None, r"biases float32 \[6, 3\]; wanted \[6, 4\]"),
        ((W, SCALES, BIASES.astype(mx.float16), 32, 4), None, "biases are float16 .*wanted the scales' dtype"),
        ((W, SCALES.astype(mx.int32), BIASES, 32, 4), None, "scales is int32 .*wanted float16, bfloat16 or float32"),
        ((W, SCALES, BIASES, 32, 4), mx.zeros((5,)), r"bias is float32 \[5\]; wanted \[6\]"),
        ((W, SCALES, BIASES, 32, 4), mx.zeros((6, 1)), r"bias is float32 \[6, 1\]; wanted \[6\]"),
        ((W, SCALES, BIASES, 32, 4), mx.zeros((6,), mx.float16), r"bias is float16 \[6\]; wanted float32"),
    ],
)
def test_a_weight_that_does_not_fit_is_refused_with_what_was_given_and_wanted(arrays, bias, message):
    for int8 in (False, True):
        with pytest.raises(ValueError, match=f"Weight: .*{message}"):
            extension().Weight(arrays, bias, int8)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[:, :96], r"x is float32 \[2, 96\]; wanted \[..., 128\]"),
        (X.astype(mx.float16), r"x is float16 \[2, 128\]; wanted float32"),
        (mx.array(1.0), r"x is float32 \[\]; wanted \[..., 128\]"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_with_what_was_given_and_wanted(x, message):
    for name, arguments in (("linear", (x,)), ("add_linear", (mx.zeros((2, 6)), x))):
        with pytest.raises(ValueError, match=f"{name}: .*{message}"):
            getattr(extension(), name)(*arguments, ready((W, SCALES, BIASES)))


def test_a_gpu_is_refused():
    with pytest.raises(ValueError, match=r"linear: this kernel runs on the CPU.*stream=mx\.cpu"):
        extension().linear(X, ready((W, SCALES, BIASES)), stream=mx.gpu)


SHAPE = dict(
    hidden_size=128, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=2, head_dim=32,
    intermediate_size=256, vocab_size=300,
)  # fmt: skip


def prompt(B, L):
    return mx.random.randint(0, 300, (B, L), key=mx.random.key(B * 100 + L))


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize(("bits", "group_size"), [(4, 32), (4, 128), (8, 64)])
@pytest.mark.usefixtures("floats")
def test_a_model_says_the_same_at_every_level_and_within_rounding_what_mlx_parts_say(levels, family, bits, group_size):
    config, options = ModelConfig(model_type=family, **SHAPE), {"bits": bits, "group_size": group_size}
    native = random_model(config, parts=cpu_parts(), **options)
    tokens, results = prompt(3, 12), []
    for level in levels:
        extension().limit_byte_products(level)
        results.append(native(tokens, native.make_cache()))
        alone = [native(tokens[b : b + 1], native.make_cache()) for b in range(3)]
        results.append(mx.concatenate(alone))
        cache = native.make_cache()
        results.append(mx.concatenate([native(tokens[:, i : i + 1], cache) for i in range(12)], axis=1))
        mx.eval(results)
    assert all(same_bits(results[0], other) for other in results[1:])
    theirs = random_model(config, parts=Parts(), **options)(tokens)
    assert mx.abs(results[0] - theirs).max().item() < 5e-6 * mx.abs(theirs).max().item()


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.usefixtures("floats")
def test_weights_of_four_and_eight_bits_may_be_mixed_in_a_layer(levels, int8):
    config, parts = ModelConfig(model_type="llama", **SHAPE), cpu_parts(int8_activations=int8)
    weights, finer = (random_weights(config, bits, group, 0, mx.float32) for bits, group in ((4, 32), (8, 64)))
    for i, (block, other) in enumerate(zip(weights.blocks, finer.blocks, strict=True)):
        for name in (("k_proj", "up_proj"), ("q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"))[i]:
            setattr(block, name, getattr(other, name))
    fused, plain, mlx = (Model(config, weights, p) for p in (parts, replace(parts, fusions=()), Parts()))
    assert "layers" in vars(fused) and "layers" not in vars(plain)
    tokens, results = prompt(2, 11), []
    for level in levels:
        extension().limit_byte_products(level)
        results += [model(tokens, model.make_cache()) for model in (fused, plain)]
        mx.eval(results)
    assert all(same_bits(results[0], other) for other in results[1:])
    theirs = mlx(tokens)
    assert mx.abs(results[0] - theirs).max().item() < (0.1 if int8 else 5e-6) * mx.abs(theirs).max().item()
