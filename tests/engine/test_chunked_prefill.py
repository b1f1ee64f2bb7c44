"""Chunked prefill in the engine: the same logits, bounded memory, and who gets what of a step's budget."""

import mlx.core as mx
import pytest
from engine.lone import lone_tokens
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.engine import Engine, EngineConfig
from course_lib.lab.memory import peak_memory
from course_lib.llm.config import ModelConfig
from course_lib.llm.model import Model
from course_lib.llm.parts import Parts
from course_lib.llm.random_weights import random_weights

PROMPT = [5, 9, 77, 130, 8, 8, 21, 40, 100, 3, 64]
# Of logits whose spread is about 3: what a chunk changes is the order of sums.
TOLERANCE = {mx.float32: 1e-3, mx.float16: 2e-2, mx.bfloat16: 1.5e-1}


def random_model(dtype=mx.float32, **sizes):
    sizes = {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 96, "vocab_size": 200, "max_position_embeddings": 2048,
    } | sizes  # fmt: skip
    config = ModelConfig(model_type="llama", **sizes)
    return Model(config, random_weights(config, None, 32, 5, dtype), Parts())


class Listener:
    """Passes on to a model, and keeps the logits of each pass."""

    def __init__(self, model):
        self._model, self.heard = model, []

    def __call__(self, *args, **options):
        self.heard.append(self._model(*args, **options))
        return self.heard[-1]

    def __getattr__(self, name):
        return getattr(self._model, name)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("chunk", range(1, len(PROMPT) + 1))
def test_the_logits_are_those_of_the_whole_prompt(tiny, dtype, chunk):
    model = Listener(random_model(dtype))
    engine = Engine(model, tiny.tokenizer, EngineConfig(max_num_seqs=3, long_prefill_token_threshold=chunk))
    streams = [engine.add([7, 8], max_tokens=99, stop_tokens=()) for _ in range(2)]
    while not all(r.generated for r in streams):
        engine.step()
    request = engine.add(PROMPT, max_tokens=1, stop_tokens=())
    steps = 0
    while not request.finished:
        assert engine.step(), "the streams decode in every step"
        steps += 1
    assert steps == -(-len(PROMPT) // chunk)
    whole = model(mx.array([PROMPT]), positions=-1)[0, 0].astype(mx.float32)
    logits = model.heard[-2][-1, 0].astype(mx.float32)  # the last row of the engine's last pass
    assert mx.abs(logits - whole).max().item() <= TOLERANCE[dtype]


def test_memory_is_bounded_by_the_chunk(tiny):
    model = random_model(intermediate_size=256, num_attention_heads=8)
    prompt = [i % 200 for i in range(1024)]

    def read(chunk):
        engine = Engine(model, tiny.tokenizer, EngineConfig(max_num_seqs=1, max_num_batched_tokens=chunk))
        engine.add(prompt, max_tokens=1, stop_tokens=())
        engine.run()

    peak = {chunk: peak_memory(lambda chunk=chunk: read(chunk)) for chunk in (32, 128, 1024)}
    assert peak[32] < peak[128] / 1.5 < peak[1024] / 6


def work_of(engine):
    return [dict(step.work) for step in engine.metrics.steps]


def test_several_prompts_share_a_step(tiny):
    engine = Engine(tiny.model, tiny.tokenizer, EngineConfig(max_num_seqs=4, max_num_batched_tokens=12))
    requests = [engine.add([20 + i] * n, max_tokens=2, stop_tokens=()) for i, n in enumerate((5, 4, 9))]
    engine.run()
    assert work_of(engine)[:2] == [{0: 5, 1: 4, 2: 3}, {0: 1, 1: 1, 2: 6}]
    for request in requests:
        assert request.generated == lone_tokens(tiny.model, request.prompt, 2)


def test_who_decodes_is_in_every_step_however_many_prompts_come(tiny):
    config = EngineConfig(max_num_seqs=8, max_num_batched_tokens=10)
    engine = Engine(tiny.model, tiny.tokenizer, config)
    streams = [engine.add([6, 7 + i], max_tokens=30, stop_tokens=()) for i in range(3)]
    engine.step()
    for i in range(6):
        engine.add([30 + i] * 40, max_tokens=1, stop_tokens=())
    engine.run()
    ids = {r.id for r in streams}
    for work in work_of(engine)[1:30]:
        assert all(work[i] == 1 for i in ids)
        assert sum(work.values()) <= 10
    # The budget is used up as long as there are prompts to spend it on.
    assert all(sum(work.values()) == 10 for work in work_of(engine)[1:30])


def test_prompts_are_served_in_the_order_of_their_arrival(tiny, clock):
    engine = Engine(tiny.model, tiny.tokenizer, EngineConfig(max_num_seqs=3, max_num_batched_tokens=6), clock=clock)
    requests = [engine.add([10 + i] * n, max_tokens=1, stop_tokens=()) for i, n in enumerate((30, 2, 3, 20, 1))]
    while engine.has_unfinished:
        clock.now += 1
        engine.step()
    firsts = [r.metrics.time_to_first_token for r in requests]
    assert firsts == sorted(firsts)
    assert firsts[0] == 5  # nobody who came later took a token from it


def test_a_threshold_lets_a_short_prompt_pass_a_long_one(tiny, clock):
    def short_waits(threshold):
        config = EngineConfig(max_num_seqs=2, max_num_batched_tokens=8, long_prefill_token_threshold=threshold)
        engine = Engine(tiny.model, tiny.tokenizer, config, clock=clock)
        long, short = engine.add([4] * 60, max_tokens=1), engine.add([5] * 6, max_tokens=1)
        while engine.has_unfinished:
            clock.now += 1
            engine.step()
        return short.metrics.time_to_first_token, long.metrics.time_to_first_token

    assert short_waits(None) == (9, 8)
    assert short_waits(5) == (2, 12)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=7),
    st.integers(1, 4),
    st.integers(4, 20),
    st.none() | st.integers(1, 8),
)
def test_the_budget_is_kept_and_nobody_starves(tiny, lengths, seqs, budget, threshold):
    config = EngineConfig(max_num_seqs=seqs, max_num_batched_tokens=budget, long_prefill_token_threshold=threshold)
    engine = Engine(tiny.model, tiny.tokenizer, config)
    requests = [engine.add([9 + i] * n, max_tokens=3, stop_tokens=()) for i, n in enumerate(lengths)]
    engine.run()
    read = dict.fromkeys((r.id for r in requests), 0)
    for work in work_of(engine):
        assert 1 <= sum(work.values()) <= budget and len(work) <= seqs
        for i, count in work.items():
            assert threshold is None or count <= threshold
            read[i] += count
    assert read == {r.id: len(r.prompt) + 2 for r in requests}  # each token once; the last answer is not read
    assert all(len(r.generated) == 3 for r in requests)
