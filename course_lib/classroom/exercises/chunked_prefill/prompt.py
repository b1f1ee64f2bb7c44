"""A whole model reads a prompt in chunks, and memory stays bounded by the chunk."""

import mlx.core as mx
import numpy as np

from ....techniques import chunked_prefill as reference
from ....techniques.kv_cache import KVCache
from ...exercise import Exercise
from ..kv_cache.tiny_transformer import tiny_transformer

NAMES = {"mx": mx, "np": np}

prefill = Exercise(
    "chunked_prefill.prefill",
    "A prompt in chunks, through the model",
    name="prefill_chunked",
    reference=reference.prefill_chunked,
    names=NAMES,
    mistakes={
        "first_chunk": (
            "These are the logits after the first chunk: the model was asked for a token before it had read the prompt. "
            "Only the last chunk's logits choose one."
        ),
        "remainder": (
            "The last tokens were never read: the prompt is no multiple of chunk_size, and its remainder is a shorter last chunk."
        ),
        "cache_ignored": "Each chunk was read without what stands before it. Pass the same `cache` to every call.",
        "whole": "The model was given more than chunk_size tokens in one call.",
        "again": "Tokens were read again that the cache already holds. Give the model the new chunk alone.",
        "all_positions": (
            "The model projected every position into the vocabulary. That matrix is its largest, and nobody reads the result: "
            "call it with `positions=-1`."
        ),
        "not_evaluated": (
            "When a chunk was begun, the one before it had not been computed: MLX is lazy and only notes the work down. "
            "`mx.eval(logits)` after each chunk; otherwise the intermediate results of several chunks may exist at once."
        ),
        "all_logits": "The logits of every position, or of every chunk, are returned. Wanted are the last ones, [1, 1, V].",
    },
)


class _Watched:
    """A model that notes each call: tokens before it, tokens read, positions projected, memory in use."""

    def __init__(self, model):
        self._model = model
        self.calls = []

    def __call__(self, tokens, cache=None, positions=None, **options):
        held = cache[0].offset if cache else None
        in_use = mx.get_active_memory()
        logits = self._model(tokens, cache, positions, **options)
        self.calls.append((held, tokens.shape[1], logits.shape[1], in_use))
        return logits

    def __getattr__(self, name):
        return getattr(self._model, name)


def _after(model, tokens):
    return model(mx.array([tokens]), positions=-1)


def _read(answer, t, length, size, before=0):
    model = tiny_transformer(KVCache)
    text = [int(i) for i in t.rng.integers(0, 61, size=before + length)]
    prompt, cache = text[before:], model.make_cache()
    if before:
        mx.eval(model(mx.array([text[:before]]), cache))
    watched = _Watched(model)
    given = answer(watched, prompt, cache, size)
    whole = length // size * size
    ends = [*range(size, length, size), length]
    later = [_after(model, text[: before + end]) for end in ends]
    mistakes = {
        "first_chunk": later[0],
        "cache_ignored": lambda y: (
            any(_near(y, _after(model, prompt[start:])) for start in range(0, length, size))
            or any(held is None for held, *_ in watched.calls)
        ),
        "all_logits": lambda y: isinstance(y, mx.array) and y.ndim == 3 and y.shape[1] > 1,
    }
    if 0 < whole < length:
        mistakes["remainder"] = _after(model, text[: before + whole])
    read = [n for _, n, _, _ in watched.calls]
    words = f"For a prompt of {length} and chunk_size={size}, the model was called with {read} tokens."
    t.true(max(read, default=0) <= size, f"{words}\nWanted: at most {size} at a time.", "whole")
    t.true(sum(read) <= length, f"{words}\nWanted: {length} in all.", "again")
    t.close(
        f"prefill_chunked(model, a prompt of {length}{f' after {before}' * bool(before)}, cache, chunk_size={size})",
        given, later[-1], mistakes=mistakes, atol=1e-4,
    )  # fmt: skip
    t.equal("cache[0].offset afterwards", cache[0].offset, before + length)
    return watched.calls


@prefill.case("a prompt of 12 in three chunks: the logits after the last token")
def _(answer, t):
    _read(answer, t, 12, 4)


@prefill.case("a prompt of 11 in chunks of 4: the last chunk holds three tokens")
def _(answer, t):
    _read(answer, t, 11, 4)


@prefill.case("every chunk size from 1 to beyond the prompt")
def _(answer, t):
    for size in (1, 2, 3, 7, 8, 9, 50):
        _read(answer, t, 8, size)


@prefill.case("a cache that holds a conversation already is continued")
def _(answer, t):
    _read(answer, t, 10, 4, before=5)


@prefill.case("one position of a chunk is projected into the vocabulary")
def _(answer, t):
    calls = _read(answer, t, 40, 16)
    projected = [n for _, _, n, _ in calls]
    t.true(
        max(projected) == 1,
        f"The calls projected {projected} positions.\nWanted: one a call.",
        "all_positions",
    )


@prefill.case("each chunk is computed before the next is begun")
def _(answer, t):
    calls = _read(answer, t, 600, 200)
    t.true(len(calls) > 1, "There was one call of the model.\nWanted: one for each chunk.", "whole")
    first, second = calls[0][3], calls[1][3]
    held = 2 * 2 * 2 * 8 * 200 * 4  # bytes of a chunk: 2 layers, keys and values, 2 heads of 8, float32
    t.true(
        second >= first + held,
        "When the second chunk was begun, no memory was in use for the keys and values of the first.\n"
        "Wanted: the first chunk computed, its intermediate results gone, its keys and values there.",
        "not_evaluated",
    )


@prefill.case("an empty prompt, or a chunk of no tokens, is an error")
def _(answer, t):
    model = tiny_transformer(KVCache)
    t.raises(ValueError, lambda: answer(model, [], model.make_cache(), 4), "prefill_chunked with an empty prompt")
    t.raises(ValueError, lambda: answer(model, [1, 2], model.make_cache(), 0), "prefill_chunked with chunk_size=0")


def _near(y, other) -> bool:
    return isinstance(y, mx.array) and y.shape == other.shape and bool(mx.allclose(y, other, atol=1e-4).item())
