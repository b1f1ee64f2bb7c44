"""One layer's keys and values in a pool of slots."""

import mlx.core as mx
import numpy as np

from ....techniques.paged_kv import PagedKVCache
from ...exercise import Exercise
from ...mismatch import as_numpy
from .names import NAMES

pool = Exercise(
    "paged_kv_cache.pool",
    "Keys and values in a pool of slots",
    name="PagedKVCache",
    reference=PagedKVCache,
    names=NAMES,
    mistakes={
        "swapped": "Keys and values have changed places.",
        "axes": (
            "`pool[slots]` is [B, S, H_kv, D]; attention wants the heads before the tokens. Swap axes 1 and 2."
        ),
        "in_order": "The slots are ignored: tokens were written one behind the other. Token i goes to slots[i].",
        "replaced": (
            "What other slots held is gone. `write` changes the slots it is given and leaves the rest of the "
            "pool alone."
        ),
        "one_slot": (
            "Only one token was copied. Block b is the slots b * block_size to (b + 1) * block_size - 1: copy "
            "them all."
        ),
        "slot_numbers": (
            "`copy_block` was given block numbers and used them as slots. Block b begins at slot b * block_size."
        ),
        "backwards": "The copy went the wrong way: `copy_block(source, target)` leaves the source as it is.",
        "keys_only": "The keys were copied, the values were not.",
    },
)

H_KV, D, SIZE, BLOCKS = 2, 4, 4, 5


class _Slots:
    """A pool beside a NumPy copy of what it must hold."""

    def __init__(self, t, make, dtype=mx.float32):
        self.t, self.dtype = t, dtype
        self.cache = make(BLOCKS, SIZE, H_KV, D, dtype)
        self.held = np.zeros((2, BLOCKS * SIZE, H_KV, D), np.float32)
        self.last = None

    def write(self, slots):
        new = [self.t.normal(name, len(slots), H_KV, D, dtype=self.dtype) for name in ("keys", "values")]
        self.last = self.held.copy(), slots, new
        self.cache.write(mx.array(slots), *new)
        for which in (0, 1):
            self.held[which, slots] = as_numpy(new[which])

    def read(self, slots, what="gather(slots)", mistakes=lambda which, wants: {}):
        given = self.cache.gather(mx.array(slots))
        self.t.true(
            isinstance(given, (tuple, list)) and len(given) == 2,
            f"{what} is {given!r:.80}.\nWanted: a pair, keys and values.",
        )
        flat = [self.held[which][np.array(slots)] for which in (0, 1)]  # [B, S, H_kv, D]
        wants = [mx.array(x.swapaxes(1, 2)).astype(self.dtype) for x in flat]
        for which, name in enumerate(("keys", "values")):
            named = {
                "axes": lambda y, which=which: (
                    isinstance(y, mx.array) and y.shape == flat[which].shape != wants[which].shape
                ),
                "swapped": wants[1 - which],
                **mistakes(which, wants),
            }
            self.t.close(f"{name} of {what}", given[which], wants[which], mistakes=named)

    def written_wrong(self, slots):
        """What known mistakes of the latest write would give at these slots."""
        before, at, new = self.last

        def of(which, wants):
            ordered, alone = before[which].copy(), np.zeros_like(before[which])
            ordered[: len(at)] = alone[at] = as_numpy(new[which])
            alone[at] = as_numpy(new[which])
            return {
                name: mx.array(x[np.array(slots)].swapaxes(1, 2)).astype(self.dtype)
                for name, x in (("in_order", ordered), ("replaced", alone))
            }

        return of

    def copy_block(self, source, target):
        self.cache.copy_block(source, target)
        before = self.held.copy()
        places = [slice(b * SIZE, (b + 1) * SIZE) for b in (source, target)]
        self.held[:, places[1]] = before[:, places[0]]
        wrong = {name: before.copy() for name in ("one_slot", "slot_numbers", "backwards", "keys_only")}
        wrong["one_slot"][:, target * SIZE] = before[:, source * SIZE]
        wrong["slot_numbers"][:, target] = before[:, source]
        wrong["backwards"][:, places[0]] = before[:, places[1]]
        wrong["keys_only"][0] = self.held[0]
        every = [list(range(BLOCKS * SIZE))]

        def of(which, wants):
            return {
                name: mx.array(x[which][np.array(every)].swapaxes(1, 2)).astype(self.dtype)
                for name, x in wrong.items()
                if not np.array_equal(x[which], self.held[which])
            }

        self.read(every, f"gather(all slots) after copy_block({source}, {target})", of)


@pool.case("what is written comes back, in the order that is asked for")
def _(answer, t):
    slots = _Slots(t, answer)
    slots.write([0, 1, 2])
    slots.read([[0, 1, 2]])
    slots.read([[2, 0]])


@pool.case("slots anywhere in the pool, some written twice")
def _(answer, t):
    slots = _Slots(t, answer)
    slots.write([17, 3, 4, 12, 0])
    slots.read([[17, 3, 4, 12, 0]], mistakes=slots.written_wrong([[17, 3, 4, 12, 0]]))
    slots.write([4, 19])
    slots.read([[3, 4, 19, 17, 0]], mistakes=slots.written_wrong([[3, 4, 19, 17, 0]]))


@pool.case("several rows at once, the same slot in more than one of them")
def _(answer, t):
    slots = _Slots(t, answer)
    slots.write([8, 9, 10, 11, 2])
    slots.read([[8, 9, 2], [8, 9, 11]], "gather([[8, 9, 2], [8, 9, 11]])")


@pool.case("copy_block copies a block's keys and values, and nothing else")
def _(answer, t):
    slots = _Slots(t, answer)
    slots.write(list(range(BLOCKS * SIZE)))
    slots.copy_block(1, 3)
    slots.copy_block(4, 0)


@pool.case("what was gathered does not change with later writes")
def _(answer, t):
    slots = _Slots(t, answer)
    slots.write([1, 2])
    given = slots.cache.gather(mx.array([[1, 2]]))
    before = [as_numpy(x) for x in given]
    slots.write([1, 2])
    mx.eval(given)
    same = all(np.array_equal(as_numpy(x), y) for x, y in zip(given, before))
    t.true(same, "What gather returned has changed since: a later write went into it.")


@pool.case("a random mix, in float16 too")
def _(answer, t):
    for dtype in (mx.float32, mx.float16):
        slots = _Slots(t, answer, dtype)
        for _ in range(30):
            if t.rng.random() < 0.7:
                slots.write(t.rng.permutation(BLOCKS * SIZE)[: int(t.rng.integers(1, 7))].tolist())
            else:
                source, target = t.rng.permutation(BLOCKS)[:2].tolist()
                slots.copy_block(source, target)
            slots.read(t.rng.integers(0, BLOCKS * SIZE, (2, 5)).tolist())


@pool.case("two layers' pools share nothing, and nbytes counts keys and values")
def _(answer, t):
    one, other = _Slots(t, answer), _Slots(t, answer)
    one.write([0, 1])
    other.write([1, 2])
    one.read([[0, 1]])
    other.read([[1, 2]])
    t.equal(
        "nbytes of a pool of 5 blocks of 4, 2 heads of size 4, float32", one.cache.nbytes, 2 * 5 * 4 * 2 * 4 * 4
    )
