"""The paged cache against the contiguous one: requests that share a system prompt, in a fixed number of bytes;
and what gathering costs a decode step."""

import time
from collections.abc import Iterator

import mlx.core as mx
import numpy as np

from bench.result import Result
from course_lib.engine import Engine, EngineConfig
from course_lib.engine.cache_room import bytes_a_token
from course_lib.lab.timing import Comparison
from course_lib.llm import load

CONTIGUOUS, PAGED, NO_SHARING = "contiguous", "paged, prefix cache", "paged, no prefix cache"
REQUESTS, SYSTEM, QUESTION, ANSWER = 16, 200, 12, 16
ROWS = 6  # of the contiguous cache, each with room for one whole request


def run(rounds: int) -> Iterator[Result]:
    """Answers per second, and milliseconds a decode step."""
    model, tokenizer = load("smollm2-135m")
    yield shared_prompt(model, tokenizer, min(rounds, 5))
    for context in (128, 512):
        yield decode_step(model, tokenizer, rounds, context)


def shared_prompt(model, tokenizer, rounds: int) -> Result:
    length = SYSTEM + QUESTION + ANSWER
    budget = ROWS * length * bytes_a_token(model)
    common = {"max_num_seqs": REQUESTS, "max_model_len": length, "kv_cache_memory_bytes": budget}
    configs = {
        CONTIGUOUS: EngineConfig(**common),
        NO_SHARING: EngineConfig(**common, block_size=16, enable_prefix_caching=False),
        PAGED: EngineConfig(**common, block_size=16),
    }
    random = np.random.default_rng(0)
    system = random.integers(100, 49_000, SYSTEM).tolist()
    prompts = [system + random.integers(100, 49_000, QUESTION).tolist() for _ in range(REQUESTS)]
    samples, most = {name: [] for name in configs}, {}
    for i in range(rounds + 1):  # the first does not count
        for name in list(configs)[:: 1 if i % 2 == 0 else -1]:
            engine = Engine(model, tokenizer, configs[name])  # the pool is made before the clock starts
            start = time.perf_counter()
            for prompt in prompts:
                engine.add(prompt, max_tokens=ANSWER, stop_tokens=())
            engine.run()
            if i:
                samples[name].append(time.perf_counter() - start)
            most[name] = max(len(step.work) for step in engine.metrics.steps)
    at_once = ", ".join(f"{name} {count}" for name, count in most.items())
    case = f"{REQUESTS} requests, system prompt of {SYSTEM} (at once: {at_once})"
    comparison = Comparison({name: np.array(seconds) for name, seconds in samples.items()})
    return Result("paged", case, CONTIGUOUS, comparison, REQUESTS * ANSWER, "tok", {})


def decode_step(model, tokenizer, rounds: int, context: int) -> Result:
    """Eight requests decode; a step each in turn."""
    pool = 8 * (context + 16 * rounds + 32) * bytes_a_token(model)
    engines = {
        CONTIGUOUS: Engine(model, tokenizer, EngineConfig(max_num_seqs=8)),
        PAGED: Engine(model, tokenizer, EngineConfig(max_num_seqs=8, block_size=16, kv_cache_memory_bytes=pool)),
    }
    for engine in engines.values():
        for i in range(8):
            engine.add([100 + i] * context, max_tokens=8 * rounds + 8, stop_tokens=())
        engine.step(), engine.step()
    samples = {name: [] for name in engines}
    for i in range(rounds):
        for name in list(engines)[:: 1 if i % 2 == 0 else -1]:
            start = time.perf_counter()
            for _ in range(4):
                engines[name].step()
            samples[name].append((time.perf_counter() - start) / 4)
    for engine in engines.values():
        engine.close()
    mx.clear_cache()
    comparison = Comparison({name: np.array(seconds) for name, seconds in samples.items()})
    return Result("paged", f"a decode step of 8 at context {context}", CONTIGUOUS, comparison, 8, "tok", {})
