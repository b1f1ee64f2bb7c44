"""All rungs of the Metal kernels against MLX's own on this machine's GPU, as one report that its owner can send.

Each kernel is compared with MLX's result before it is timed. Contenders take turns. For one token a call goes through
several matrices, one after the other, more than a cache holds, as a model does.
"""

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version

import mlx.core as mx
import numpy as np

from ..kernels.metal.apple import available
from ..kernels.metal_attention import RUNGS as ATTENTION_RUNGS
from ..kernels.metal_attention import MetalAttention
from ..kernels.metal_quantized_matmul import RUNGS as MATMUL_RUNGS
from ..kernels.metal_quantized_matmul import MetalQuantizedMatmul
from .machine import describe
from .timing import compare

MLX = "MLX"
FORMAT = 1
WRONG = 0.02  # of the largest value, float16: more is no rounding
ROUNDS, SECONDS = 11, 4.0


class NothingToMeasure(Exception):
    """This machine has no GPU that runs the kernels; the message says so."""


@dataclass(frozen=True)
class Question:
    """One comparison.

    Attributes:
        kernel: "quantized_matmul" or "attention".
        shape: what it is about, for people and programs: {"M": 1, "N": 4096, ...}.
        contenders: name -> function without arguments that returns an array, or several in a list.
        least_bytes: that a call must move.
        operations: floating-point operations of a call.
    """

    kernel: str
    shape: dict
    contenders: dict[str, Callable]
    least_bytes: int
    operations: int


def report(dry_run: bool = False, say: Callable[[str], None] = lambda line: None) -> dict:
    """Measure everything.

    Args:
        dry_run: tiny sizes, in the emulator where there is no GPU: the report's form, and no measurement.
        say: called with a line for each question.

    Returns:
        What is to be written as JSON: the machine, and for each question and kernel the samples in seconds.

    Raises:
        NothingToMeasure: there is no Apple GPU, and it is no dry run.
    """
    if not dry_run and not available():
        raise NothingToMeasure(
            "There is nothing to measure here: the Metal kernels run on Apple's GPUs, and this machine has none. (In the "
            "emulator their time says nothing about a GPU.) On a Mac: .venv/bin/course measure"
        )
    device = mx.gpu if available() else mx.cpu
    results = []
    with mx.stream(device):
        for question in _questions(dry_run):
            say(f"{question.kernel} {question.shape}")
            results += _answers(question, dry_run)
    return {
        "format": FORMAT,
        "dry_run": dry_run,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": describe(),
        "device": {key: value for key, value in mx.device_info(device).items() if isinstance(value, int | float | str)},
        "system": platform.platform(),
        "versions": {"mlx": mx.__version__, "course-lib": version("course-lib"), "python": platform.python_version()},
        "results": results,
    }


def _answers(question: Question, dry_run: bool) -> list[dict]:
    right = _flat(question.contenders[MLX]())
    notes, timed = {}, {}
    for name, run in question.contenders.items():
        try:
            error = float(np.abs(_flat(run()) - right).max() / np.abs(right).max())
        except RuntimeError as failure:  # whatever Metal or MLX say: the others are measured all the same
            notes[name] = {"right": False, "failure": str(failure)[:2000]}
            continue
        notes[name] = {"right": error < WRONG, "relative_error": error if np.isfinite(error) else str(error)}
        if error < WRONG:  # NaN is not
            timed[name] = run
    times = compare(timed, rounds=3 if dry_run else ROUNDS, warmup=1 if dry_run else 3, budget=SECONDS)
    answers = []
    for name in question.contenders:
        samples = times.samples[name].tolist() if name in timed else []
        answers.append({
            "kernel": question.kernel, "shape": question.shape, "contender": name, **notes[name], "seconds": samples,
            "least_bytes": question.least_bytes, "operations": question.operations,
        })  # fmt: skip
        if samples:
            low, high = times.spread[name]
            answers[-1] |= {
                "median": times.median[name], "quartiles": [low, high], "times_mlx": times.ratio(name, MLX),
                "bytes_per_second": question.least_bytes / times.median[name],
                "operations_per_second": question.operations / times.median[name],
            }  # fmt: skip
    return answers


def _flat(result) -> np.ndarray:
    arrays = result if isinstance(result, list) else [result]
    return np.concatenate([np.array(a.astype(mx.float32)).ravel() for a in arrays])


def _questions(dry_run: bool) -> Iterator[Question]:
    if dry_run:
        yield matmul(1, 9, 64, 2)
        yield attention(3, 16, 2, 1, 64)
        return
    for M in (1, 4, 32, 128):
        yield matmul(M, 1536, 576, 8)  # SmolLM2's gate and up projections
        yield matmul(M, 4096, 4096, 8)
    yield attention(1, 4096, 32, 8, 128)
    yield attention(1024, 1024, 32, 8, 128)


def matmul(M: int, N: int, K: int, matrices: int) -> Question:
    """One token, or M, times several matrices [N, K] of 4 bits in groups of 32, float16."""
    x = mx.random.normal((M, K), key=mx.random.key(0)).astype(mx.float16)
    packed = [
        mx.quantize((mx.random.normal((N, K), key=mx.random.key(i)) / K**0.5).astype(mx.float16), 32, 4) for i in range(matrices)
    ]
    mx.eval(x, packed)
    contenders = {MLX: lambda: [mx.quantized_matmul(x, *w, True, 32, 4) for w in packed]}
    for rung in MATMUL_RUNGS:
        if M <= 4 or rung != "one_thread":  # it would take the rounds' time, and say nothing new
            kernel = MetalQuantizedMatmul(rung)
            contenders[rung] = lambda kernel=kernel: [kernel(x, *w, 32, 4) for w in packed]
    least = sum(a.nbytes for w in packed for a in w) + matrices * (x.nbytes + 2 * M * N)
    shape = {"M": M, "N": N, "K": K, "bits": 4, "group_size": 32, "dtype": "float16", "matrices": matrices}
    return Question("quantized_matmul", shape, contenders, least, 2 * M * N * K * matrices)


def attention(L: int, S: int, H: int, H_kv: int, D: int) -> Question:
    """Causal attention of one sequence, float16."""
    q, k, v = (
        mx.random.normal((1, heads, n, D), key=mx.random.key(i)).astype(mx.float16)
        for i, (heads, n) in enumerate(((H, L), (H_kv, S), (H_kv, S)))
    )
    mx.eval(q, k, v)
    options = {"scale": D**-0.5, "mask": "causal"}
    contenders = {MLX: lambda: mx.fast.scaled_dot_product_attention(q, k, v, **options)}
    for rung in ATTENTION_RUNGS:
        kernel = MetalAttention(rung)
        contenders[rung] = lambda kernel=kernel: kernel(q, k, v, **options)
    pairs = sum(S - L + row + 1 for row in range(L))
    shape = {"L": L, "S": S, "H": H, "H_kv": H_kv, "D": D, "dtype": "float16", "mask": "causal"}
    return Question("attention", shape, contenders, q.nbytes * 2 + k.nbytes + v.nbytes, 4 * pairs * D * H)
