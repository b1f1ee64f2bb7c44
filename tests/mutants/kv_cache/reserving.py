"""The cache that reserves room ahead."""

import mlx.core as mx
from mlx_lm.models.cache import KVCache as MlxLmCache

from .. import mutant, rival

ROOM = "kv_cache.preallocated"


class _Room:
    """Right in itself; mutants change one method."""

    def __init__(self, step=256):
        self.step, self.offset = step, 0
        self.buffers = None

    def room(self, new, count):
        return mx.zeros((*new.shape[:2], count, new.shape[3]), new.dtype)

    def capacity(self):
        return 0 if self.buffers is None else self.buffers[0].shape[2]

    def steps(self, end):
        return -(-end // self.step) * self.step

    def grow(self, news, end):
        size = self.steps(end)
        bigger = [self.room(x, size) for x in news]
        if self.buffers is not None:
            for new, old in zip(bigger, self.buffers):
                new[:, :, : self.offset] = old[:, :, : self.offset]
        self.buffers = bigger

    def start(self):
        return self.offset

    def update_and_fetch(self, keys, values):
        at = self.start()
        end = at + keys.shape[2]
        if end > self.capacity():
            self.grow((keys, values), end)
        for buffer, new in zip(self.buffers, (keys, values)):
            buffer[:, :, at:end] = new
        self.offset = end
        return self.fetch()

    def fetch(self):
        return tuple(x[:, :, : self.offset] for x in self.buffers)

    def trim(self, n):
        if n < 0:
            raise ValueError(f"cannot trim {n}")
        n = min(n, self.offset)
        self.offset -= n
        return n

    @property
    def nbytes(self):
        return 0 if self.buffers is None else sum(x.nbytes for x in self.buffers)


@mutant(ROOM, "swapped")
class RoomSwaps(_Room):
    def fetch(self):
        return super().fetch()[::-1]


@mutant(ROOM, "whole_buffer")
class RoomReturnsAll(_Room):
    def fetch(self):
        return tuple(x[...] for x in self.buffers)


@mutant(ROOM, "from_start")
class RoomWritesAtZero(_Room):
    def update_and_fetch(self, keys, values):
        L, before = keys.shape[2], self.offset
        if before + L > self.capacity():
            self.grow((keys, values), before + L)
        for buffer, new in zip(self.buffers, (keys, values)):
            buffer[:, :, :L] = new
        self.offset = before + L
        return self.fetch()


@mutant(ROOM, "lost_on_growth")
class RoomGrowsEmpty(_Room):
    def grow(self, news, end):
        self.buffers = [self.room(x, self.steps(end)) for x in news]


@mutant(ROOM, "lost_on_growth")
class RoomLosesTheTail(_Room):
    """Keeps whole steps only: what stood in the last, begun step is gone."""

    def grow(self, news, end):
        kept = self.offset // self.step * self.step
        bigger = [self.room(x, self.steps(end)) for x in news]
        for new, old in zip(bigger, self.buffers or bigger):
            new[:, :, :kept] = old[:, :, :kept]
        self.buffers = bigger


@mutant(ROOM, None)
class RoomWithoutDefault(_Room):
    def __init__(self, step):
        super().__init__(step)


@mutant(ROOM, "one_step_only")
class RoomGrowsOneStep(_Room):
    def grow(self, news, end):
        room = [self.room(x, self.step) for x in news]
        if self.buffers is None:
            self.buffers = room
        else:
            self.buffers = [
                mx.concatenate([x[:, :, : self.offset], r], axis=2) for x, r in zip(self.buffers, room)
            ]


@mutant(ROOM, "not_advanced")
class RoomNeverAdvances(_Room):
    def __init__(self, step=256):
        super().__init__(step)
        self.held, self.offset = 0, 0

    def update_and_fetch(self, keys, values):
        self.offset = self.held
        result = super().update_and_fetch(keys, values)
        self.held, self.offset = self.offset, 0
        return result


@mutant(ROOM, "grows_every_time")
class RoomGrowsByOne(_Room):
    def steps(self, end):
        return end


@mutant(ROOM, "grows_every_time")
class RoomHidesItsSize(_Room):
    @property
    def nbytes(self):
        return 0 if self.buffers is None else sum(x[:, :, : self.offset].nbytes for x in self.buffers)


@mutant(ROOM, "reserves_too_much")
class RoomDoubles(_Room):
    def steps(self, end):
        size = self.step
        while size < end:
            size *= 2
        return size


@mutant(ROOM, "reserves_too_much")
class RoomForEver(_Room):
    def steps(self, end):
        return max(end, 4096)


@mutant(ROOM, "nbytes")
class RoomCountsKeysOnly(_Room):
    @property
    def nbytes(self):
        return 0 if self.buffers is None else self.buffers[0].nbytes


@mutant(ROOM, "aliased")
class RoomHandsOutItsBuffer(_Room):
    def fetch(self):
        if self.offset == self.capacity():
            return tuple(self.buffers)
        return super().fetch()


@mutant(ROOM, "changed_input")
class RoomMovesIntoTheFirstArrays(_Room):
    """The first arrays that come in become the buffer, and later updates write into them."""

    def grow(self, news, end):
        if self.buffers is None and news[0].shape[2] % self.step == 0:
            self.buffers = list(news)
        else:
            super().grow(news, end)


@mutant(ROOM, "shared")
class RoomOnTheClass(_Room):
    """The buffers lie in a list of the class: a second cache writes into the first one's room."""

    shelf = [None]

    @property
    def buffers(self):
        return self.shelf[0]

    @buffers.setter
    def buffers(self, new):
        if new is not None:  # what __init__ says
            self.shelf[0] = new

    @property
    def nbytes(self):
        return super().nbytes if self.offset else 0


@mutant(ROOM, "dtype")
class RoomIsFloat32(_Room):
    def room(self, new, count):
        return mx.zeros((*new.shape[:2], count, new.shape[3]))


@mutant(ROOM, "value_size")
class RoomByKeys(_Room):
    def grow(self, news, end):
        keys, _ = news
        super().grow((keys, keys), end)


@mutant(ROOM, "trim_ignored")
class RoomWritesBehindTrimmed(_Room):
    written = 0

    def update_and_fetch(self, keys, values):
        kept, L = self.offset, keys.shape[2]
        self.offset = self.written
        super().update_and_fetch(keys, values)
        self.written, self.offset = self.offset, kept + L
        return self.fetch()

    def trim(self, n):
        return super().trim(n)


@mutant(ROOM, "trim_wrong_end")
class RoomTrimsOldest(_Room):
    def trim(self, n):
        n = super().trim(n)
        self.buffers = [mx.concatenate([x[:, :, n:], x[:, :, :n]], axis=2) for x in self.buffers]
        return n


@mutant(ROOM, "trim_offset")
class RoomKeepsOffset(_Room):
    def trim(self, n):
        if n < 0:
            raise ValueError(n)
        return min(n, self.offset)


@mutant(ROOM, "trim_returns")
class RoomReturnsWish(_Room):
    def trim(self, n):
        super().trim(n)
        return n


@mutant(ROOM, None)
class RoomTrimsNegative(_Room):
    def trim(self, n):
        return super().trim(abs(n))


@rival(ROOM)
class OneStepAtATime(MlxLmCache):
    """mlx-lm's own cache, with this exercise's promises: a step of one's own, slices, an error."""

    def __init__(self, step=256):
        super().__init__()
        self.step = step

    def update_and_fetch(self, keys, values):
        return tuple(x[...] for x in super().update_and_fetch(keys, values))

    def trim(self, n):
        if n < 0:
            raise ValueError(f"n={n} is negative")
        return super().trim(n)


@rival(ROOM)
class BlocksAndTables:
    """Blocks of `step` tokens that never move; joined for each answer."""

    def __init__(self, step=256):
        self.step, self.offset, self.blocks = step, 0, []

    def update_and_fetch(self, keys, values):
        for i in range(keys.shape[2]):
            block, place = divmod(self.offset, self.step)
            if block == len(self.blocks):
                self.blocks.append(
                    [mx.zeros((*x.shape[:2], self.step, x.shape[3]), x.dtype) for x in (keys, values)]
                )
            for held, new in zip(self.blocks[block], (keys, values)):
                held[:, :, place] = new[:, :, i]
            self.offset += 1
        return tuple(mx.concatenate([b[i] for b in self.blocks], axis=2)[:, :, : self.offset] for i in (0, 1))

    def trim(self, n):
        if n < 0:
            raise ValueError("negative")
        gone = min(n, self.offset)
        self.offset -= gone
        return gone

    @property
    def nbytes(self):
        return sum(x.nbytes for block in self.blocks for x in block)
