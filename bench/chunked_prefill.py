"""A long prompt that arrives while others write: read in chunks, against read whole.

The real model, 8 running streams, one prompt of 1,500 tokens. Whole and chunks of several sizes take turns, a
fresh engine each time. Compared are the longest inter-token gap of the streams after the prompt's arrival
(goal: at least 5 times shorter), and the time for all the work (goal: throughput at most 10 % less).
"""

from collections.abc import Iterator

import mlx.core as mx
import numpy as np

from bench.result import Result
from course_lib.engine import Engine, EngineConfig
from course_lib.engine.cache_room import bytes_a_token
from course_lib.lab.passage import PASSAGE
from course_lib.lab.serving import Ask, Served
from course_lib.lab.stalls import first_token, longest_gap, prompts_arrive
from course_lib.lab.timing import Comparison
from course_lib.llm import load

STREAMS, PROMPT = 8, 1500
LONGEST = 1600  # tokens of a request
CHUNKS = (32, 64, 128, 256)
WHOLE = "whole prompt"
WRITTEN = 64  # tokens a stream: more than the smallest chunk needs steps
GOAL = "chunks of 128"  # the setting that is held to the goals


def run(rounds: int) -> Iterator[Result]:
    """The longest gap, the newcomer's first token, and everything together."""
    mx.set_default_device(mx.cpu)
    model, tokenizer = load("smollm2-135m")
    text = tokenizer.encode(PASSAGE * 3)
    streams = [Ask(text[40 * i : 40 * i + 20], WRITTEN) for i in range(STREAMS)]
    newcomer = Ask(text[:PROMPT], 8)

    def served(chunk: int | None) -> Served:
        budget = None if chunk is None else chunk + STREAMS
        # The cache is reserved before anybody writes, as servers do: growing it would stall everybody once more.
        reserved = (STREAMS + 1) * LONGEST * bytes_a_token(model)
        config = EngineConfig(
            max_num_seqs=STREAMS + 1, max_num_batched_tokens=budget, max_model_len=LONGEST,
            kv_cache_memory_bytes=reserved,
        )  # fmt: skip
        return prompts_arrive(Engine(model, tokenizer, config), streams, [newcomer])

    chunk_of = {WHOLE: None} | {f"chunks of {chunk}": chunk for chunk in CHUNKS}
    found: dict[str, list[Served]] = {name: [] for name in chunk_of}
    served(CHUNKS[-1])  # the first run prepares weights and buffers
    for i in range(rounds):
        for name in chunk_of if i % 2 == 0 else reversed(chunk_of):
            found[name].append(served(chunk_of[name]))

    def seconds(measure) -> Comparison:
        return Comparison({name: np.array([measure(one) for one in runs]) for name, runs in found.items()})

    case = f"{STREAMS} streams, a prompt of {PROMPT}"
    gap = seconds(lambda one: longest_gap(one, STREAMS))
    yield Result("chunked_prefill", f"{case}: longest gap", WHOLE, gap, 1, "gaps", {GOAL: 5})
    first = seconds(lambda one: first_token(one, STREAMS))
    yield Result("chunked_prefill", f"{case}: first token of the prompt", WHOLE, first, PROMPT, "tok")
    # From the arrival on; all settings compute the same tokens, so the ratio of times is that of throughputs.
    work = PROMPT + newcomer.max_tokens + STREAMS * WRITTEN
    everything = seconds(lambda one: max(request.finish_time for request in one.requests))
    yield Result("chunked_prefill", f"{case}: everything", WHOLE, everything, work, "tok", {GOAL: 0.9})
