"""Steps of a layer as one operation: the same numbers, wherever they can stand in."""

from dataclasses import replace

import mlx.core as mx
import pytest
from kernels.closeness import same_bits

from course_lib.kernels import cpu_parts
from course_lib.kernels.extension import extension
from course_lib.llm import ModelConfig, random_model

SHAPE = dict(
    hidden_size=128, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, head_dim=32,
    intermediate_size=192, vocab_size=300,
)  # fmt: skip
STEPS = ("project", "output", "feed_forward")


def models(bits=4, group_size=32, dtype=mx.float32, **changes):
    """The same random model with fused steps and without."""
    config = ModelConfig(**{"model_type": "llama"} | SHAPE | changes)
    options = {"bits": bits, "group_size": group_size, "dtype": dtype}
    return [random_model(config, parts=p, **options) for p in (cpu_parts(), replace(cpu_parts(), fusions=()))]


def fused_steps(model):
    return [{step for step in STEPS if step in vars(block)} for block in model.blocks]


def prompt(B, L):
    return mx.random.randint(0, 300, (B, L), key=mx.random.key(B * 100 + L))


@pytest.mark.parametrize("changes", [{}, {"rope_traditional": True}, {"model_type": "qwen3"}, {"head_dim": 34}])
@pytest.mark.parametrize(("bits", "group_size"), [(4, 32), (8, 64)])
@pytest.mark.parametrize(("B", "L"), [(1, 1), (1, 40), (3, 7)])
def test_they_equal_the_parts_to_the_last_bit(changes, bits, group_size, B, L):
    if changes.get("head_dim") == 34:
        changes = changes | {"num_attention_heads": 32, "num_key_value_heads": 32}  # o_proj reads whole groups
    fused, unfused = models(bits, group_size, **changes)
    assert fused_steps(fused) != fused_steps(unfused)
    assert same_bits(fused(prompt(B, L)), unfused(prompt(B, L)))


def test_they_equal_the_parts_with_a_cache_too():
    results = []
    for model in models():
        cache = model.make_cache()
        steps = [model(prompt(2, 9), cache)] + [model(prompt(2, 1), cache) for _ in range(3)]
        results.append(mx.concatenate(steps, axis=1))
    assert same_bits(*results)


def test_each_row_may_stand_at_a_position_of_its_own():
    model = models()[0]
    block, offsets = model.blocks[0], mx.array([0, 70, 12_345])
    x = mx.random.normal((3, 5, 128), key=mx.random.key(1))
    together = block.project(x, offsets)
    for b in range(3):
        alone = block.project(x[b : b + 1], offsets[b].item())
        assert all(same_bits(a, t[b : b + 1]) for a, t in zip(alone, together, strict=True))


def test_inputs_need_not_be_contiguous_and_stay_as_they_were():
    block = models()[0].blocks[0]
    plain = mx.random.normal((2, 5, 128), key=mx.random.key(2))
    apart = mx.repeat(plain, 2, axis=-1)[..., ::2]
    by_token = mx.contiguous(plain.transpose(1, 0, 2)).transpose(1, 0, 2)
    sliced = mx.concatenate([plain, plain], axis=-1)[..., 128:]
    attended = mx.random.normal((2, 5, 192), key=mx.random.key(3))
    for x in (apart, by_token, sliced):
        assert all(same_bits(a, b) for a, b in zip(block.project(x, 3), block.project(plain, 3), strict=True))
        assert same_bits(block.output(x, attended), block.output(plain, attended))
        assert same_bits(block.feed_forward(x), block.feed_forward(plain))
        assert same_bits(x, plain)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, {"project", "output", "feed_forward"}),
        ({"model_type": "qwen2"}, {"output", "feed_forward"}),  # biases
        ({"model_type": "qwen3"}, {"output", "feed_forward"}),  # normalised heads
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, {"output", "feed_forward"}),
        ({"mlp_bias": True}, {"project", "output"}),
        ({"bits": None}, set()),
        ({"bits": 6}, set()),
        ({"dtype": mx.float16}, set()),
    ],
)
def test_what_they_do_not_serve_is_left_to_the_parts(options, steps):
    fused, unfused = models(**options)
    assert fused_steps(fused) == [steps] * 2
    assert same_bits(fused(prompt(2, 6)), unfused(prompt(2, 6)))


@pytest.mark.parametrize(
    ("part", "left"),
    [("swiglu", {"project", "output"}), ("rope", {"output", "feed_forward"}), ("attention", set(STEPS)), ("linear", set())],
)
def test_a_part_that_is_plugged_in_unfuses_its_neighbours_only(part, left):
    own = lambda *args, **options: getattr(cpu_parts(), part)(*args, **options)  # noqa: E731
    model = random_model(ModelConfig(model_type="llama", **SHAPE), group_size=32, parts=cpu_parts(), **{part: own})
    assert fused_steps(model) == [left] * 2
    assert same_bits(model(prompt(1, 4)), models()[0](prompt(1, 4)))


def test_an_attention_that_returns_half_precision_can_be_plugged_in():
    def half(*args, **options):
        return cpu_parts().attention(*args, **options).astype(mx.float16)

    model = random_model(ModelConfig(model_type="llama", **SHAPE), group_size=32, parts=cpu_parts(), attention=half)
    assert mx.allclose(model(prompt(1, 4)), models()[0](prompt(1, 4)), atol=1e-2).item()


X, NORM = mx.zeros((1, 2, 64)), mx.ones((64,))
W = (mx.zeros((32, 8), mx.uint32), mx.zeros((32, 2)), mx.zeros((32, 2)), 32, 4)  # [32, 64]
BACK = (mx.zeros((64, 4), mx.uint32), mx.zeros((64, 1)), mx.zeros((64, 1)), 32, 4)  # [64, 32]
TURN = (8, False, 1e4, 1.0, 0)


def call(step, arguments, **options):
    """The step, with each packed weight made ready for it."""
    ext = extension()
    ready = [ext.Weight(a) if isinstance(a, tuple) else a for a in arguments]
    return getattr(ext, step)(*ready, **options)


@pytest.mark.parametrize(
    ("step", "arguments", "message"),
    [
        ("project", (X[0], NORM, 1e-5, W, W, W, *TURN), r"x is float32 \[2, 64\]; wanted \[B, L, E\]"),
        ("project", (X, NORM[:8], 1e-5, W, W, W, *TURN), r"norm float32 \[8\]; wanted x \[..., E\] and norm \[E\]"),
        ("project", (X, NORM, 1e-5, W, BACK, W, *TURN), r"x is float32 \[1, 2, 64\]; wanted \[..., 32\]"),
        ("project", (X, NORM, 1e-5, W, W, W, 12, *TURN[1:]), "head_dim is 12 .* 32 rows; wanted an even divisor"),
        ("project", (X, NORM, 1e-5, W, W, W, *TURN[:4], mx.array([1, 2])), r"offset is int32 \[2\]"),
        ("add_linear", (X, X, W), r"residual is float32 \[1, 2, 64\]; wanted the product's shape, \[1, 2, 32\]"),
        ("add_linear", (X.astype(mx.float16), X, W), "residual is float16"),
        ("feed_forward", (X, NORM, 1e-5, BACK, BACK, W), r"x is float32 \[1, 2, 64\]; wanted \[..., 32\]"),
        ("feed_forward", (X, NORM, 1e-5, W, BACK, BACK), r"up is \[64, 32\]; wanted \[32, 64\]"),
        ("feed_forward", (X, NORM, 1e-5, W, W, W), r"down is \[32, 64\]; wanted \[64, 32\]"),
        ("feed_forward", (X, NORM, 1e-5, W, tuple(a[:8] for a in W[:3]) + W[3:], BACK), r"up is \[8, 64\]; wanted \[32, 64\]"),
        ("feed_forward", (X, NORM, 1e-5, W, W, tuple(a[:8] for a in BACK[:3]) + BACK[3:]), r"down is \[8, 32\]; wanted \[64, 32\]"),
        ("feed_forward", (X.astype(mx.bfloat16), NORM, 1e-5, W, W, BACK), "x is bfloat16"),
    ],
)
def test_bad_input_is_refused_with_what_was_given_and_wanted(step, arguments, message):
    with pytest.raises(ValueError, match=f"{step}: .*{message}"):
        call(step, arguments)


def test_weights_of_which_some_round_their_input_to_8_bits_are_refused():
    ext = extension()
    w, w8, back8 = ext.Weight(W), ext.Weight(W, None, True), ext.Weight(BACK, None, True)
    for qkv in ((w, w8, w8), (w8, w, w8), (w8, w8, w)):
        with pytest.raises(ValueError, match="project: some weights round .* wanted all alike"):
            ext.project(X, NORM, 1e-5, *qkv, *TURN)
    for mlp in ((w, w, back8), (w8, w, back8), (w, w8, back8)):
        with pytest.raises(ValueError, match="feed_forward: some weights round .* wanted all alike"):
            ext.feed_forward(X, NORM, 1e-5, *mlp)
    mx.eval(ext.project(X, NORM, 1e-5, w8, w8, w8, *TURN), ext.feed_forward(X, NORM, 1e-5, w8, w8, back8))


@pytest.mark.parametrize(
    ("step", "arguments"),
    [
        ("project", (X, NORM, 1e-5, W, W, W, *TURN)),
        ("add_linear", (X[..., :32], X, W)),
        ("feed_forward", (X, NORM, 1e-5, W, W, BACK)),
    ],
)
def test_a_gpu_is_refused(step, arguments):
    mx.eval(call(step, arguments, stream=mx.cpu))
    with pytest.raises(ValueError, match=rf"{step}: this kernel runs on the CPU.*stream=mx\.cpu"):
        call(step, arguments, stream=mx.gpu)


@pytest.mark.parametrize("shape", [(0, 3, 64), (2, 0, 64)])
def test_nothing_in_nothing_out(shape):
    x = mx.zeros(shape)
    outs = call("project", (x, NORM, 1e-5, W, W, W, *TURN))
    assert [out.shape for out in outs] == [(shape[0], 4, shape[1], 8)] * 3
    steps = [call("feed_forward", (x, NORM, 1e-5, W, W, BACK)), call("add_linear", (x[..., :32], x, W))]
    assert [out.shape for out in steps] == [shape, (*shape[:-1], 32)]
    mx.eval(outs, steps)
