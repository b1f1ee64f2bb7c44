"""All layers as one operation: the same numbers, and caches that stay what they are."""

import copy
from dataclasses import replace

import mlx.core as mx
import pytest
from kernels.closeness import same_bits

from course_lib.engine.ragged_step import RaggedLayer, segments
from course_lib.kernels import cpu_parts
from course_lib.kernels.extension import extension
from course_lib.kernels.fusions import native_decoder
from course_lib.llm import ModelConfig, random_model
from course_lib.llm.room import RoomBatchedKVCache, RoomKVCache
from course_lib.techniques.batched_kv_cache import BatchedKVCache
from course_lib.techniques.kv_cache import ConcatKVCache, KVCache

SHAPE = dict(
    hidden_size=128, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, head_dim=32,
    intermediate_size=256, vocab_size=300,
)  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
LINEAR = {"type": "linear", "factor": 3.0}
KINDS = {
    "llama": {"num_attention_heads": 8},
    "llama, rope of pairs": {"num_attention_heads": 8, "rope_traditional": True},
    "linear rope": {"num_attention_heads": 8, "rope_scaling": LINEAR},
    "llama 3's rope": {"num_attention_heads": 8, "rope_scaling": LLAMA3},
    "qwen2": {"model_type": "qwen2", "num_attention_heads": 4, "num_key_value_heads": 4, "attention_bias": True},
    "qwen3": {"model_type": "qwen3", "num_attention_heads": 8, "head_dim": 64},
}


def models(kind="llama", bits=4, group_size=32):
    """The same random model, with all layers as one operation and with each part by itself."""
    config = ModelConfig(**{"model_type": "llama"} | SHAPE | KINDS[kind])
    unfused = replace(cpu_parts(), fusions=(), cache=KVCache)
    fused, plain = (random_model(config, parts=p, bits=bits, group_size=group_size) for p in (cpu_parts(), unfused))
    assert "layers" in vars(fused) and "layers" not in vars(plain)
    return fused, plain


def prompt(B, L):
    return mx.random.randint(0, 300, (B, L), key=mx.random.key(B * 100 + L))


@pytest.mark.parametrize(("bits", "group_size"), [(4, 32), (4, 64), (4, 128), (8, 32), (8, 64), (8, 128)])
@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_the_parts_to_the_last_bit(kind, bits, group_size):
    results = []
    for model in models(kind, bits, group_size):
        cache = model.make_cache()
        steps = [model(prompt(2, L), cache) for L in (9, 1, 1, 4)]
        results.append(mx.concatenate(steps, axis=1))
    assert same_bits(*results)


def test_a_token_does_not_depend_on_how_the_prompt_was_cut():
    model, _ = models()
    tokens = prompt(1, 40)
    whole = model(tokens, model.make_cache())
    for size in (1, 7, 39):
        cache = model.make_cache()
        pieces = [model(tokens[:, i : i + size], cache) for i in range(0, 40, size)]
        assert same_bits(whole, mx.concatenate(pieces, axis=1)), size


@pytest.mark.parametrize("long", [20, 600])
def test_a_step_of_many_sequences_equals_each_alone(long):
    """Rows of different lengths decode while another's prompt is read, as an engine's step has it."""
    model, _ = models()
    prompts = [prompt(1, L) for L in (3, long, 1)]
    layers = [RoomBatchedKVCache(4, step=8) for _ in model.blocks]
    alone = []
    for tokens in prompts:
        alone.append(model.make_cache())
        mx.eval(model(tokens, alone[-1]))
        for layer in layers:
            layer.add()
        mx.eval(step(model, layers, [(len(alone) - 1, tokens)]))
    for layer in layers:
        layer.add()
    alone.append(model.make_cache())
    new = [prompt(1, 1), prompt(1, 1), prompt(1, 5), prompt(1, 17)]
    together = step(model, layers, list(enumerate(new)))
    wanted = mx.concatenate([model(t, cache)[0] for t, cache in zip(new, alone, strict=True)])
    assert same_bits(together[:, 0], wanted)


def step(model, layers, work):
    """work: (row, tokens [1, L]) -> logits [T, 1, V]."""
    lengths = layers[0].lengths
    cut = segments([(row, tokens.shape[1]) for row, tokens in work], lengths)
    positions = mx.array([lengths[row] + i for row, tokens in work for i in range(tokens.shape[1])])
    cache = [RaggedLayer(layer, positions, cut) for layer in layers]
    return model(mx.concatenate([tokens for _, tokens in work], axis=1).T, cache)


def test_a_batched_cache_serves_a_model_as_it_is():
    fused, plain = models()
    results = []
    for model, kind in ((fused, RoomBatchedKVCache), (plain, BatchedKVCache)):
        cache = [kind(3, step=4) for _ in model.blocks]
        for layer in cache:
            layer.add(), layer.add()
        results.append([model(prompt(2, L), cache) for L in (3, 1, 1)])
    assert all(same_bits(*pair) for pair in zip(*results, strict=True))


def test_forgotten_tokens_are_written_over():
    model, _ = models()
    cache, fresh = model.make_cache(), model.make_cache()
    model(prompt(1, 9), cache), model(prompt(1, 9), fresh)
    model(prompt(1, 4), cache)
    for layer in cache:
        layer.trim(4)
    assert same_bits(model(prompt(1, 2), cache), model(prompt(1, 2), fresh))


def test_steps_are_done_in_the_order_in_which_they_were_asked_for():
    """Nothing is evaluated until the end, and of the first step nothing at all is asked for."""
    results = []
    for model in models():
        cache = model.make_cache()
        model(prompt(1, 9), cache)
        results.append(model(prompt(1, 1), cache))
    assert same_bits(*results)


@pytest.mark.parametrize("evaluated", [True, False])
def test_what_was_fetched_stays_what_it_is(evaluated):
    model, _ = models()
    cache = model.make_cache()
    mx.eval(model(prompt(1, 5), cache))
    new = mx.ones((1, 2, 1, 32))
    views = [layer.update_and_fetch(new, new)[0] for layer in cache]
    if evaluated:
        mx.eval(views)
    for layer in cache:
        layer.trim(6)
    mx.eval(model(prompt(1, 6), cache))  # where the views look
    assert all(mx.all(view[:, :, 5] == 1).item() for view in views)


def test_what_was_fetched_from_a_batched_cache_stays_what_it_is():
    model, _ = models()
    cache = [RoomBatchedKVCache(1) for _ in model.blocks]
    for layer in cache:
        layer.add()
    mx.eval(model(prompt(1, 5), cache))
    views = [layer.fetch(0, 1)[0] for layer in cache]
    kept = mx.array(mx.stack(views).tolist())
    for layer in cache:
        layer.lengths[:] = [0]
    mx.eval(model(prompt(1, 5) + 1, cache))
    assert mx.array_equal(mx.stack(views), kept).item()


def test_a_copied_cache_goes_its_own_way():
    model, _ = models()
    cache = model.make_cache()
    mx.eval(model(prompt(1, 5), cache))
    twin = copy.deepcopy(cache)
    first, second = prompt(1, 3), prompt(1, 3) + 1
    fresh = [model.make_cache(), model.make_cache()]
    for one, other, tokens in ((cache, fresh[0], first), (twin, fresh[1], second)):
        mx.eval(model(prompt(1, 5), other), model(tokens, one), model(tokens, other))
    after = [model(prompt(1, 1), one) for one in (cache, twin, *fresh)]
    assert same_bits(after[0], after[2]) and same_bits(after[1], after[3]) and not same_bits(after[0], after[1])


@pytest.mark.parametrize("part", ["attention", "linear", "rms_norm", "rope", "swiglu"])
def test_a_part_that_is_plugged_in_is_used(part):
    own = getattr(cpu_parts(), part)
    calls = []

    def counting(*args, **options):
        calls.append(part)
        return own(*args, **options)

    config = ModelConfig(**{"model_type": "llama"} | SHAPE | KINDS["llama"])
    model = random_model(config, group_size=32, **{part: counting})
    tokens = prompt(1, 4)
    result = model(tokens, model.make_cache())
    whole = random_model(config, group_size=32)
    assert len(calls) >= len(model.blocks)
    assert same_bits(result, whole(tokens, whole.make_cache()))


@pytest.mark.parametrize("cache", [ConcatKVCache, KVCache, None])
def test_a_cache_that_lends_nothing_is_served_step_by_step(cache):
    model, plain = models()
    tokens = prompt(1, 6)
    layers = [cache() for _ in model.blocks] if cache else None
    assert same_bits(model(tokens, layers), plain(tokens, plain.make_cache()))


def test_another_batch_is_refused():
    model, _ = models()
    cache = model.make_cache()
    model(prompt(2, 3), cache)
    with pytest.raises(ValueError, match="One cache serves one layer of one batch"):
        model(prompt(3, 1), cache)


@pytest.mark.parametrize(
    ("segments", "lengths", "message"),
    [
        ([(0, 0, 1, 3)], [6], "row 0 holds 6 tokens and gets 3; there is room for 8"),
        ([(0, 0, 1, 2)], [0], "the segments have other tokens than h"),
        ([(1, 0, 1, 3)], [0], "a segment does not fit"),
        ([(0, 1, 1, 3)], [0], "a segment does not fit"),
        ([(0, 0, 1, 3)], [0, 0], "more lengths than rows"),
        ([(0, 0, 1, 3)], [-1], "a row is said to hold -1 tokens; its cache has room for 8"),
        ([(0, 0, 1, 3)], [9], "a row is said to hold 9 tokens"),
        ([(0, 0, 1, 1), (1, 0, 1, 2)], [0], "row 0 is in two segments"),
    ],
)
def test_a_step_that_does_not_fit_its_room_is_refused(segments, lengths, message):
    model, _ = models()
    ext = extension()
    decoder = native_decoder(ext, lambda w: ext.Weight((w.weight, w.scales, w.biases, w.group_size, w.bits)), model)
    rooms = [mx.zeros((1, 2, 8, 32)) for _ in model.blocks]
    with pytest.raises(ValueError, match=message):
        ext.decode(decoder, mx.zeros((1, 3, 128)), rooms, rooms, segments, lengths)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w, ready: ready(w, int8=w.shape[0] == 64), "wanted .*, and all with x in 8 bits or none"),
        (lambda w, ready: ready(w, rows=max(w.shape[0] - 8, 64)), r"a weight is \[248, 128\]; wanted \[256, 128\]"),
    ],
)
def test_layers_whose_weights_do_not_fit_are_refused(spoil, message):
    model, _ = models()
    ext = extension()

    def ready(w, int8=False, rows=None):
        return ext.Weight((w.weight[:rows], w.scales[:rows], w.biases[:rows], w.group_size, w.bits), None, int8)

    with pytest.raises(ValueError, match=message):
        native_decoder(ext, lambda w: spoil(w, ready), model)


def test_int8_activations_are_the_same_step_by_step_and_row_by_row():
    config = ModelConfig(**{"model_type": "llama"} | SHAPE | KINDS["llama"])
    parts = cpu_parts(int8_activations=True)
    fused, plain = (random_model(config, parts=p, group_size=32) for p in (parts, replace(parts, fusions=())))
    tokens = prompt(1, 12)
    whole = fused(tokens, fused.make_cache())
    cache = fused.make_cache()
    pieces = [fused(tokens[:, i : i + 1], cache) for i in range(12)]
    assert same_bits(whole, plain(tokens, plain.make_cache()))
    assert same_bits(whole, mx.concatenate(pieces, axis=1))
    exact = random_model(config, group_size=32)(tokens)
    assert 0 < mx.abs(whole - exact).max().item() < 0.1 * mx.abs(exact).max().item()
