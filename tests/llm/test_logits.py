"""The model computes what mlx-lm computes on the same weights."""

import json

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm.tiny import tiny_config
from mlx_lm.models.cache import BatchKVCache
from mlx_lm.models.cache import KVCache as MLXKVCache
from mlx_lm.utils import load_model

from course_lib.llm import ModelConfig, load, random_model
from course_lib.techniques.kv_cache import ConcatKVCache, KVCache

TOKENS = mx.array([[5, 9, 2, 77, 130, 8, 8, 201, 3, 64, 31], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]])
TINY = ModelConfig.from_dict(tiny_config())
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip


def embeddings_at_8_bits(path, _module):
    return {"group_size": 32, "bits": 8} if "embed_tokens" in path else True


CASES = {
    "llama": {},
    "llama untied": {"config": {"tie_word_embeddings": False}},
    "llama 4 bits": {"bits": 4},
    "llama untied 8 bits groups of 64": {
        "config": {"tie_word_embeddings": False},
        "bits": 8,
        "group_size": 64,
    },
    "llama 4 bits with 8-bit embeddings": {"bits": 4, "predicate": embeddings_at_8_bits},
    "llama all biases": {"config": {"attention_bias": True, "mlp_bias": True}},
    "llama all biases 4 bits": {"config": {"attention_bias": True, "mlp_bias": True}, "bits": 4},
    "llama no head_dim given": {"config": {"head_dim": None}},
    "llama head_dim of its own": {"config": {"head_dim": 24}},
    "llama one key/value head": {"config": {"num_key_value_heads": 1}},
    "llama as many key/value heads": {"config": {"num_key_value_heads": 4}},
    "llama linear rope": {"config": {"rope_scaling": {"type": "linear", "factor": 4.0}}},
    "llama llama3 rope": {"config": {"rope_scaling": LLAMA3, "rope_theta": 500.0}},
    "llama default rope": {"config": {"rope_scaling": {"rope_type": "default"}}},
    "llama traditional rope": {"config": {"rope_traditional": True}},
    "llama bfloat16": {"dtype": mx.bfloat16},
    "llama bfloat16 4 bits": {"dtype": mx.bfloat16, "bits": 4},
    "qwen2": {"family": "qwen2"},
    "qwen2 untied 4 bits": {"family": "qwen2", "config": {"tie_word_embeddings": False}, "bits": 4},
    "qwen2 linear rope": {"family": "qwen2", "config": {"rope_scaling": {"type": "linear", "factor": 2.0}}},
    "qwen3": {"family": "qwen3"},
    "qwen3 head_dim of its own 4 bits": {"family": "qwen3", "config": {"head_dim": 32}, "bits": 4},
    "qwen3 untied 8 bits": {"family": "qwen3", "config": {"tie_word_embeddings": False}, "bits": 8},
    "qwen3 nested rope": {
        "family": "qwen3",
        "config": {"rope_theta": None, "rope_parameters": {"rope_theta": 50.0}},
    },
}


def largest_difference(left: mx.array, right: mx.array) -> float:
    assert left.shape == right.shape
    return mx.max(mx.abs(left - right)).item()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_logits_equal_those_of_mlx_lm(tiny, case):
    options = dict(case)
    config = tiny_config(options.pop("family", "llama"), **options.pop("config", {}))
    if config["head_dim"] is None or config["model_type"] == "qwen2":
        del config["head_dim"]
    folder = tiny(config=config, **options)
    theirs, _ = load_model(folder)
    theirs.set_dtype(mx.float32)
    wanted = theirs(TOKENS)
    model, _ = load(folder)
    assert mx.std(wanted).item() > 0.1
    assert largest_difference(model(TOKENS), wanted) < 2e-5 * mx.max(mx.abs(wanted)).item()


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_rope_entries_mean_the_same_nested_and_not(tiny, family):
    flat = tiny_config(family, rope_theta=50.0, rope_scaling={"rope_type": "linear", "factor": 4.0})
    nested = {key: value for key, value in flat.items() if not key.startswith("rope_")}
    nested["rope_parameters"] = {"rope_theta": 50.0, "rope_type": "linear", "factor": 4.0}
    folder = tiny(config=flat)
    wanted = load(folder)[0](TOKENS)
    (folder / "config.json").write_text(json.dumps(nested))
    assert mx.array_equal(load(folder)[0](TOKENS), wanted)


@pytest.mark.model
def test_the_real_models_logits_equal_those_of_mlx_lm(smollm2):
    from course_lib.llm.checkpoints import find_checkpoint

    theirs, _ = load_model(find_checkpoint("smollm2-135m"))
    theirs.set_dtype(mx.float32)
    tokens = mx.array([smollm2.tokenizer.encode("Water boils at 100 degrees")])
    wanted, got = theirs(tokens), smollm2.model(tokens)
    assert largest_difference(got, wanted) < 1e-3
    assert mx.array_equal(mx.argmax(got, axis=-1), mx.argmax(wanted, axis=-1))


@pytest.mark.parametrize("make_cache", [KVCache, lambda: KVCache(step=3), ConcatKVCache, MLXKVCache])
@settings(max_examples=15, deadline=None)
@given(cuts=st.sets(st.integers(1, 10)))
def test_reading_a_prompt_in_pieces_through_a_cache_changes_nothing(make_cache, cuts):
    model = random_model(TINY, bits=None, cache=make_cache)
    cache = model.make_cache()
    edges = [0, *sorted(cuts), TOKENS.shape[1]]
    pieces = [model(TOKENS[:, a:b], cache) for a, b in zip(edges, edges[1:], strict=False)]
    assert largest_difference(mx.concatenate(pieces, axis=1), model(TOKENS)) < 1e-4


def test_a_model_without_a_cache_makes_none():
    assert random_model(TINY, bits=None, cache=None).make_cache() is None


def test_rows_of_different_lengths_each_keep_their_positions_and_see_only_themselves(tiny_llama):
    """mlx-lm's batched cache: left padding, an offset a row, a mask of its own."""
    model, lengths = tiny_llama.model, (11, 7, 1)
    rows = [TOKENS[0, :length].tolist() for length in lengths]
    padding = [11 - length for length in lengths]
    padded = mx.array([[0] * pad + row for pad, row in zip(padding, rows, strict=True)])
    cache = [BatchKVCache(padding) for _ in model.blocks]
    after = [model(padded, cache, positions=-1), model(mx.array([[4], [9], [14]]), cache)]
    for index, row in enumerate(rows):
        alone = model(mx.array([row + [[4], [9], [14]][index]]))[0]
        assert largest_difference(after[0][index, 0], alone[-2]) < 1e-4
        assert largest_difference(after[1][index, 0], alone[-1]) < 1e-4


@pytest.mark.parametrize(
    ("positions", "wanted"),
    [
        (-1, [[10], [10]]),
        (0, [[0], [0]]),
        ([2, -1], [[2, 10], [2, 10]]),
        (mx.array([3, 4, 5]), [[3, 4, 5], [3, 4, 5]]),
        (mx.array([[1, -2], [-1, 0]]), [[1, 9], [10, 0]]),
    ],
)
def test_only_the_wanted_positions_come_back(tiny_llama, positions, wanted):
    everywhere = tiny_llama.model(TOKENS)
    some = tiny_llama.model(TOKENS, positions=positions)
    expected = mx.stack([everywhere[row, mx.array(wanted[row])] for row in range(2)])
    assert largest_difference(some, expected) < 1e-5


def test_only_the_wanted_positions_are_projected_into_the_vocabulary(tiny_llama):
    widths = []

    def linear(x, weight):
        widths.append((x.shape[1], weight.shape[0]))
        return tiny_llama.model.parts.linear(x, weight)

    model, _ = load(tiny_llama.folder, linear=linear)
    model(TOKENS, positions=-1)
    assert [length for length, N in widths if N == model.config.vocab_size] == [1]


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        (mx.array([1, 2]), {}, r"\[B, L\]"),
        (mx.zeros((1, 0), mx.int32), {}, "at least"),
        (mx.array([[1.0]]), {}, "integers"),
        (mx.array([[1, 2]]), {"cache": [KVCache()]}, "2 layers, the cache 1"),
        (mx.array([[1, 2]]), {"positions": 2}, "outside the 2 tokens"),
        (mx.array([[1, 2]]), {"positions": mx.zeros((3, 1), mx.int32)}, r"\[3, 1\]"),
    ],
)
def test_refuses_arguments_of_a_wrong_shape(tiny_llama, tokens, options, message):
    with pytest.raises(ValueError, match=message):
        tiny_llama.model(tokens, **options)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_activations_take_the_dtype_asked_for(tiny_llama, dtype):
    model, _ = load(tiny_llama.folder, dtype=dtype)
    cache = model.make_cache()
    logits = model(TOKENS, cache)
    keys, _ = cache[0].update_and_fetch(*[mx.zeros((2, 2, 1, 16), dtype)] * 2)
    assert logits.dtype == model.dtype == keys.dtype == dtype
    wanted = tiny_llama.model(TOKENS)
    assert largest_difference(logits.astype(mx.float32), wanted) < 0.1 * mx.max(mx.abs(wanted)).item()


def test_activations_are_float32_on_the_cpu_whatever_the_checkpoint(tiny):
    model, _ = load(tiny(dtype=mx.bfloat16, bits=4))
    expected = mx.float32 if mx.default_device() == mx.cpu else mx.bfloat16
    assert model(TOKENS).dtype == model.dtype == expected
