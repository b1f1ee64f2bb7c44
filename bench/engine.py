"""The engine against mlx-lm's batch_generate, on the same requests.

Twice: on the embedded model, where the native kernels count; and on a tiny model with random weights, where
both run MLX's own operations and what differs is the batching around them.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import mlx.core as mx
import numpy as np

from bench.result import Result
from course_lib.engine import Engine, EngineConfig
from course_lib.lab.timing import Comparison
from course_lib.llm import ModelConfig, Parts, load
from course_lib.llm.checkpoints import find_checkpoint
from course_lib.llm.model import Model
from course_lib.llm.weights import from_mlx_lm
from course_lib.techniques.scheduling import schedule_continuous, schedule_static

NAME = "smollm2-135m"
PEER, STATIC, OURS = "mlx-lm batch_generate", "engine, static batching", "engine"
REQUESTS, MAX_NUM_SEQS = 12, 8
TINY = ModelConfig(
    model_type="llama", hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
    head_dim=16, intermediate_size=128, vocab_size=1024, max_position_embeddings=2048,
)  # fmt: skip


@dataclass(frozen=True)
class Ask:
    """A request: token ids to read, and how many to generate."""

    prompt: list[int]
    max_tokens: int


def run(rounds: int) -> Iterator[Result]:
    """Generated tokens per second, all requests there at the start."""
    import mlx_lm

    asks = requests(vocabulary=49_000)
    stock, _ = mlx_lm.load(str(find_checkpoint(NAME)))
    model, tokenizer = load(NAME)
    contenders = {
        PEER: lambda asks: mlx_lm_batch(stock, tokenizer, asks),
        STATIC: lambda asks: engine(model, tokenizer, asks, schedule_static),
        OURS: lambda asks: engine(model, tokenizer, asks, schedule_continuous),
    }
    # The peer takes over a minute a round.
    yield result("12 requests", contenders, asks, rounds=2, goal=12)

    tiny = tiny_model()
    same_kernels = Model(TINY, from_mlx_lm(tiny), Parts())
    asks = requests(vocabulary=TINY.vocab_size)
    contenders = {
        PEER: lambda asks: mlx_lm_batch(tiny, tokenizer, asks),
        STATIC: lambda asks: engine(same_kernels, tokenizer, asks, schedule_static),
        OURS: lambda asks: engine(same_kernels, tokenizer, asks, schedule_continuous),
    }
    yield result("12 requests, tiny model, MLX's kernels in both", contenders, asks, rounds, goal=1)


def requests(vocabulary: int, seed: int = 0) -> list[Ask]:
    """Prompts of 16 to 64 tokens, answers of 16 to 32."""
    random = np.random.default_rng(seed)
    return [
        Ask(random.integers(100, vocabulary, random.integers(16, 65)).tolist(), int(random.integers(16, 33)))
        for _ in range(REQUESTS)
    ]


def result(case: str, contenders: dict[str, Callable], asks: list[Ask], rounds: int, goal: float) -> Result:
    """In turns; a first run of two short requests each does not count."""
    for serve in contenders.values():
        serve([Ask(ask.prompt[:16], 4) for ask in asks[:2]])
    samples = {name: [] for name in contenders}
    for i in range(rounds):
        for name in list(contenders)[:: 1 if i % 2 == 0 else -1]:
            start = time.perf_counter()
            generated = contenders[name](asks)
            samples[name].append(time.perf_counter() - start)
            wanted = [ask.max_tokens for ask in asks]
            assert list(map(len, generated)) == wanted, f"{name} generated {list(map(len, generated))}"
    comparison = Comparison({name: np.array(seconds) for name, seconds in samples.items()})
    tokens = sum(ask.max_tokens for ask in asks)
    return Result("serving", case, PEER, comparison, tokens, "tok", {OURS: goal})


def engine(model, tokenizer, asks: list[Ask], schedule) -> list[list[int]]:
    serving = Engine(model, tokenizer, EngineConfig(max_num_seqs=MAX_NUM_SEQS), schedule=schedule)
    made = [serving.add(ask.prompt, max_tokens=ask.max_tokens, stop_tokens=()) for ask in asks]
    serving.run()
    return [request.generated for request in made]


def mlx_lm_batch(model, tokenizer, asks: list[Ask]) -> list[list[int]]:
    """batch_generate as it is, with as many requests at a time, and nothing that stops early."""
    from mlx_lm import batch_generate

    endless = SimpleNamespace(eos_token_ids=(), decode=tokenizer.decode)
    response = batch_generate(
        model, endless, [ask.prompt for ask in asks], max_tokens=[ask.max_tokens for ask in asks],
        return_token_ids=True, completion_batch_size=MAX_NUM_SEQS, prefill_batch_size=MAX_NUM_SEQS,
    )  # fmt: skip
    return response.token_ids


def tiny_model():
    """mlx-lm's own Llama in the tiny shape, 4-bit, random weights."""
    import mlx.nn as nn
    from mlx_lm.models import llama

    from dataclasses import asdict

    known = llama.ModelArgs.__dataclass_fields__
    args = {name: value for name, value in asdict(TINY).items() if name in known and value is not None}
    mx.random.seed(0)
    model = llama.Model(llama.ModelArgs(**args))
    nn.quantize(model, group_size=32, bits=4)
    mx.eval(model.parameters())
    return model
