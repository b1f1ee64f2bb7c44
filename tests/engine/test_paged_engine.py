"""The engine on the paged cache: the same texts, in fewer bytes, and none lost when the blocks run out."""

from collections import Counter

import pytest
from engine.lone import assert_greedy, lone_tokens
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.engine import Engine, EngineConfig
from course_lib.engine.cache_room import bytes_a_token
from course_lib.techniques.paged_kv import BlockManager, PagedKVCache

PROMPT = [5, 9, 77, 130]

# Few different tokens, so that many prompts begin alike.
asked = st.fixed_dictionaries({
    "prompt": st.lists(st.sampled_from([5, 9]), min_size=1, max_size=30),
    "max_tokens": st.integers(1, 14),
    "arrival_time": st.integers(0, 10).map(float),
    "cancel_after": st.none() | st.integers(0, 15),
})  # fmt: skip


def paged(tiny, tokens, block_size=4, **options):
    """An engine whose pool has room for so many tokens."""
    config = EngineConfig(
        block_size=block_size, kv_cache_memory_bytes=tokens * bytes_a_token(tiny.model), **options
    )
    return Engine(tiny.model, tiny.tokenizer, config)


class Clock:
    """A step takes a second."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@settings(max_examples=60, deadline=None)
@given(
    st.lists(asked, min_size=1, max_size=7),
    st.sampled_from([1, 3, 4, 16]),
    st.integers(48, 80),
    st.booleans(),
    st.sampled_from([{}, {"max_num_batched_tokens": 9}, {"max_num_batched_tokens": 40, "long_prefill_token_threshold": 6}]),
)
def test_whatever_comes_and_goes_in_a_tiny_pool(tiny, wishes, block_size, tokens, caching, limits):
    clock = Clock()
    config = EngineConfig(
        max_num_seqs=4, block_size=block_size, kv_cache_memory_bytes=tokens * bytes_a_token(tiny.model),
        enable_prefix_caching=caching, **limits,
    )  # fmt: skip
    engine = Engine(tiny.model, tiny.tokenizer, config, clock=clock)
    requests = []
    for wish in wishes:
        options = {name: value for name, value in wish.items() if name not in ("prompt", "cancel_after")}
        requests.append((engine.add(wish["prompt"], stop_tokens=(), **options), wish["cancel_after"]))
    while engine.has_unfinished:
        for request, after in requests:
            if after is not None and clock.now >= after:
                engine.cancel(request)
        engine.step()
        clock.now += 1
        assert clock.now < 2000, "somebody starves"
        assert_books_are_right(engine)
    assert engine.cache_bytes == 0
    for request, _ in requests:
        assert request.finish_reason in ("length", "cancelled")
        assert_greedy(tiny.model, request.prompt, request.generated)
        if request.finish_reason == "length":
            assert len(request.generated) == request.max_tokens
    firsts = [r for r, _ in sorted(requests, key=lambda pair: (pair[0].metrics.arrival_time, pair[0].id))]
    begun = [r.metrics.scheduled_time for r in firsts if r.metrics.scheduled_time is not None]
    assert begun == sorted(begun), "first come, first served"


def assert_books_are_right(engine):
    """Each block is free or has as many owners as tables; what is written to has one."""
    cache = engine._cache
    allocator = cache._manager.allocator
    assert set(cache._tables) == {request.id for request in engine.running}
    owners = Counter(block for table in cache._tables.values() for block in table.blocks)
    assert [owners[b] for b in range(allocator.num_blocks)] == [
        allocator.owners(b) for b in range(allocator.num_blocks)
    ]
    assert allocator.num_free == allocator.num_blocks - len(owners)
    for request in engine.running:
        table = cache._tables[request.id]
        assert table.num_tokens == request.num_computed_tokens
        if table.num_tokens % table.block_size:
            assert owners[table.blocks[-1]] == 1
    assert engine.cache_bytes <= engine.config.kv_cache_memory_bytes


def test_when_the_blocks_run_out_the_newest_steps_back_and_all_finish(tiny):
    engine = paged(tiny, tokens=40, max_num_seqs=3)
    requests = [engine.add([20 + i] * 10, max_tokens=12, stop_tokens=()) for i in range(3)]
    engine.run()
    assert [r.metrics.num_preemptions for r in requests][0] == 0
    assert requests[2].metrics.num_preemptions > 0
    for request in requests:
        assert request.generated == lone_tokens(tiny.model, request.prompt, 12)
    preempted = sum(step.num_preempted for step in engine.metrics.steps)
    assert preempted == sum(r.metrics.num_preemptions for r in requests)
    ends = [r.metrics.finish_time for r in requests]
    assert ends == sorted(ends)


def test_a_preempted_seeded_request_says_what_it_would_have_said(tiny):
    options = {"temperature": 1.0, "max_tokens": 12, "stop_tokens": ()}
    roomy, tight = paged(tiny, tokens=400, max_num_seqs=3), paged(tiny, tokens=40, max_num_seqs=3)
    texts = []
    for engine in (roomy, tight):
        requests = [engine.add([20 + i] * 10, seed=i, **options) for i in range(3)]
        engine.run()
        texts.append([r.text for r in requests])
    assert texts[0] == texts[1]
    assert any(r.metrics.num_preemptions for r in requests)


def test_a_common_beginning_is_computed_once_even_in_the_same_step(tiny):
    system = list(range(30, 70))
    engine = paged(tiny, tokens=400, max_num_seqs=8)
    together = [engine.add([*system, 100 + i, 7], max_tokens=3, stop_tokens=()) for i in range(4)]
    engine.step()
    assert [r.metrics.num_cached_tokens for r in together] == [0, 40, 40, 40]
    assert engine.metrics.steps[-1].num_tokens == 42 + 3 * 2
    engine.run()
    later = engine.add([*system, 200], max_tokens=3, stop_tokens=())
    engine.run()
    assert later.metrics.num_cached_tokens == 40
    for request in [*together, later]:
        assert request.generated == lone_tokens(tiny.model, request.prompt, 3)
    without = paged(tiny, tokens=400, enable_prefix_caching=False)
    requests = [without.add([*system, i], max_tokens=1) for i in range(2)]
    without.run()
    assert [r.metrics.num_cached_tokens for r in requests] == [0, 0]


def test_an_answer_is_a_known_beginning_of_the_next_prompt(tiny):
    engine = paged(tiny, tokens=200)
    first = engine.add(PROMPT, max_tokens=9, stop_tokens=())
    engine.run()
    second = engine.add([*PROMPT, *first.generated, 6], max_tokens=2, stop_tokens=())
    engine.run()
    assert second.metrics.num_cached_tokens == 12
    assert second.generated == lone_tokens(tiny.model, second.prompt, 2)


def test_shared_blocks_let_more_requests_run_at_once(tiny):
    system = list(range(30, 70))

    def most_at_once(engine):
        for i in range(8):
            engine.add([*system, 100 + i], max_tokens=4, stop_tokens=())
        engine.run()
        return max(len(step.work) for step in engine.metrics.steps)

    budget = 4 * 48 * bytes_a_token(tiny.model)
    rows = EngineConfig(max_num_seqs=8, kv_cache_memory_bytes=budget, max_model_len=48)
    engine = Engine(tiny.model, tiny.tokenizer, rows)
    engine.add([5], max_tokens=2), engine.step()
    assert engine._cache.nbytes == budget  # all of it is reserved, and no more
    engine.run()
    assert most_at_once(engine) == 4
    assert most_at_once(paged(tiny, 4 * 48, max_num_seqs=8)) == 8


def test_a_request_that_no_pool_holds_is_refused_and_a_long_answer_is_cut(tiny):
    engine = paged(tiny, tokens=23, block_size=4)  # five whole blocks
    with pytest.raises(ValueError, match="the prompt has 20 tokens; this engine takes 20"):
        engine.add([5] * 20)
    request = engine.add([5] * 12, max_tokens=50, stop_tokens=())
    engine.run()
    assert len(request.generated) == request.max_tokens == 8


def test_books_and_pool_of_the_learners_own_serve_the_engine(tiny):
    made = []

    class Books(BlockManager):
        def __init__(self, num_blocks, block_size, prefix_caching):
            made.append(("books", num_blocks, block_size, prefix_caching))
            super().__init__(num_blocks, block_size, prefix_caching)

    class Pool(PagedKVCache):
        def __init__(self, *shape):
            made.append(("pool", *shape))
            super().__init__(*shape)

    config = EngineConfig(block_size=4, kv_cache_memory_bytes=80 * bytes_a_token(tiny.model))
    engine = Engine(tiny.model, tiny.tokenizer, config, make_manager=Books, make_pool=Pool)
    request = engine.add(PROMPT, max_tokens=5, stop_tokens=())
    engine.run()
    assert request.generated == lone_tokens(tiny.model, PROMPT, 5)
    assert made == [("pool", 20, 4, 2, 16, tiny.model.dtype)] * 2 + [("books", 20, 4, True)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kv_cache_memory_bytes": 100}, "one row of max_model_len=128 tokens is 65536 bytes"),
        ({"kv_cache_memory_bytes": 100, "block_size": 4}, "is 0 blocks of 4 tokens, 512 bytes each"),
        ({"block_size": 0}, "block_size=0; wanted an integer, at least 1"),
        ({"kv_cache_memory_bytes": 1.5}, "kv_cache_memory_bytes=1.5"),
        ({"step_history": None}, "step_history=None"),
        ({"max_model_len": 1}, "max_model_len=1; wanted an integer, at least 2"),
    ],
)
def test_absurd_caches_are_refused(tiny, options, message):
    with pytest.raises(ValueError, match=message):
        Engine(tiny.model, tiny.tokenizer, EngineConfig(**options))


def test_cancelling_gives_blocks_back(tiny):
    engine = paged(tiny, tokens=64, max_num_seqs=2)
    request = engine.add([8] * 20, max_tokens=20, stop_tokens=())
    engine.step()
    assert engine.cache_bytes == 5 * 4 * bytes_a_token(tiny.model)
    engine.cancel(request)
    assert engine.cache_bytes == 0


@pytest.mark.model
def test_the_real_model_says_the_same_from_blocks():
    from course_lib.llm import generate, load

    model, tokenizer = load("smollm2-135m")
    texts = ["The capital of France is", "Water boils at", "The capital of France is not"]
    alone = [generate(model, tokenizer, text, max_tokens=8) for text in texts]
    config = EngineConfig(max_num_seqs=3, block_size=4, kv_cache_memory_bytes=40 * bytes_a_token(model))
    engine = Engine(model, tokenizer, config)
    requests = [engine.add(text, max_tokens=8) for text in texts]
    engine.run()
    for request, text in zip(requests, alone, strict=True):
        assert_greedy(model, request.prompt, request.generated)
        if "course_lib.kernels" in model.parts.linear.__module__:
            assert request.text == text
