"""A cache that is rewound to what a new prompt can use of it."""

import mlx.core as mx
import numpy as np

from ....techniques import prefill_decode as reference
from ....techniques.kv_cache import KVCache
from ...exercise import Exercise
from ..toy_model import ToyModel
from .tiny_transformer import by_recompute, tiny_transformer

NAMES = {"mx": mx, "np": np}

rewind = Exercise(
    "kv_cache.rewind",
    "Rewind the cache for the next prompt",
    name="rewind",
    reference=reference.rewind,
    names=NAMES,
    mistakes={
        "nothing_left": (
            "Everything is in the cache, so nothing is left to read, and the model cannot say what comes "
            "next: its logits are not cached. Leave at least the last token."
        ),
        "one_layer": (
            "The layers hold different numbers of tokens. `cache` has one entry a layer: trim every one."
        ),
        "not_trimmed": "The cache still holds tokens that do not belong to the new prompt: trim it.",
        "trimmed_common": (
            "The number to keep was trimmed away. `trim(n)` forgets n tokens: what is held less what is "
            "common."
        ),
        "trimmed_all": "The cache was emptied. Keep the common beginning: that is the point.",
        "not_a_prefix": (
            "Equal tokens after the first difference were counted. What comes after a different token "
            "was computed from it: only the common *beginning* can stay."
        ),
        "whole_prompt": (
            "The common beginning is in the cache, and yet it is to be read again: it would stand there "
            "twice. Return what follows it."
        ),
    },
)


def _check(answer, t, held, wanted):
    """Rewind a toy's cache from `held` for `wanted`, and compare what is left to read and what is kept."""
    toy = ToyModel()
    cache = toy.make_cache()
    if held:
        toy(mx.array([held]), cache)
    common = 0
    for a, b in zip(held, wanted[:-1]):
        if a != b:
            break
        common += 1
    given = answer(cache, list(held), list(wanted))
    kept = [len(layer.ids) for layer in cache]
    if any(layer.ids != held[: len(layer.ids)] for layer in cache):
        t.true(False, "The layers' caches hold tokens that were not there before.")
    call = f"rewind(cache, {held}, {wanted})"
    matches = [a == b for a, b in zip(held, wanted)]
    skipped = wanted[min(sum(matches), len(wanted) - 1) :]  # as if all equal tokens could be kept
    t.true(
        len(set(kept)) == 1,
        f"After {call} the layers hold {kept} tokens.\nWanted: {common} in each.",
        "one_layer",
    )
    t.equal(
        call, given, wanted[common:],
        mistakes={
            "nothing_left": [],
            "whole_prompt": wanted if common else None,
            "not_a_prefix": lambda got: sum(matches) > common and list(got) == skipped,
        },
    )  # fmt: skip
    # Where two mistakes would leave the same number, neither is named; another case tells them apart.
    guesses = {"trimmed_all": 0, "not_trimmed": len(held), "trimmed_common": len(held) - common}
    guesses = {name: n for name, n in guesses.items() if list(guesses.values()).count(n) == 1}
    t.equal(f"the number of tokens in each layer after {call}", kept[0], common, mistakes=guesses)


@rewind.case("the new prompt goes on where the old text ended")
def _(answer, t):
    _check(answer, t, [3, 1, 4, 1], [3, 1, 4, 1, 5, 9])


@rewind.case("the texts part after three tokens")
def _(answer, t):
    _check(answer, t, [3, 1, 4, 1, 5, 9, 2], [3, 1, 4, 8, 8])


@rewind.case("nothing in common, or nothing held")
def _(answer, t):
    _check(answer, t, [3, 1, 4], [2, 7, 1])
    _check(answer, t, [], [2, 7, 1])


@rewind.case("the same prompt again: its last token must be read again")
def _(answer, t):
    _check(answer, t, [3, 1, 4, 1, 5], [3, 1, 4, 1, 5])
    _check(answer, t, [3, 1, 4, 1, 5], [3, 1, 4])
    _check(answer, t, [3], [3])


@rewind.case("equal tokens after a difference do not count")
def _(answer, t):
    _check(answer, t, [3, 1, 4, 1, 5, 9], [3, 1, 8, 1, 5, 9, 2])


@rewind.case("random texts")
def _(answer, t):
    for _ in range(30):
        old = [int(i) for i in t.rng.integers(0, 3, size=t.rng.integers(0, 9))]
        new = [
            *old[: int(t.rng.integers(0, 9))],
            *(int(i) for i in t.rng.integers(0, 3, size=t.rng.integers(1, 5))),
        ]
        _check(answer, t, old, new)


@rewind.case("an empty prompt is an error")
def _(answer, t):
    t.raises(ValueError, lambda: answer(ToyModel().make_cache(), [], []), "rewind(cache, [], [])")


@rewind.case("a small transformer goes on from a rewound cache as from a fresh one")
def _(answer, t):
    naive, cached = tiny_transformer(None), tiny_transformer(KVCache)
    cache = cached.make_cache()
    held = [5, 6, 7, 8, 9, 10, 11, 12]
    cached(mx.array([held]), cache)
    for wanted in ([5, 6, 7, 8, 20, 21], [5, 6, 7], [30, 31, 32, 33]):
        unread = answer(cache, held, wanted)
        logits = cached(mx.array([unread]), cache, positions=-1)
        first = mx.argmax(logits[0, -1]).item()
        t.equal(f"the token after {wanted}", [first], by_recompute(naive, wanted, 1))
        held = wanted
