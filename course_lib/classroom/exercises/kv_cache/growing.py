"""The cache that concatenates."""

import mlx.core as mx
import numpy as np

from ....techniques.kv_cache import ConcatKVCache
from ...exercise import Exercise
from .ledger import Ledger, two_caches_share_nothing

NAMES = {"mx": mx, "np": np}

concat = Exercise(
    "kv_cache.concat",
    "A cache that grows by concatenation",
    name="ConcatKVCache",
    reference=ConcatKVCache,
    names=NAMES,
    mistakes={
        "swapped": "Keys and values have changed places: return the keys first.",
        "only_new": (
            "Only the new tokens come back. Attention needs the cached ones too: concatenate, then "
            "return everything."
        ),
        "newest_first": "The new tokens stand before the old ones. Oldest first: `[held, new]`.",
        "wrong_axis": (
            "The tokens were joined along another axis. Arrays are [B, H_kv, S, D]: tokens are axis 2."
        ),
        "not_advanced": (
            "`offset` does not move. It is the number of tokens held, and the position of the next one."
        ),
        "counts_updates": "`offset` counts updates. An update can bring many tokens: count those.",
        "shared": (
            "Two caches share what they hold: a class attribute, or a default argument that is made only "
            "once. Make it in `__init__`, on `self`."
        ),
        "trim_wrong_end": (
            "`trim` forgets the oldest tokens. The newest must go: keep `[..., : self.offset, :]`."
        ),
        "trim_stale": (
            "After `trim` the forgotten tokens come back with the next update: cut the arrays, not the "
            "offset alone."
        ),
        "trim_offset": (
            "`trim` leaves `offset` where it was. It is the position of the next token: move it back."
        ),
        "trim_zero": (
            "`trim(0)` forgot everything: `x[..., :-n, :]` is empty for n = 0. Slice up to the new "
            "offset instead."
        ),
        "trim_returns": (
            "`trim(n)` returns how many tokens it forgot, which is less than n when fewer are held."
        ),
        "nbytes": "`nbytes` is the size of the keys and the values held, 0 for an empty cache.",
    },
)


def update_mistakes(which, old, new):
    """What known mistakes of an update return, where old tokens meet new ones."""
    return (
        {
            "newest_first": mx.concatenate([new, old], axis=2),
            "only_new": new,
            "wrong_axis": lambda y: (
                isinstance(y, mx.array) and y.ndim == 4 and y.shape[2] == new.shape[2] and y.size > new.size
            ),
        }
        if old.shape[2]
        else {}
    )


@concat.case("what comes in comes out")
def _(answer, t):
    cache = answer()
    t.equal("cache.offset of a new cache", cache.offset, 0)
    Ledger(t, cache).append(3)


@concat.case("a second update follows the first", errors={"wrong_axis": r"ValueError.*concatenate"})
def _(answer, t):
    ledger = Ledger(t, answer())
    ledger.append(3)
    ledger.append(2, update_mistakes)


@concat.case("offset is the number of tokens held")
def _(answer, t):
    ledger = Ledger(t, answer())
    for L in (4, 1, 1):
        ledger.append(L)
        ledger.offset({"not_advanced": 0, "counts_updates": ledger.updates})


@concat.case("60 updates of 1 to 9 tokens")
def _(answer, t):
    ledger = Ledger(t, answer(), B=2, H_kv=3, D=8)
    for _ in range(60):
        ledger.append(int(t.rng.integers(1, 10)), update_mistakes)
    ledger.offset()


@concat.case("two caches share nothing")
def _(answer, t):
    two_caches_share_nothing(answer, t)


@concat.case("trim forgets the newest tokens")
def _(answer, t):
    ledger = Ledger(t, answer())
    ledger.append(5)
    before = ledger.columns[:]
    ledger.trim(2)
    ledger.append(1, lambda which, old, new: _trim_mistakes(which, before, 2, new))


def _trim_mistakes(which, before, n, new):
    """Tokens `before` the trim of n, and the new ones after it: what known mistakes hold."""
    every = mx.array(np.stack([c[which == "values"] for c in before], axis=2).astype(np.float32))
    return {
        "trim_wrong_end": mx.concatenate([every[:, :, n:], new], axis=2),
        "trim_stale": mx.concatenate([every, new], axis=2),
    }


@concat.case("trim(0) forgets nothing, trim of more than all forgets all")
def _(answer, t):
    ledger = Ledger(t, answer())
    ledger.append(4)
    ledger.trim(0)
    ledger.append(1, lambda which, old, new: {"trim_zero": new})
    ledger.trim(100)
    ledger.append(2)


@concat.case("a mix of updates and trims, and nothing handed out changes later")
def _(answer, t):
    ledger = Ledger(t, answer(), B=2)
    for _ in range(40):
        ledger.append(int(t.rng.integers(1, 6)))
        if t.rng.random() < 0.4:
            ledger.trim(int(t.rng.integers(0, 8)))
    ledger.results_still_stand(None)


@concat.case("a negative trim is an error")
def _(answer, t):
    cache = answer()
    Ledger(t, cache).append(2)
    t.raises(ValueError, lambda: cache.trim(-1), "trim(-1)")


@concat.case("nbytes is what the cache holds")
def _(answer, t):
    cache = answer()
    t.equal("cache.nbytes of a new cache", cache.nbytes, 0)
    ledger = Ledger(t, cache)
    for L in (3, 2):
        ledger.append(L)
        t.equal("cache.nbytes", cache.nbytes, ledger.nbytes, mistakes={"nbytes": lambda n: True})
