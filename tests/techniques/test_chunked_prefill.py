"""Chunks of any size give what the whole prompt gives, and stay within the bounds they were chosen for."""

import mlx.core as mx
import pytest
from engine.lone import lone_tokens
from llm.tiny import tiny_config, write_checkpoint

from course_lib.lab.memory import peak_memory
from course_lib.llm import load
from course_lib.llm.config import ModelConfig
from course_lib.llm.model import Model
from course_lib.llm.parts import Parts
from course_lib.llm.random_weights import random_weights
from course_lib.techniques.attention import attention
from course_lib.techniques.cached_attention import AttentionLayer, full_attention
from course_lib.techniques.chunked_prefill import (
    RaggedLayer, choose_budget, lay_out, plan_chunks, prefill_chunked, prefill_layer,
)  # fmt: skip
from course_lib.techniques.kv_cache import ConcatKVCache, KVCache

PROMPT = [5, 9, 77, 130, 8, 8, 21, 40, 100, 3, 64]
TOLERANCE = {mx.float32: 1e-3, mx.float16: 2e-2, mx.bfloat16: 1.5e-1}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    model, _ = load(write_checkpoint(tmp_path_factory.mktemp("tiny"), tiny_config()), parts=Parts())
    return model


def random_layer():
    mx.random.seed(1)
    return AttentionLayer(
        wq=mx.random.normal((32, 24)) * 0.3, wk=mx.random.normal((16, 24)) * 0.3,
        wv=mx.random.normal((16, 24)) * 0.3, wo=mx.random.normal((24, 32)) * 0.3, num_heads=4, num_kv_heads=2,
    )  # fmt: skip


@pytest.mark.parametrize("chunk_size", range(1, 14))
def test_a_layer_in_chunks_gives_what_it_gives_whole(chunk_size):
    layer, x = random_layer(), mx.random.normal((2, 13, 24), key=mx.random.key(2))
    assert mx.allclose(prefill_layer(x, layer, chunk_size), full_attention(x, layer), atol=1e-5)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_logits_after_chunks_are_those_after_the_whole_prompt(dtype):
    config = ModelConfig(
        model_type="llama", hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=96, vocab_size=200, max_position_embeddings=128,
    )  # fmt: skip
    model = Model(config, random_weights(config, None, 32, 5, dtype), Parts())
    whole = model(mx.array([PROMPT]), positions=-1).astype(mx.float32)
    for chunk_size in range(1, len(PROMPT) + 2):
        cache = model.make_cache()
        logits = prefill_chunked(model, PROMPT, cache, chunk_size)
        assert logits.dtype == dtype and cache[0].offset == len(PROMPT)
        assert mx.abs(logits.astype(mx.float32) - whole).max().item() <= TOLERANCE[dtype]


def test_chunks_continue_what_the_cache_holds(tiny):
    cache = tiny.make_cache()
    tiny(mx.array([PROMPT[:3]]), cache)
    logits = prefill_chunked(tiny, PROMPT[3:], cache, 3)
    assert mx.allclose(logits, tiny(mx.array([PROMPT]), positions=-1), atol=1e-3)


def test_memory_is_bounded_by_the_chunk():
    config = ModelConfig(
        model_type="llama", hidden_size=64, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=2,
        intermediate_size=256, vocab_size=100, max_position_embeddings=2048,
    )  # fmt: skip
    model = Model(config, random_weights(config, None, 32, 5, mx.float32), Parts())
    prompt = [i % 100 for i in range(1024)]
    peak = {
        size: peak_memory(lambda size=size: prefill_chunked(model, prompt, model.make_cache(), size))
        for size in (32, 128, 1024)
    }
    assert peak[32] < peak[128] / 2 < peak[1024] / 8


@pytest.mark.parametrize("call", [
    lambda: prefill_layer(mx.zeros((1, 3, 24)), random_layer(), 0),
    lambda: prefill_chunked(None, [1], [], 0),
    lambda: prefill_chunked(None, [], [], 4),
    lambda: plan_chunks(100, 8, 8 * 4 * 99),
    lambda: choose_budget({}, 1.0),
    lambda: choose_budget({8: [0.2]}, 0.1),
])  # fmt: skip
def test_what_cannot_be_is_refused(call):
    with pytest.raises(ValueError, match="chunk_size is 0|is empty|bytes hold no row|no measured|no budget"):
        call()


@pytest.mark.parametrize("num_heads", [1, 9])
@pytest.mark.parametrize("num_tokens", [1, 50, 333])
@pytest.mark.parametrize("factor", [1, 1.7, 8, 1000])
def test_planned_chunks_fit_and_one_token_more_would_not(num_heads, num_tokens, factor):
    limit = int(4 * num_heads * num_tokens * factor)
    held = 0
    for size in plan_chunks(num_tokens, num_heads, limit):
        assert 4 * num_heads * size * (held + size) <= limit
        assert held + size == num_tokens or 4 * num_heads * (size + 1) * (held + size + 1) > limit
        held += size
    assert held == num_tokens


def test_planned_chunks_bound_what_unfused_attention_takes(tiny):
    held, limit = 0, 4 * 4 * 200 * 40
    for size in plan_chunks(200, 4, limit):
        S = held + size
        q, kv = mx.random.normal((1, 4, size, 16)), mx.random.normal((1, 2, S, 16))
        mx.eval(q, kv)
        peak = peak_memory(lambda q=q, kv=kv: attention(q, kv, kv, scale=1.0, mask=None))
        # Scores, their softmax and small things beside them: a few times the limit, however long the past is.
        assert peak < 4 * limit
        held = S


class Req:
    def __init__(self, prompt, computed=0):
        self.prompt, self.num_computed_tokens = prompt, computed
        self.generated = []

    @property
    def num_new_tokens(self):
        return len(self.prompt) + len(self.generated) - self.num_computed_tokens

    def next_tokens(self, count):
        return [*self.prompt, *self.generated][self.num_computed_tokens :][:count]


def test_a_layout_tells_whose_next_token_a_step_decides():
    decodes, begins, ends = Req([1, 2, 3], 2), Req([4, 5, 6, 7]), Req([8, 9, 10], 1)
    tokens, positions, last, sampled = lay_out([(decodes, 1), (begins, 3), (ends, 2)])
    assert (tokens, positions) == ([3, 4, 5, 6, 9, 10], [2, 0, 1, 2, 1, 2])
    assert (last, sampled) == ([0, 5], [decodes, ends])


@pytest.mark.parametrize("make_cache", [KVCache, ConcatKVCache])
def test_one_ragged_pass_says_what_each_request_would_say_alone(tiny, make_cache):
    requests = [Req(PROMPT[:1]), Req(PROMPT), Req(PROMPT[3:8])]
    caches = {r: [make_cache() for _ in tiny.blocks] for r in requests}
    for step in range(12):
        sizes = [1 + (step + i) % 4 for i in range(3)]
        work = [(r, min(r.num_new_tokens, n)) for r, n in zip(requests, sizes, strict=True)]
        tokens, positions, last, sampled = lay_out(work)
        layers = [
            RaggedLayer([caches[r][i] for r, _ in work], [n for _, n in work]) for i in range(len(tiny.blocks))
        ]
        assert layers[0].offset.tolist() == positions
        logits = tiny(mx.array(tokens)[:, None], layers, rows=last or [0])[:, 0]
        for request, count in work:
            request.num_computed_tokens += count
        for request, token in zip(sampled, mx.argmax(logits, axis=-1).tolist(), strict=False):
            request.generated.append(token)
    for request in requests:
        assert len(request.generated) >= 4
        assert request.generated == lone_tokens(tiny, request.prompt, len(request.generated))


def test_the_budget_is_the_largest_that_keeps_to_the_goal():
    line = {n: [0.01 + 0.001 * n] for n in (8, 40, 200)}
    assert choose_budget(line, 0.1101) == 100
    assert choose_budget(line, 9.0) == 200  # nothing is known beyond
    knee = {8: [0.05, 0.05, 3.0], 64: [0.05], 128: [0.1]}
    assert choose_budget(knee, 0.0752) == 96
