"""The embedded model on a CPU, against llama.cpp: same GGUF file, same number of threads, in turns.

llama.cpp rounds activations to 8 bits before each product with packed weights, and holds keys and values in half
precision; both are its defaults. The course's model computes to float32's precision unless a contender's name says
otherwise. Both lay the weights out for the processor and use its tiles for products of bytes (AMX) where it has them; a
second llama.cpp, with the weights as in the file, shows how it runs without.

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
from course_lib.llm.room import RoomBatchedKVCache

NAME = "smollm2-135m"
PEER, FLOAT, INT8, READING = "llama.cpp", "f32 activations", "int8 activations", "reading as many bytes"
NO_TILES = "llama.cpp, weights as in the file"
SHORT, LONG = 37, 2048  # tokens of context
PROMPTS = {37: 1.8, 128: 1.8, 512: None}  # tokens: goal
ROWS = (8, 32)


def run(rounds: int) -> Iterator[Result]:
    """First tokens, decoding, and decoding several rows at a time."""
    try:
        peer, plain = (LlamaCpp(kernels.threads(), context=LONG + 64, repack=repack) for repack in (True, False))
    except Unavailable as error:
        print(f"cpu: skipped, for there is no llama.cpp to compare with: {error}", file=sys.stderr)
        return
    print(f"llama.cpp: {peer.system}", file=sys.stderr)
    ours, int8 = Ours(), Ours(int8_activations=True)
    ids = ours.tokenizer.encode(PASSAGE * 8)
    assert len(ids) > LONG, len(ids)

    for count, goal in PROMPTS.items():
        prompt = ids[:count]
        yield contest(f"first token after {count}", count, rounds, {FLOAT: goal} if goal else {}, {
            PEER: lambda prompt=prompt: peer.first_token(prompt),
            NO_TILES: lambda prompt=prompt: plain.first_token(prompt),
            FLOAT: lambda prompt=prompt: ours.first_token(prompt),
            INT8: lambda prompt=prompt: int8.first_token(prompt),
        })  # fmt: skip
    for context, steps, goals in ((SHORT, 32, {FLOAT: 1.0, INT8: 1.2}), (LONG, 16, {})):
        contenders = {PEER: peer, NO_TILES: plain, FLOAT: ours, INT8: int8}
        for contender in contenders.values():
            contender.hold(ids[:context])
        decoding = {name: lambda c=c, n=steps: c.decode(n) for name, c in contenders.items()}
        yield contest(f"decode after {context}", 1, rounds, goals, decoding, steps)
    peer.close(), plain.close()
    for rows in ROWS:
        peer = LlamaCpp(kernels.threads(), context=256, sequences=rows)
        contenders = {PEER: peer, FLOAT: Rows(ours.model, rows), INT8: Rows(int8.model, rows)}
        for contender in contenders.values():
            contender.hold(ids[:SHORT])
        decoding = {name: lambda c=c: c.decode(16) for name, c in contenders.items()}
        yield contest(f"decode {rows} rows", rows, rounds, {}, decoding, 16)
        peer.close()
    yield share_of_bandwidth({FLOAT: ours, INT8: int8}, ids[:SHORT], rounds)


def contest(case, tokens, rounds, goals, contenders, steps=1) -> Result:
    """`tokens` are what one of the call's `steps` is worth."""
    compared = compare(contenders, rounds=rounds, warmup=2)
    compared = Comparison({name: seconds / steps for name, seconds in compared.samples.items()})
    return Result("cpu", case, PEER, compared, tokens, "tok", goals)


def share_of_bandwidth(models: dict[str, "Ours"], prompt: list[int], rounds: int, steps: int = 32) -> Result:
    """A decode step against reading as many bytes as its weights are: the ratio is the share of the bandwidth."""
    for model in models.values():
        model.hold(prompt)
    threads = kernels.threads()
    weights = np.ones(models[FLOAT].bytes_a_token // 4, np.float32)
    parts = np.array_split(weights, threads)
    with ThreadPoolExecutor(threads) as pool:
        contenders = {READING: lambda: [list(pool.map(np.max, parts)) for _ in range(steps)]}
        contenders |= {name: lambda m=model: m.decode(steps) for name, model in models.items()}
        compared = compare(contenders, rounds=rounds, warmup=1)
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
        self.cache = [RoomBatchedKVCache(self.rows) for _ in self.model.blocks]
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
