"""Generation in two phases: prefill, then decode."""

import mlx.core as mx
import numpy as np

from ....techniques import prefill_decode as reference
from ....techniques.kv_cache import KVCache
from ...exercise import Exercise
from ..toy_model import ToyModel, V
from .tiny_transformer import by_recompute, tiny_transformer

NAMES = {"mx": mx, "np": np}

generate = Exercise(
    "kv_cache.generate",
    "Prefill and decode",
    name="generate_cached",
    reference=reference.generate_cached,
    names=NAMES,
    mistakes={
        "reread": (
            "The model reads tokens again that its cache already holds, so it sees them twice. After the "
            "prompt, feed it the newest token alone."
        ),
        "recompute": (
            "The text is right, but every pass reads everything again: the cache is not used. Make one, "
            "pass it to every call, and feed only what the model has not read."
        ),
        "only_last": (
            "Each token is predicted from the last one alone. Pass the cache to every call: `model(ids, "
            "cache, positions=-1)`."
        ),
        "new_cache": "Every step begins with an empty cache. Make it once, before the loop.",
        "last_twice": (
            "The prompt's last token is read twice. Prefill has read it; decode begins with the token "
            "that prefill has chosen."
        ),
        "token_by_token": (
            "The prompt is read one token a pass, and each pass goes over all the weights. Give the "
            "whole prompt to one call."
        ),
        "cache_ignored": (
            "The cache that was given is not used: the model has not seen what came before. Make a new "
            "one only if `cache` is None."
        ),
        "not_read": (
            "The cache should hold the prompt and the new tokens (the last one may be missing), and "
            "nothing else."
        ),
        "stop_included": "The stop token is in the result. Stop before you append it.",
        "never_stops": "A stop token was chosen and generation went on.",
        "arrays": "The result holds arrays. `.item()` makes a Python int of a 0-d array.",
    },
)

PROMPT = (3, 1, 4, 1, 5, 9, 2, 6)


def _fed(toy, prompt, count, feed):
    """The text of a loop with a cache that at each step reads `feed(prompt, new)`."""
    seen, new = [], []
    for _ in range(count):
        seen += feed(list(prompt), new)
        new.append(toy.next(seen))
    return new


def _text_mistakes(toy, prompt, count):
    """Texts of loops that feed the wrong tokens."""
    from_last = [
        toy.run(prompt, count, lambda p, new: new[-1:] or [*p]),  # the cache left out after the prompt
        toy.run(prompt, count, lambda p, new: [*p, *new][-1:]),
        _fed(toy, prompt, count, lambda p, new: [*p, *new][-1:]),  # the prompt never read
    ]
    twice = [
        _fed(toy, prompt, count, lambda p, new: new[-1:] or [*p, p[-1]]),
        _fed(toy, prompt, count, lambda p, new: [[*p, *new][-2]] if new else p),
    ]
    return {
        "reread": _fed(toy, prompt, count, lambda p, new: [*p, *new]),
        "only_last": lambda got: got in from_last,
        "last_twice": lambda got: got in twice,
    }


@generate.case("the first token: one pass over the prompt")
def _(answer, t):
    toy = ToyModel()
    given = answer(toy, list(PROMPT), 1)
    wanted = toy.run(PROMPT, 1)
    t.equal(
        "generate_cached(model, tokens, max_tokens=1)", given, wanted, mistakes=_text_mistakes(toy, PROMPT, 1)
    )


@generate.case("twelve tokens, each seeing all before it")
def _(answer, t):
    toy = ToyModel()
    given = answer(toy, list(PROMPT), 12)
    t.true(
        not any(isinstance(x, mx.array) for x in given),
        "The result is a list of MLX arrays.\nWanted: a list of Python ints.",
        "arrays",
    )
    mistakes = _text_mistakes(toy, PROMPT, 12)
    if toy.caches_made > 1:
        mistakes = {"new_cache": lambda got: True}
    t.equal("generate_cached(model, tokens, max_tokens=12)", given, toy.run(PROMPT, 12), mistakes=mistakes)


@generate.case("the prompt is read in one pass, then one token a pass")
def _(answer, t):
    toy = ToyModel()
    prompt = list(PROMPT) * 5
    answer(toy, prompt, 10)
    read = sum(n for _, n in toy.passes)
    words = f"For a prompt of 40 and 10 new tokens, {len(toy.passes)} calls of the model read {read} tokens."
    t.true(read <= 50, f"{words}\nWanted: 49 tokens; the last new one need not be read.", "recompute")
    t.true(len(toy.passes) <= 20, f"{words}\nWanted: 10 calls.", "token_by_token")


@generate.case("a stop token ends it and is not part of the result")
def _(answer, t):
    toy = ToyModel()
    free = toy.run(PROMPT, 12)
    stop = free[5]
    wanted = free[: free.index(stop)]
    t.equal(
        f"generate_cached(model, tokens, 12, stop_tokens=[{stop}])",
        answer(toy, list(PROMPT), 12, [stop]),
        wanted,
        mistakes={"stop_included": [*wanted, stop], "never_stops": lambda got: len(got) > len(wanted) + 1},
    )


@generate.case("several stop tokens, and one of them comes first")
def _(answer, t):
    toy = ToyModel()
    prompt = PROMPT[:5]
    first = toy.next(prompt)
    stops = [(first - 1) % V, first]  # the text goes on without either
    t.equal(
        f"generate_cached(model, tokens, 12, stop_tokens={stops})",
        answer(toy, list(prompt), 12, stops),
        [],
        mistakes={"stop_included": [first], "never_stops": lambda got: len(got) > 1},
    )


@generate.case("max_tokens=0 gives nothing, and the caller's list is left as it was")
def _(answer, t):
    prompt = list(PROMPT)
    t.equal("generate_cached(model, tokens, max_tokens=0)", answer(ToyModel(), prompt, 0), [])
    answer(ToyModel(), prompt, 3)
    t.true(
        prompt == list(PROMPT),
        "The caller's list `tokens` grew: generated ids were appended to it.",
        "changed_input",
    )


@generate.case("a given cache is continued, and holds the text afterwards")
def _(answer, t):
    toy = ToyModel()
    cache = toy.make_cache()
    toy(mx.array([list(PROMPT)]), cache)
    toy.passes.clear()
    wanted = toy.run([*PROMPT, 7, 8], 6)
    given = answer(toy, [7, 8], 6, cache=cache)
    alone = toy.run([7, 8], 6)
    t.equal(
        "generate_cached(model, [7, 8], 6, cache=cache)", given, wanted, mistakes={"cache_ignored": alone}
    )
    text = [*PROMPT, 7, 8, *wanted]
    held = [len(layer.ids) for layer in cache]
    fine = all(layer.ids in (text[:-1], text) for layer in cache)
    t.true(
        fine,
        f"Afterwards the layers' caches hold {held} tokens.\nWanted: {len(text) - 1}, all but the last.",
        "not_read",
    )


@generate.case("a small transformer says the same as without a cache")
def _(answer, t):
    naive, cached = tiny_transformer(None), tiny_transformer(KVCache)
    for length in (1, 5, 17):
        prompt = [int(i) for i in t.rng.integers(0, 61, size=length)]
        t.equal(
            f"generate_cached(model, a prompt of {length}, max_tokens=12)",
            answer(cached, prompt, 12),
            by_recompute(naive, prompt, 12),
        )
