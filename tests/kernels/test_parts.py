"""The native operations as parts of a model."""

import warnings

import mlx.core as mx
import pytest
from kernels.closeness import same_bits

from course_lib.kernels import NotBuilt, cpu_parts, narrow_scales
from course_lib.llm import ModelConfig, Parts, random_model

SHAPE = dict(
    hidden_size=128, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, head_dim=64,
    intermediate_size=192, vocab_size=300,
)  # fmt: skip


def models(bits=4, group_size=32, dtype=mx.float32, **changes):
    """The same random model with the native parts and with MLX's."""
    config = ModelConfig(**{"model_type": "llama"} | SHAPE | changes)
    return [
        random_model(config, bits=bits, group_size=group_size, dtype=dtype, parts=parts)
        for parts in (cpu_parts(), Parts())
    ]


def prompt(B, L):
    return mx.random.randint(0, 300, (B, L), key=mx.random.key(B * 100 + L))


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize(("bits", "group_size"), [(4, 32), (8, 64), (6, 32), (None, 64)])
def test_logits_equal_those_of_mlx_parts(family, bits, group_size):
    native, mlx = models(bits, group_size, model_type=family)
    tokens = prompt(2, 40)
    assert mx.allclose(native(tokens), mlx(tokens), rtol=1e-3, atol=1e-4).item()


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_models_in_half_precision_run_on_mlx_operations(dtype, family):
    native, mlx = models(dtype=dtype, model_type=family)
    assert same_bits(native(prompt(1, 5)), mlx(prompt(1, 5)))


def test_decoding_with_a_cache_equals_reading_the_whole():
    native, _ = models()
    tokens, cache = prompt(1, 30), native.make_cache()
    whole = native(tokens)
    steps = [native(tokens[:, :20], cache)] + [native(tokens[:, t : t + 1], cache) for t in range(20, 30)]
    assert same_bits(mx.concatenate(steps, axis=1), whole)


def test_what_a_row_says_does_not_depend_on_who_shares_its_batch():
    native, _ = models()
    tokens = prompt(5, 12)
    together = native(tokens)
    for b in range(5):
        assert same_bits(native(tokens[b : b + 1]), together[b : b + 1])


def test_a_part_can_be_replaced():
    calls = []

    def counting(gate, up):
        calls.append(gate.shape)
        return Parts().swiglu(gate, up)

    config = ModelConfig(model_type="llama", **SHAPE)
    replaced = random_model(config, group_size=32, parts=cpu_parts(), swiglu=counting)
    native, _ = models()
    assert mx.allclose(replaced(prompt(1, 6)), native(prompt(1, 6)), atol=1e-4).item()
    assert calls == [(1, 6, 192)] * 2


def test_no_native_parts_for_a_gpu(monkeypatch):
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
    assert cpu_parts() is None


def test_without_the_extension_a_warning_says_how_to_build_it(monkeypatch):
    def missing():
        raise NotBuilt("the native kernels are not built for this machine. Build them with: course build")

    monkeypatch.setattr("course_lib.kernels.parts.extension", missing)
    with pytest.warns(UserWarning, match="course build.*slower"):
        assert cpu_parts() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.undo()
        assert cpu_parts() is not None


@pytest.mark.parametrize(("dtype", "size"), [(mx.float16, 0.01), (mx.bfloat16, 1e20), (mx.bfloat16, 1e-20)])
def test_scales_that_came_from_half_precision_are_narrowed_without_loss(dtype, size):
    exact = (mx.random.normal((30, 8), key=mx.random.key(1)) * size).astype(dtype)
    scales, biases = narrow_scales(exact.astype(mx.float32), -exact.astype(mx.float32))
    assert scales.dtype == biases.dtype == dtype
    assert same_bits(scales, exact) and same_bits(biases, -exact)


def test_scales_that_would_lose_a_bit_stay_as_they_are():
    exact = mx.random.normal((30, 8), key=mx.random.key(2)).astype(mx.float16).astype(mx.float32)
    one_finer = mx.array(exact)
    one_finer[3, 4] = 1 + 2**-20
    for scales, biases in ((exact, one_finer), (one_finer, exact), (exact, mx.full(exact.shape, 1e39))):
        assert [a.dtype for a in narrow_scales(scales, biases)] == [mx.float32, mx.float32]
    half = exact.astype(mx.float16)
    assert narrow_scales(half, half) == (half, half)
