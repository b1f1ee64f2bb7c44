"""The engine: every request says what it would say alone, whoever else is there, and leaves nothing behind."""

import mlx.core as mx
import pytest
from engine.lone import assert_greedy, lone_tokens
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.engine import Engine, EngineClosed, EngineConfig
from course_lib.llm import generate, load
from course_lib.techniques.batched_kv_cache import BatchedKVCache
from course_lib.techniques.scheduling import Work, schedule_chunked, schedule_continuous, schedule_static

PROMPT = [5, 9, 77, 130]

prompts = st.lists(st.integers(3, 260), min_size=1, max_size=40)
asked = st.fixed_dictionaries({
    "prompt": prompts,
    "max_tokens": st.integers(1, 12),
    "arrival_time": st.integers(0, 15).map(float),
    "stop_tokens": st.lists(st.integers(0, 264), max_size=60),
    "cancel_after": st.none() | st.integers(0, 20),
})  # fmt: skip
configs = st.sampled_from([
    EngineConfig(max_num_seqs=1),
    EngineConfig(max_num_seqs=3),
    EngineConfig(max_num_seqs=3, max_num_batched_tokens=7),
    EngineConfig(max_num_seqs=4, max_num_batched_tokens=64, long_prefill_token_threshold=5),
])  # fmt: skip


class Clock:
    """A step takes a second."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@settings(max_examples=40, deadline=None)
@given(st.lists(asked, min_size=1, max_size=7), configs, st.booleans())
def test_whatever_comes_and_goes(tiny, wishes, config, static):
    clock = Clock()
    schedule = schedule_static if static and not config.max_num_batched_tokens else None
    engine = Engine(tiny.model, tiny.tokenizer, config, clock=clock, schedule=schedule)
    cancelled, requests = {}, []
    for wish in wishes:
        wish, after = dict(wish), wish["cancel_after"]
        del wish["cancel_after"]
        request = engine.add(wish.pop("prompt"), **wish)
        cancelled[request] = after
        requests.append(request)
    while engine.has_unfinished:
        for request, after in cancelled.items():
            if after is not None and clock.now >= after:
                engine.cancel(request)
        engine.step()
        clock.now += 1
        assert clock.now < 2000, "somebody starves"
        assert len(engine.running) <= config.max_num_seqs
        held = sum(r.num_computed_tokens for r in engine.running)
        assert engine.cache_bytes == held * bytes_a_token(tiny.model)

    assert engine.cache_bytes == engine._cache.nbytes == 0
    for request in requests:
        assert request.finish_reason in ("stop", "length", "cancelled")
        if request.finish_reason == "length":
            assert len(request.generated) == request.max_tokens
        assert not request.stop_tokens & set(request.generated)
        stopped = request.finish_reason == "stop"
        if stopped:  # what it stopped at was the best token, too
            assert any(within_margin(tiny.model, [*request.prompt, *request.generated], t) for t in request.stop_tokens)
        assert_greedy(tiny.model, request.prompt, request.generated)
    begun = [r.metrics.scheduled_time for r in sorted(requests, key=lambda r: (r.metrics.arrival_time, r.id))]
    begun = [time for time in begun if time is not None]
    assert begun == sorted(begun), "first come, first served"
    assert sum(engine.metrics.num_finished.values()) == len(requests)


def bytes_a_token(model):
    config = model.config
    return 2 * 4 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim


def within_margin(model, tokens, token):
    logits = model(mx.array([tokens]), positions=-1)[0, 0]
    return logits.max().item() - logits[token].item() < 1e-3


@pytest.mark.parametrize("schedule", [schedule_static, schedule_continuous, schedule_chunked])
def test_a_request_says_the_same_alone_and_in_company(tiny, schedule):
    config = EngineConfig(max_num_seqs=3, max_num_batched_tokens=6)
    engine = Engine(tiny.model, tiny.tokenizer, config, schedule=schedule)
    requests = [
        engine.add([10 + i] * (1 + 5 * i), max_tokens=3 + 4 * i, stop_tokens=()) for i in range(6)
    ]
    engine.run()
    for request in requests:
        assert request.generated == lone_tokens(tiny.model, request.prompt, request.max_tokens)


def test_two_decode_in_the_rows_around_a_prompt_that_is_read_in_pieces(tiny):
    config = EngineConfig(max_num_seqs=3, max_num_batched_tokens=40, long_prefill_token_threshold=4)
    engine = Engine(tiny.model, tiny.tokenizer, config)
    prompts = [[40, 41], [50 + i for i in range(30)], [60, 61, 62]]
    requests = [engine.add(prompt, max_tokens=10, stop_tokens=()) for prompt in prompts]
    engine.step(), engine.step()
    assert set(engine.metrics.steps[-1].work) == {(0, 1), (1, 4), (2, 1)}
    engine.run()
    for request in requests:
        assert request.generated == lone_tokens(tiny.model, request.prompt, 10)


def test_a_seed_gives_the_same_text_in_any_company(tiny):
    options = {"temperature": 0.8, "top_p": 0.9, "seed": 7, "max_tokens": 10, "stop_tokens": ()}
    alone = generate(tiny.model, tiny.tokenizer, PROMPT, **options)
    engine = Engine(tiny.model, tiny.tokenizer, EngineConfig(max_num_seqs=4))
    for seed in range(5):
        engine.add([30 + seed] * 3, temperature=1.0, seed=seed, max_tokens=4 + seed)
    engine.step()
    request = engine.add(PROMPT, **options)
    engine.add([8, 8], max_tokens=6)
    engine.run()
    assert request.text == alone
    other = Engine(tiny.model, tiny.tokenizer).generate([PROMPT], **(options | {"seed": 8}))
    assert other != [alone]


def test_a_part_of_the_learners_own_serves_the_engine(tiny):
    calls = []

    def attention(queries, keys, values, *, scale, mask):
        calls.append((queries.shape[0], queries.shape[2]))
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)

    model, tokenizer = load(tiny.folder, attention=attention)
    engine = Engine(model, tokenizer, EngineConfig(max_num_seqs=3))
    first = [engine.add([5, 6, 7 + i], max_tokens=6, stop_tokens=()) for i in range(2)]
    engine.step(), engine.step()
    last = engine.add(PROMPT, max_tokens=3, stop_tokens=())
    engine.run()
    for request in [*first, last]:
        assert request.generated == lone_tokens(tiny.model, request.prompt, request.max_tokens)
    # Two layers. Two prompts, then both decode in one call; the third prompt comes; all three in one call.
    assert calls[:4] == [(1, 3)] * 4 and calls[4:6] == [(2, 1)] * 2
    assert calls[6:10] == [(2, 1), (1, 4)] * 2 and calls[10:12] == [(3, 1)] * 2


def test_stop_strings_end_the_text_and_are_left_out(tiny):
    whole = Engine(tiny.model, tiny.tokenizer).generate([PROMPT], max_tokens=20, stop_tokens=())[0]
    stop = whole[8:10]
    outputs = []
    engine = Engine(tiny.model, tiny.tokenizer)
    request = engine.add(PROMPT, max_tokens=20, stop=stop, stop_tokens=(), on_output=outputs.append)
    engine.run()
    assert request.text == whole[: whole.index(stop)] == "".join(output.text for output in outputs)
    assert request.finish_reason == outputs[-1].finish_reason == "stop"


def test_outputs_come_step_by_step_and_to_the_listener(tiny):
    heard = []
    engine = Engine(tiny.model, tiny.tokenizer)
    request = engine.add(PROMPT, max_tokens=3, stop_tokens=(), on_output=heard.append)
    returned = [*engine.step(), *engine.step(), *engine.step()]
    assert returned == heard
    assert [output.token for output in heard] == request.generated
    assert [output.finish_reason for output in heard] == [None, None, "length"]
    assert engine.step() == [] and not engine.has_unfinished


@pytest.mark.parametrize("steps", range(5))
def test_cancelling_at_any_point_frees_the_row_and_harms_nobody(tiny, steps):
    config = EngineConfig(max_num_seqs=2, max_num_batched_tokens=4)
    engine = Engine(tiny.model, tiny.tokenizer, config)
    heard = []
    gone = engine.add([4] * 9, max_tokens=9, stop_tokens=(), on_output=heard.append)
    stays = [engine.add([6, 7 + i], max_tokens=6, stop_tokens=()) for i in range(3)]
    for _ in range(steps):
        engine.step()
    said = gone.text
    assert engine.cancel(gone) and not engine.cancel(gone)
    assert gone.finish_reason == heard[-1].finish_reason == "cancelled"
    assert gone not in engine.running and gone not in engine.waiting
    engine.run()
    assert gone.text.startswith(said) and engine.cache_bytes == 0
    for request in stays:
        assert request.generated == lone_tokens(tiny.model, request.prompt, 6)


def test_a_listener_that_fails_ends_its_own_request_alone(tiny):
    def broken(output):
        raise KeyError("listener")

    engine = Engine(tiny.model, tiny.tokenizer)
    bad = engine.add(PROMPT, max_tokens=5, on_output=broken)
    good = engine.add(PROMPT, max_tokens=5, stop_tokens=())
    engine.run()
    assert bad.finish_reason == "error" and isinstance(bad.error, KeyError)
    assert good.generated == lone_tokens(tiny.model, PROMPT, 5)
    assert engine.cache_bytes == 0


def test_a_part_that_fails_ends_who_is_there_and_not_who_comes_later(tiny):
    fails = [False]

    def attention(queries, keys, values, *, scale, mask):
        if fails[0]:
            raise FloatingPointError("in the middle of a step")
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)

    model, tokenizer = load(tiny.folder, attention=attention)
    engine = Engine(model, tokenizer, EngineConfig(max_num_seqs=1))
    runs, waits = (engine.add(PROMPT, max_tokens=3, stop_tokens=()) for _ in range(2))
    engine.step()
    fails[0] = True
    with pytest.raises(FloatingPointError):
        engine.step()
    for bad in (runs, waits):
        assert bad.finish_reason == "error" and isinstance(bad.error, FloatingPointError)
    assert not engine.has_unfinished and engine.cache_bytes == 0
    fails[0] = False
    good = engine.add(PROMPT, max_tokens=3, stop_tokens=())
    engine.run()
    assert good.generated == lone_tokens(tiny.model, PROMPT, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": []}, "the prompt is empty"),
        ({"prompt": [5] * 128}, "the context 128"),
        ({"prompt": [5] * 60}, "takes 60 for prompt and answer"),
        ({"prompt": [5, 9999]}, "token 1 of the prompt is 9999"),
        ({"max_tokens": 0}, "max_tokens=0; wanted an integer, at least 1"),
        ({"max_tokens": 2.0}, "max_tokens=2.0"),
        ({"temprature": 1.0}, "unknown sampling parameter 'temprature'; there are temperature"),
        ({"temperature": -1}, "temperature=-1"),
        ({"stop": ["x", ""]}, r"stop=\['x', ''\]; wanted strings of at least one character"),
        ({"on_output": 3}, "on_output=3; wanted a function"),
    ],
)
def test_bad_requests_are_refused_and_harm_nobody(tiny, options, message):
    engine = Engine(tiny.model, tiny.tokenizer, EngineConfig(max_model_len=60))
    good = engine.add(PROMPT, max_tokens=4, stop_tokens=())
    engine.step()
    with pytest.raises(ValueError, match=message):
        engine.add(**({"prompt": PROMPT} | options))
    engine.run()
    assert good.generated == lone_tokens(tiny.model, PROMPT, 4)


def test_the_context_ends_an_answer(tiny):
    request = Engine(tiny.model, tiny.tokenizer, EngineConfig(max_model_len=10)).add(PROMPT)
    assert request.max_tokens == 6
    assert Engine(tiny.model, tiny.tokenizer).add([5] * 100, max_tokens=50).max_tokens == 28


def test_a_closed_engine_cancels_what_is_left_and_takes_nothing_more(tiny):
    engine = Engine(tiny.model, tiny.tokenizer, EngineConfig(max_num_seqs=1))
    requests = [engine.add(PROMPT) for _ in range(2)]
    ready = engine.make_request(PROMPT)
    engine.step()
    engine.close()
    assert [r.finish_reason for r in requests] == ["cancelled"] * 2 and engine.cache_bytes == 0
    for late in (lambda: engine.add(PROMPT), lambda: engine.submit(ready)):
        with pytest.raises(EngineClosed, match="closed and takes no more requests; make a new one"):
            late()


def test_requests_wait_for_their_arrival(tiny, clock):
    engine = Engine(tiny.model, tiny.tokenizer, clock=clock)
    late = engine.add(PROMPT, max_tokens=1, arrival_time=9.0)
    early = engine.add(PROMPT, max_tokens=1, arrival_time=4.0)
    assert engine.step() == [] and engine.next_arrival == 4.0
    engine.run(sleep=clock.sleep)
    assert (early.metrics.token_times, late.metrics.token_times) == ([4.0], [9.0])


def test_metrics_tell_when_things_happened(tiny, clock):
    engine = Engine(tiny.model, tiny.tokenizer, EngineConfig(max_num_seqs=1), clock=clock)
    first = engine.add(PROMPT, max_tokens=3, stop_tokens=())
    second = engine.add(PROMPT, max_tokens=1, stop_tokens=())
    for _ in range(4):
        clock.now += 2
        engine.step()
    m = first.metrics
    assert (m.arrival_time, m.queue_time, m.time_to_first_token, m.inter_token_latencies) == (0, 2, 2, [2, 2])
    assert m.end_to_end_latency == 6
    assert (second.metrics.queue_time, second.metrics.time_to_first_token) == (8, 8)
    steps = list(engine.metrics.steps)
    assert [step.work for step in steps] == [((0, 4),), ((0, 1),), ((0, 1),), ((1, 4),)]
    assert [step.num_waiting for step in steps] == [1, 1, 1, 0]
    assert [step.num_generated for step in steps] == [1] * 4
    assert [step.num_tokens for step in steps] == [4, 1, 1, 4]
    assert steps[0].cache_bytes == 4 * bytes_a_token(tiny.model) and steps[-1].cache_bytes == 0
    assert engine.metrics.num_generated == 4 and engine.metrics.num_tokens == 10
    assert engine.metrics.batch_occupancy == 1
    assert engine.metrics.num_finished == {"length": 2}


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda waiting, running, limits: [], "no work, though requests are there"),
        (lambda waiting, running, limits: [Work(waiting[0], 1)] * 2, "the same request twice"),
        (lambda waiting, running, limits: [Work(object(), 1)], "a request that neither runs nor has arrived"),
        (lambda waiting, running, limits: [Work(r, 4) for r in waiting], "2 requests, with max_num_seqs=1"),
        (lambda waiting, running, limits: [Work(waiting[0], 5)], "5 tokens of a request that has fewer"),
    ],
)
def test_an_impossible_schedule_is_refused_by_name(tiny, schedule, message):
    engine = Engine(tiny.model, tiny.tokenizer, EngineConfig(max_num_seqs=1), schedule=schedule)
    engine.add(PROMPT), engine.add(PROMPT)
    with pytest.raises(ValueError, match=f"the schedule returned {message}"):
        engine.step()


@pytest.mark.model
def test_the_real_model_says_the_same_in_company():
    model, tokenizer = load("smollm2-135m")
    texts = ["The capital of France is", "Water boils at", "Once upon a time there was", "def add(a, b):"]
    alone = [generate(model, tokenizer, text, max_tokens=8) for text in texts]
    for config in (EngineConfig(max_num_seqs=3), EngineConfig(max_num_seqs=3, max_num_batched_tokens=4)):
        engine = Engine(model, tokenizer, config)
        requests = [engine.add(text, max_tokens=8) for text in texts]
        engine.run()
        for request, text in zip(requests, alone, strict=True):
            assert_greedy(model, request.prompt, request.generated)
            if "course_lib.kernels" in model.parts.linear.__module__:  # rows do not see each other
                assert request.text == text


def test_rows_that_leave_together_move_nobody(tiny):
    moved = []

    class Watched(BatchedKVCache):
        def remove(self, row):
            moved.append(row != len(self.lengths) - 1)
            return super().remove(row)

    config = EngineConfig(max_num_seqs=4)
    engine = Engine(tiny.model, tiny.tokenizer, config, make_layer=lambda: Watched(config.max_num_seqs))
    for i in range(4):
        engine.add([30 + i] * (i + 1), max_tokens=3, stop_tokens=())
    engine.run()
    assert moved == [False] * 4 * tiny.model.config.num_hidden_layers
