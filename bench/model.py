"""The embedded model with the native parts against stock mlx-lm, on the same weights.

Fair means: the same file, the same float32 activations (in float16 MLX's CPU matmul is many times slower
still), the same prompt, a cache each, whatever threads each takes, and one position projected into the
vocabulary, which is how mlx-lm reads a prompt too.
"""

from collections.abc import Iterator

import mlx.core as mx

from bench.result import Result
from course_lib.lab.timing import Comparison, compare
from course_lib.llm import Parts, load
from course_lib.llm.checkpoints import find_checkpoint
from course_lib.llm.parts import mlx_attention, mlx_linear, mlx_swiglu

NAME = "smollm2-135m"
STOCK, NATIVE = "stock mlx-lm", "native parts"
PROMPT = 37
# Tokens a sample: each contender's takes some tenths of a second.
STEPS, FEW_STEPS = 32, 4


def run(rounds: int) -> Iterator[Result]:
    """Time to the first token, and decoding after it."""
    contenders = {STOCK: Stock()} | {name: Ours(**parts) for name, parts in variants().items()}
    first = compare({name: c.first_token for name, c in contenders.items()}, rounds=rounds, warmup=1)
    yield Result("model", f"first token after {PROMPT}", STOCK, first, PROMPT, "tok", {NATIVE: 30})

    for c in contenders.values():
        c.begin()
    steps = {name: STEPS if name.startswith(NATIVE) else FEW_STEPS for name in contenders}
    decoded = compare(
        {name: (lambda c=c, n=steps[name]: c.decode(n)) for name, c in contenders.items()}, rounds=rounds, warmup=1
    )
    by_token = Comparison({name: s / steps[name] for name, s in decoded.samples.items()})
    yield Result("model", f"decode after {PROMPT}", STOCK, by_token, 1, "tok", {NATIVE: 8})


def variants() -> dict[str, dict]:
    """Arguments of `load`: the defaults, and the defaults with one part plugged in, as a learner does.

    What is plugged in is MLX's operation: the difference is its own speed and that its neighbours no
    longer run as one.
    """
    return {
        NATIVE: {},
        f"{NATIVE} but attention": {"attention": lambda *args, **options: mlx_attention(*args, **options)},
        f"{NATIVE} but swiglu": {"swiglu": lambda gate, up: mlx_swiglu(gate, up)},
        "MLX's linear": {"linear": lambda x, weight: mlx_linear(x, weight)},
        "MLX's parts": {"parts": Parts()},
    }


def greedy(step, tokens: mx.array, count: int) -> mx.array:
    """`count` tokens after `tokens` [1, 1]; each step's graph is built while the one before runs."""
    for _ in range(count):
        tokens = mx.argmax(step(tokens)[:, -1], axis=-1, keepdims=True)
        mx.async_eval(tokens)
    return tokens


class Ours:
    """This course's model."""

    def __init__(self, **parts) -> None:
        self.model, self.tokenizer = load(NAME, **parts)
        self.prompt = mx.array([prompt_ids(self.tokenizer)])

    def first_token(self) -> mx.array:
        return mx.argmax(self.model(self.prompt, self.model.make_cache(), positions=-1), axis=-1)

    def begin(self) -> None:
        self.cache = self.model.make_cache()
        mx.eval(self.model(self.prompt, self.cache, positions=-1))

    def decode(self, count: int) -> mx.array:
        last = greedy(lambda tokens: self.model(tokens, self.cache, positions=-1), self.prompt[:, -1:], count)
        mx.eval(last)
        for layer in self.cache:
            layer.trim(count)
        return last


class Stock:
    """mlx-lm's model and cache, driven as mlx_lm.generate.generate_step drives them.

    Not through generate_step itself: it starts on a second token before it returns the first.
    """

    def __init__(self) -> None:
        import mlx_lm

        self.model, self.tokenizer = mlx_lm.load(str(find_checkpoint(NAME)))
        self.prompt = mx.array([prompt_ids(self.tokenizer)])

    def first_token(self) -> mx.array:
        from mlx_lm.models.cache import make_prompt_cache

        cache = make_prompt_cache(self.model)
        self.model(self.prompt[:, :-1], cache=cache)  # its logits are not asked for, so not computed
        mx.eval([layer.state for layer in cache])
        return mx.argmax(self.model(self.prompt[:, -1:], cache=cache)[:, -1], axis=-1)

    def begin(self) -> None:
        from mlx_lm.models.cache import make_prompt_cache

        self.cache = make_prompt_cache(self.model)
        mx.eval(self.model(self.prompt, cache=self.cache)[:, -1])

    def decode(self, count: int) -> mx.array:
        from mlx_lm.models.cache import trim_prompt_cache

        last = greedy(lambda tokens: self.model(tokens, cache=self.cache), self.prompt[:, -1:], count)
        mx.eval(last)
        trim_prompt_cache(self.cache, count)
        return last


def prompt_ids(tokenizer) -> list[int]:
    """A prompt of exactly PROMPT tokens."""
    text = "A cache keeps what was computed so that it need not be computed again. " * 8
    return tokenizer.encode(text)[:PROMPT]
