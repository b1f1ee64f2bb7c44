"""The sliding window."""

import mlx.core as mx
import numpy as np

from .. import mutant, rival

WINDOW = "kv_cache.sliding_window"


class _Window:
    """Right in itself; mutants change one method. Remembers the position of every key it holds."""

    def __init__(self, window, sinks=4):
        self.window, self.sinks, self.offset = window, sinks, 0
        self.held = None
        self.positions = []

    def sees(self, p, j):
        return j <= p and (j < self.sinks or j > p - self.window)

    def make_mask(self, L):
        new = range(self.offset, self.offset + L)
        return mx.array(np.array([[self.sees(p, j) for j in [*self.positions, *new]] for p in new]))

    def stays(self, j, end):
        return j < self.sinks or j > end - self.window

    def update_and_fetch(self, keys, values):
        L = keys.shape[2]
        news = (keys, values)
        if self.held is not None:
            news = tuple(mx.concatenate([a, b], axis=2) for a, b in zip(self.held, news))
        positions = [*self.positions, *range(self.offset, self.offset + L)]
        self.offset += L
        stay = [i for i, j in enumerate(positions) if self.stays(j, self.offset)]
        self.positions = [positions[i] for i in stay]
        self.held = tuple(mx.take(x, mx.array(stay, dtype=mx.int32), axis=2) for x in news)
        return news

    @property
    def nbytes(self):
        return 0 if self.held is None else sum(x.nbytes for x in self.held)


@mutant(WINDOW, "sinks_lost")
class WindowWithoutSinks(_Window):
    def stays(self, j, end):
        return j > end - self.window


@mutant(WINDOW, "too_long")
class WindowOneTooLong(_Window):
    def sees(self, p, j):
        return j <= p and (j < self.sinks or j >= p - self.window)

    def stays(self, j, end):
        return j < self.sinks or j >= end - self.window


@mutant(WINDOW, "too_long")
class WindowThatNeverCloses(_Window):
    def sees(self, p, j):
        return j <= p

    def stays(self, j, end):
        return True


@mutant(WINDOW, "too_short")
class WindowOneTooShort(_Window):
    def sees(self, p, j):
        return j <= p and (j < self.sinks or j > p - self.window + 1 or j == p)


@mutant(WINDOW, "offset_stuck")
class WindowCountsHeld(_Window):
    seen = 0

    def make_mask(self, L):
        self.offset = self.seen
        return super().make_mask(L)

    def update_and_fetch(self, keys, values):
        self.offset = self.seen
        result = super().update_and_fetch(keys, values)
        self.seen, self.offset = self.offset, len(self.positions)
        return result


@mutant(WINDOW, "mask_missing")
class WindowWithoutMask(_Window):
    def make_mask(self, L):
        return None if L == 1 else "causal"


@mutant(WINDOW, "cut_early")
class WindowCutsBefore(_Window):
    """Cuts to the last new token's window before it returns."""

    def _left(self, L):
        new = range(self.offset, self.offset + L)
        return [j for j in [*self.positions, *new] if self.stays(j, self.offset + L - 1)]

    def make_mask(self, L):
        new = range(self.offset, self.offset + L)
        # A query left without a key would give NaN.
        return mx.array(
            np.array([[self.sees(p, j) or p < min(self._left(L)) for j in self._left(L)] for p in new])
        )

    def update_and_fetch(self, keys, values):
        left, held = self._left(keys.shape[2]), self.positions
        everything = [*held, *range(self.offset, self.offset + keys.shape[2])]
        result = super().update_and_fetch(keys, values)
        places = mx.array([everything.index(j) for j in left], dtype=mx.int32)
        return tuple(mx.take(x, places, axis=2) for x in result)


@mutant(WINDOW, "unbounded")
class WindowByMaskAlone(_Window):
    def stays(self, j, end):
        return True


@mutant(WINDOW, "nbytes")
class WindowCountsKeysOnly(_Window):
    @property
    def nbytes(self):
        return 0 if self.held is None else self.held[0].nbytes


@mutant(WINDOW, None)
class WindowWithoutDefault(_Window):
    def __init__(self, window, sinks):
        super().__init__(window, sinks)


@rival(WINDOW)
class Ring:
    """Slots that are written round and round; their order is not that of the text."""

    def __init__(self, window, sinks=4):
        self.window, self.sinks, self.offset = window, sinks, 0
        self.slots = {}

    def _slot(self, position):
        return position if position < self.sinks else self.sinks + (position - self.sinks) % self.window

    def make_mask(self, L):
        new = range(self.offset, self.offset + L)
        keys = [*(p for p, _, _ in self.slots.values()), *new]
        rows = [[j <= p and (j < self.sinks or p - j < self.window) for j in keys] for p in new]
        return mx.array(np.array(rows))

    def update_and_fetch(self, keys, values):
        held = list(self.slots.values())
        returned = (
            mx.concatenate([*(k for _, k, _ in held), keys], axis=2),
            mx.concatenate([*(v for _, _, v in held), values], axis=2),
        )
        for i in range(keys.shape[2]):
            part = slice(i, i + 1)
            self.slots[self._slot(self.offset)] = (self.offset, keys[:, :, part], values[:, :, part])
            self.offset += 1
        return returned

    @property
    def nbytes(self):
        return sum(k.nbytes + v.nbytes for _, k, v in self.slots.values())
