"""Parts go in by name, each is used for all of its work, and fusions give way to them."""

import sys
from types import SimpleNamespace

import mlx.core as mx
import pytest
from llm.tiny import tiny_config

from course_lib.llm import DenseWeight, ModelConfig, Parts, QuantizedWeight, default_parts, load, random_model
from course_lib.llm.parts import Fusion
from course_lib.techniques.kv_cache import KVCache

TOKENS = mx.array([[5, 9, 2, 77], [1, 2, 3, 4]])
TINY = ModelConfig.from_dict(tiny_config())


def by_hand_linear(x, weight):
    matrix = weight.weight
    if isinstance(weight, QuantizedWeight):
        matrix = mx.dequantize(
            weight.weight, weight.scales, weight.biases, group_size=weight.group_size, bits=weight.bits
        )
    out = mx.einsum("...k,nk->...n", x, matrix)
    return out if weight.bias is None else out + weight.bias


def by_hand_attention(queries, keys, values, *, scale, mask):
    H, L, S = queries.shape[1], queries.shape[2], keys.shape[2]
    keys, values = (mx.repeat(a, H // a.shape[1], axis=1) for a in (keys, values))
    scores = scale * queries @ keys.swapaxes(-1, -2)
    if isinstance(mask, str):
        mask = mx.arange(S)[None] <= mx.arange(S - L, S)[:, None]
    if mask is not None:
        scores = mx.where(mask, scores, -mx.inf)
    return mx.softmax(scores, axis=-1) @ values


def by_hand_rms_norm(x, weight, eps):
    return x * mx.rsqrt(mx.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def by_hand_rope(x, *, dims, traditional, base, scale, offset, freqs):
    assert not traditional and freqs is None
    half = dims // 2
    positions = (mx.array(offset).reshape(-1, 1) + mx.arange(x.shape[2])) * scale  # [B or 1, L]
    angles = positions[:, None, :, None] * base ** (-mx.arange(half) / half)
    a, b = x[..., :half], x[..., half:dims]
    return mx.concatenate(
        [a * mx.cos(angles) - b * mx.sin(angles), b * mx.cos(angles) + a * mx.sin(angles), x[..., dims:]],
        axis=-1,
    )


def by_hand_swiglu(gate, up):
    return gate / (1 + mx.exp(-gate)) * up


BY_HAND = {
    "linear": by_hand_linear,
    "attention": by_hand_attention,
    "rms_norm": by_hand_rms_norm,
    "rope": by_hand_rope,
    "swiglu": by_hand_swiglu,
}


def counted(part):
    def call(*args, **kwargs):
        call.count += 1
        return part(*args, **kwargs)

    call.count = 0
    return call


# Of a two-layer Qwen3: per layer 7 matrices, 4 norms (2 of them of q and k), 2 ropes; and the head.
@pytest.mark.parametrize(
    ("name", "calls"), [("linear", 15), ("attention", 2), ("rms_norm", 9), ("rope", 4), ("swiglu", 2)]
)
def test_your_part_does_all_of_its_work_and_the_logits_stay(tiny, name, calls):
    folder = tiny(config=tiny_config("qwen3"), bits=4)
    model, _ = load(folder)
    mine = counted(BY_HAND[name])
    with_mine, _ = load(folder, **{name: mine})
    got = with_mine(TOKENS, with_mine.make_cache())
    assert mine.count == calls
    assert mx.allclose(got, model(TOKENS), atol=1e-4)


def test_all_parts_at_once(tiny):
    folder = tiny(config=tiny_config("qwen2"))
    model, _ = load(folder)
    with_mine, _ = load(folder, **BY_HAND)
    cache = with_mine.make_cache()
    pieces = [with_mine(TOKENS[:, :3], cache), with_mine(TOKENS[:, 3:], cache)]
    assert mx.allclose(mx.concatenate(pieces, axis=1), model(TOKENS), atol=1e-4)


def test_the_cache_part_is_called_once_a_layer():
    make_cache = counted(KVCache)
    model = random_model("smollm2-135m", cache=make_cache)
    caches = model.make_cache()
    assert make_cache.count == len(caches) == 30
    assert len(set(map(id, caches))) == 30


def test_a_caches_own_mask_is_used():
    class OnlyItself(KVCache):
        def make_mask(self, L):
            return mx.eye(L, dtype=mx.bool_) if self.offset == 0 else None

    masks = []

    def attention(queries, keys, values, *, scale, mask):
        masks.append(mask)
        return by_hand_attention(queries, keys, values, scale=scale, mask=mask)

    model = random_model(TINY, bits=None, attention=attention, cache=OnlyItself)
    model(TOKENS, model.make_cache())
    assert all(mx.array_equal(mask, mx.eye(4)) for mask in masks)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"atention": by_hand_attention}, "no part 'atention'; the parts are linear, attention"),
        ({"fusions": ()}, "no part 'fusions'"),
        ({"linear": None}, "linear=None cannot be called"),
        ({"cache": KVCache()}, "a class or function that makes a cache"),
    ],
)
def test_refuses_what_is_no_part(parts, message):
    with pytest.raises(TypeError, match=message):
        random_model(TINY, **parts)


def test_on_the_cpu_the_native_kernels_are_the_default_where_they_are_built(monkeypatch):
    native = Parts(swiglu=by_hand_swiglu)
    cases = {"built": (lambda int8: native, native), "not built": (lambda int8: None, Parts())}
    for cpu_parts, wanted in cases.values():
        monkeypatch.setitem(sys.modules, "course_lib.kernels", SimpleNamespace(cpu_parts=cpu_parts))
        on_cpu = mx.default_device() == mx.cpu
        assert default_parts() == (wanted if on_cpu else Parts())


def test_embedding_rows_are_those_of_the_whole_matrix():
    matrix = mx.random.normal((10, 64))
    ids = mx.array([[3, 3], [0, 9]])
    assert mx.array_equal(DenseWeight(matrix).rows(ids), matrix[ids])
    packed = mx.quantize(matrix, group_size=32, bits=8)
    weight = QuantizedWeight(*packed, group_size=32, bits=8)
    assert weight.shape == (10, 64)
    assert mx.array_equal(weight.rows(ids), mx.dequantize(*packed, group_size=32, bits=8)[ids])


def fusion(step: str, covers: set[str], serves=lambda block: True) -> Fusion:
    """Stands in for a step by calling the unfused one, and counts."""

    def build(block):
        if not serves(block):
            return None
        fused = counted(getattr(block, step))
        built.append(fused)
        return fused

    built = []
    made = Fusion(step, frozenset(covers), build)
    object.__setattr__(made, "built", built)
    return made


def test_a_fusion_runs_in_every_block_and_gives_way_to_a_replaced_neighbour():
    mlp = fusion("feed_forward", {"rms_norm", "linear", "swiglu"})
    project = fusion("project", {"rms_norm", "linear", "rope"})
    parts = Parts(fusions=(mlp, project))
    wanted = random_model(TINY, bits=None, parts=parts)(TOKENS)
    assert [fused.count for fused in mlp.built + project.built] == [1, 1, 1, 1]

    mlp.built.clear(), project.built.clear()
    model = random_model(TINY, bits=None, parts=parts, rope=by_hand_rope)
    assert mx.allclose(model(TOKENS), wanted, atol=1e-4)
    assert [fused.count for fused in mlp.built] == [1, 1]
    assert project.built == []


def test_a_part_given_but_unchanged_keeps_the_fusion():
    parts = Parts(fusions=(fusion("attend", {"attention"}),))
    assert parts.replaced(attention=parts.attention).fusions == parts.fusions
    assert parts.replaced(attention=by_hand_attention).fusions == ()


def test_a_fusion_that_cannot_serve_a_block_leaves_it_as_it_is():
    whole = fusion("forward", {"linear"}, serves=lambda block: False)
    model = random_model(TINY, bits=None, parts=Parts(fusions=(whole,)))
    assert model(TOKENS).shape == (2, 4, TINY.vocab_size)
    assert whole.built == []
