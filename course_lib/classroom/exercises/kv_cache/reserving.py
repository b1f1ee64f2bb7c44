"""The cache that reserves room ahead."""

import mlx.core as mx
import numpy as np

from ....techniques.kv_cache import KVCache
from ...exercise import Exercise
from .ledger import Ledger, two_caches_share_nothing

NAMES = {"mx": mx, "np": np}

preallocated = Exercise(
    "kv_cache.preallocated",
    "A cache that reserves room in steps",
    name="KVCache",
    reference=KVCache,
    names=NAMES,
    mistakes={
        "swapped": "Keys and values have changed places: return the keys first.",
        "whole_buffer": (
            "The unused room comes back too, and attention would look at it. Return `[..., : "
            "self.offset, :]`."
        ),
        "from_start": (
            "New tokens are written over the first ones. They belong behind those held: `[..., offset : "
            "offset + L, :]`."
        ),
        "lost_on_growth": (
            "When the cache grew, tokens that it held were lost. The new room must begin with all of "
            "them: concatenate what is held and the new room."
        ),
        "one_step_only": (
            "The room grew by one step, and the update brought more tokens than that. Reserve as many "
            "steps as are needed."
        ),
        "not_advanced": (
            "`offset` does not move. It is the number of tokens held, and the position of the next one."
        ),
        "grows_every_time": (
            "`nbytes` grows with every token. If the room really does, every update copies everything: "
            "grow only when the new tokens do not fit, and then by whole steps. If it does not, let "
            "`nbytes` be the size of the whole room, used or not."
        ),
        "reserves_too_much": (
            "More than a step of unused room is reserved. Round the need up to the next multiple of `step`."
        ),
        "aliased": (
            "A later update wrote into an array that was handed out before. `x[a:b] = y` changes what "
            "the name x stands for; return a slice of the buffer even where it is full: `self.keys[..., "
            ": self.offset, :]`."
        ),
        "shared": (
            "Two caches share what they hold: a class attribute, or a default argument that is made only "
            "once. Make it in `__init__`, on `self`."
        ),
        "dtype": (
            "The cache changes the dtype. Make the room with the dtype of the arrays that come in: "
            "`mx.zeros(shape, keys.dtype)`."
        ),
        "value_size": (
            "The room for the values was made with the head size of the keys. They can differ: take it "
            "from `values.shape`."
        ),
        "trim_ignored": (
            "After `trim` the new tokens are written behind the forgotten ones. They belong at the new "
            "offset."
        ),
        "trim_wrong_end": (
            "`trim` forgets the oldest tokens. The newest must go, which costs nothing here: move "
            "`offset` back."
        ),
        "trim_offset": (
            "`trim` leaves `offset` where it was. It is the position of the next token: move it back."
        ),
        "trim_returns": (
            "`trim(n)` returns how many tokens it forgot, which is less than n when fewer are held."
        ),
        "nbytes": (
            "`nbytes` is less than the tokens held take. It is the size of the room for keys *and* "
            "values: that is what the cache takes from other requests."
        ),
    },
)


def _mistakes(which, old, new):
    """What known mistakes of an update return."""
    held, L = old.shape[2], new.shape[2]

    def begins_right(y):
        return _is(y) and y.shape[2] >= held + L and _equal(y[:, :, :held], old)

    return {
        "whole_buffer": lambda y: (
            begins_right(y) and y.shape[2] > held + L and _equal(y[:, :, held : held + L], new)
        ),
        "from_start": lambda y: held and _is(y) and y.shape[2] >= L and _equal(y[:, :, :L], new),
        "lost_on_growth": lambda y: (
            held
            and _is(y)
            and y.shape[2] == held + L
            and _equal(y[:, :, held:], new)
            and not _equal(y[:, :, :held], old)
        ),
        "one_step_only": lambda y: _is(y) and y.shape[2] < held + L,
        "dtype": lambda y: isinstance(y, mx.array) and y.dtype != new.dtype,
    }


@preallocated.case("what comes in comes out, without the unused room")
def _(answer, t):
    cache = answer(step=8)
    t.equal("cache.offset of a new cache", cache.offset, 0)
    Ledger(t, cache).append(3, _mistakes)


@preallocated.case("without a step of its own it grows by 256")
def _(answer, t):
    ledger = Ledger(t, answer())
    ledger.append(1, _mistakes)
    room = ledger.cache.nbytes // ledger.nbytes_per_token
    t.equal("room after one token, in tokens", room, 256, mistakes={"reserves_too_much": lambda n: n > 256})


@preallocated.case("two caches share nothing")
def _(answer, t):
    two_caches_share_nothing(lambda: answer(step=8), t)


@preallocated.case("more updates, until the room is full to the last place")
def _(answer, t):
    ledger = Ledger(t, answer(step=8))
    for L in (3, 2, 1, 2):
        ledger.append(L, _mistakes)
        ledger.offset({"not_advanced": 0})


@preallocated.case("one token more than fits: the cache grows and keeps everything")
def _(answer, t):
    for filled in (8, 5):
        ledger = Ledger(t, answer(step=8))
        ledger.append(filled)
        ledger.append(9 - filled, _mistakes)
        ledger.append(1, _mistakes)


@preallocated.case(
    "updates longer than a step", errors={"one_step_only": r"ValueError.*([Bb]roadcast|shape)"}
)
def _(answer, t):
    ledger = Ledger(t, answer(step=4))
    for L in (11, 1, 9, 4):
        ledger.append(L, _mistakes)


@preallocated.case("the room grows in whole steps, and not with every token")
def _(answer, t):
    cache = answer(step=16)
    t.equal("cache.nbytes of a new cache", cache.nbytes, 0, mistakes={"reserves_too_much": lambda n: n > 0})
    ledger = Ledger(t, cache)
    rooms = []
    for _ in range(64):
        ledger.append(1)
        rooms.append(cache.nbytes // ledger.nbytes_per_token)
        what = f"Room for {rooms[-1]} tokens (nbytes {cache.nbytes}) while {ledger.cache.offset} are held"
        t.true(rooms[-1] >= len(rooms), f"{what}: too little.", "nbytes")
        t.true(rooms[-1] - len(rooms) < 16, f"{what}, step 16.", "reserves_too_much")
    t.true(
        len(set(rooms)) <= 4,
        f"64 tokens, one by one, made the room grow {len(set(rooms))} times.\nWanted: 4 times, by 16 tokens.",
        "grows_every_time",
    )


@preallocated.case("100 updates of 1 to 30 tokens, for steps of 1, 3, 16 and 256")
def _(answer, t):
    for step in (1, 3, 16, 256):
        ledger = Ledger(t, answer(step=step), B=2, H_kv=3, D=4)
        for _ in range(25):
            ledger.append(int(t.rng.integers(1, 31)), _mistakes)
        ledger.offset()


@preallocated.case(
    "float16, and values of another head size than the keys",
    errors={"value_size": r"ValueError.*([Bb]roadcast|shape|[Cc]oncatenate)"},
)
def _(answer, t):
    half = Ledger(t, answer(step=4), dtype=mx.float16)
    other = Ledger(t, answer(step=4), D=4, D_v=6)
    for ledger in (half, other):
        for L in (2, 1, 3):
            ledger.append(L, _mistakes)


@preallocated.case("trim forgets the newest tokens, and the next update takes their place")
def _(answer, t):
    ledger = Ledger(t, answer(step=8))
    ledger.append(5)
    before = ledger.columns[:]
    ledger.trim(2)

    def mistakes(which, old, new):
        every = mx.array(np.stack([c[which == "values"] for c in before], axis=2).astype(np.float32))
        return {
            "trim_wrong_end": mx.concatenate([every[:, :, 2:], new], axis=2),
            "trim_ignored": lambda y: _is(y) and y.shape[2] >= 4 and _equal(y[:, :, :4], every[:, :, :4]),
        }

    ledger.append(1, mistakes)
    ledger.trim(0)
    ledger.append(6, _mistakes)
    ledger.trim(100)
    ledger.append(2, _mistakes)


@preallocated.case("a negative trim is an error")
def _(answer, t):
    cache = answer(step=8)
    Ledger(t, cache).append(2)
    t.raises(ValueError, lambda: cache.trim(-1), "trim(-1)")


@preallocated.case("nothing that was handed out changes later")
def _(answer, t):
    for step in (4, 5):
        ledger = Ledger(t, answer(step=step), B=2)
        for L, n in ((4, 2), (2, 0), (1, 1), (3, 4), (5, 8), (8, 1), (1, 0)):
            ledger.append(L)
            ledger.trim(n)
        ledger.append(1)
        ledger.results_still_stand("aliased")


def _is(y) -> bool:
    return isinstance(y, mx.array) and y.ndim == 4


def _equal(a, b) -> bool:
    return a.shape == b.shape and bool(mx.array_equal(a, b).item())
