"""The embedded model on a CPU, against llama.cpp: same GGUF file, same number of threads, in turns.

llama.cpp rounds activations to 8 bits before each product with packed weights, and holds keys and values in half
precision; both are its defaults. The course's model computes in float32 unless a contender's name says otherwise.

The last case asks how near decoding comes to the limit of any implementation: a token reads every weight once, so it
cannot be faster than reading as many bytes.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import numpy as np

from bench.llama_cpp import LlamaCpp, Unavailable
from bench.result import Result
from course_lib import kernels
from course_lib.lab.passage import PASSAGE
from course_lib.lab.timing import Comparison, compare
from course_lib.llm import load
from course_lib.techniques.batched_kv_cache import BatchedKVCache

NAME = "smollm2-135m"
PEER, FLOAT, READING = "llama.cpp", "f32 activations", "reading as many bytes"
SHORT, LONG = 37, 2048  # tokens of context
PROMPTS = {37: 1.8, 128: 1.8, 512: None}  # tokens: goal
ROWS = (8, 32)


def run(rounds: int) -> Iterator[Result]:
    """First tokens, decoding, and decoding several rows at a time."""
    try:
        peer = LlamaCpp(kernels.threads(), context=LONG + 64)
    except Unavailable as error:
        print(f"cpu: skipped, for there is no llama.cpp to compare with: {error}", file=sys.stderr)
        return
    print(f"llama.cpp: {peer.system}", file=sys.stderr)
    ours = Ours()
    ids = ours.tokenizer.encode(PASSAGE * 8)
    assert len(ids) > LONG, len(ids)

    for count, goal in PROMPTS.items():
        prompt = ids[:count]
        yield contest(f"first token after {count}", count, rounds, goal, {
            PEER: lambda prompt=prompt: peer.first_token(prompt),
            FLOAT: lambda prompt=prompt: ours.first_token(prompt),
        })  # fmt: skip
    for context, steps, goal in ((SHORT, 32, 1.0), (LONG, 16, None)):
        peer.hold(ids[:context])
        ours.hold(ids[:context])
        contenders = {PEER: lambda n=steps: peer.decode(n), FLOAT: lambda n=steps: ours.decode(n)}
        yield contest(f"decode after {context}", 1, rounds, goal, contenders, steps)
    peer.close()
    for rows in ROWS:
        peer = LlamaCpp(kernels.threads(), context=256, sequences=rows)
        batch = Rows(ours.model, rows)
        for holder in (peer, batch):
            holder.hold(ids[:SHORT])
        contenders = {PEER: lambda peer=peer: peer.decode(16), FLOAT: lambda batch=batch: batch.decode(16)}
        yield contest(f"decode {rows} rows", rows, rounds, None, contenders, 16)
        peer.close()
    yield share_of_bandwidth(ours, ids[:SHORT], rounds)


def contest(case, tokens, rounds, goal, contenders, steps=1) -> Result:
    """`tokens` are what one of the call's `steps` is worth."""
    compared = compare(contenders, rounds=rounds, warmup=2)
    compared = Comparison({name: seconds / steps for name, seconds in compared.samples.items()})
    return Result("cpu", case, PEER, compared, tokens, "tok", {} if goal is None else {FLOAT: goal})


def share_of_bandwidth(ours: "Ours", prompt: list[int], rounds: int, steps: int = 32) -> Result:
    """A decode step against reading as many bytes as its weights are: the ratio is the share of the bandwidth."""
    ours.hold(prompt)
    threads = kernels.threads()
    weights = np.ones(ours.bytes_a_token // 4, np.float32)
    parts = np.array_split(weights, threads)
    with ThreadPoolExecutor(threads) as pool:
        compared = compare({
            READING: lambda: [list(pool.map(np.max, parts)) for _ in range(steps)],
            FLOAT: lambda: ours.decode(steps),
        }, rounds=rounds, warmup=1)  # fmt: skip
    compared = Comparison({name: seconds / steps for name, seconds in compared.samples.items()})
    return Result("cpu", "bytes of weights a token", READING, compared, weights.nbytes / 1e9, "GB")


class Ours:
    """This course's model: one sequence."""

    def __init__(self, **options) -> None:
        self.model, self.tokenizer = load(NAME, **options)

    @property
    def bytes_a_token(self) -> int:
        """Bytes of weights that a decode step reads: all, if the embedding is also the projection. Scales count two
        bytes each: the native parts hold them so."""
        weights = [w for block in self.model.blocks for w in vars(block.weights).values() if hasattr(w, "scales")]
        return sum(w.weight.nbytes + 4 * w.scales.size for w in [*weights, self.model.lm_head])

    def first_token(self, prompt: list[int]) -> int:
        return greedy(self.model, mx.array([prompt]), self.model.make_cache()).item()

    def hold(self, prompt: list[int]) -> None:
        self.cache = self.model.make_cache()
        self.last = greedy(self.model, mx.array([prompt]), self.cache)
        mx.eval(self.last)

    def decode(self, steps: int) -> list[int]:
        last = self.last
        for _ in range(steps):
            last = greedy(self.model, last, self.cache)
            mx.eval(last)
        for layer in self.cache:
            layer.trim(steps)
        return last.tolist()


class Rows:
    """The same weights: several sequences, each in a row of a batched cache."""

    def __init__(self, model, rows: int) -> None:
        self.model, self.rows = model, rows

    def hold(self, prompt: list[int]) -> None:
        self.cache = [BatchedKVCache(self.rows) for _ in self.model.blocks]
        for layer in self.cache:
            for _ in range(self.rows):
                layer.add()
        self.last = greedy(self.model, mx.array([prompt] * self.rows), self.cache)
        mx.eval(self.last)
        self.held = len(prompt)

    def decode(self, steps: int) -> list[int]:
        last = self.last
        for _ in range(steps):
            last = greedy(self.model, last, self.cache)
            mx.eval(last)
        for layer in self.cache:
            layer.lengths[:] = [self.held] * self.rows  # forgotten: the next steps write over it
        return last[:, 0].tolist()


def greedy(model, tokens: mx.array, cache) -> mx.array:
    """tokens [B, L] -> the most probable next ones [B, 1]."""
    return mx.argmax(model(tokens, cache, positions=-1), axis=-1)
