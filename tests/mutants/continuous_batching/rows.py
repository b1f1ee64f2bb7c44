"""The batched cache."""

import mlx.core as mx

from course_lib.techniques.batched_kv_cache import BatchedKVCache

from .. import mutant, rival

ROWS = "continuous_batching.batched_cache"


class _Rows:
    """Right in itself, in the notebook's manner; mutants change one method."""

    def __init__(self, max_rows, step=256):
        self.max_rows, self.step, self.lengths = max_rows, step, []
        self.keys = self.values = None

    def add(self):
        if len(self.lengths) == self.max_rows:
            raise ValueError("full")
        self.lengths.append(0)
        return len(self.lengths) - 1

    def remove(self, row):
        last = self.last(row)
        length = self.lengths.pop()
        if row != last:
            self.lengths[row] = length
            self.move(last, row)
        return last

    def last(self, row):
        if not 0 <= row < len(self.lengths):
            raise ValueError(f"no row {row}")
        return len(self.lengths) - 1

    def move(self, last, row):
        if self.keys is not None:
            self.keys[row] = self.keys[last]
            self.values[row] = self.values[last]

    def start(self, row):
        return self.lengths[row]

    def append(self, first, keys, values):
        L = keys.shape[2]
        self.make_room(keys, values, max(self.lengths) + L)
        for i in range(keys.shape[0]):
            at = self.start(first + i)
            self.keys[first + i, :, at : at + L] = keys[i]
            self.values[first + i, :, at : at + L] = values[i]
        for i in range(keys.shape[0]):
            self.lengths[first + i] += L

    def fetch(self, first, rows):
        S = max(self.lengths[first : first + rows])
        return self.keys[first : first + rows, :, :S], self.values[first : first + rows, :, :S]

    def make_room(self, keys, values, end):
        room = -(-end // self.step) * self.step
        for name, new in (("keys", keys), ("values", values)):
            bigger = mx.zeros((self.max_rows, new.shape[1], room, new.shape[3]), new.dtype)
            held = getattr(self, name)
            if held is not None:
                if held.shape[2] >= room:
                    continue
                bigger[:, :, : held.shape[2]] = held
            setattr(self, name, bigger)

    @property
    def nbytes(self):
        return 0 if self.keys is None else self.keys.nbytes + self.values.nbytes

    @property
    def nbytes_used(self):
        if self.keys is None:
            return 0
        return self.nbytes // (self.max_rows * self.keys.shape[2]) * sum(self.lengths)


@mutant(ROWS, "not_cleared")
class KeepsOldLength(_Rows):
    """The lengths of rows that are free stay behind, and are taken up again."""

    def __init__(self, *args):
        super().__init__(*args)
        self.old = {}

    def add(self):
        row = super().add()
        self.lengths[row] = self.old.pop(row, 0)
        return row

    def remove(self, row):
        self.old[len(self.lengths) - 1] = self.lengths[-1]
        return super().remove(row)


@mutant(ROWS, "not_cleared")
class WritesBehindTheOld(_Rows):
    """The length is 0, but the place to write at is counted apart, and not set back."""

    def __init__(self, *args):
        super().__init__(*args)
        self.written = [0] * self.max_rows

    def start(self, row):
        return self.written[row]

    def append(self, first, keys, values):
        R, _, L, _ = keys.shape
        self.make_room(keys, values, max(self.written) + L)
        for i in range(R):
            at = self.written[first + i]
            self.keys[first + i, :, at : at + L] = keys[i]
            self.values[first + i, :, at : at + L] = values[i]
            self.written[first + i] += L
            self.lengths[first + i] += L

    def move(self, last, row):
        super().move(last, row)
        self.written[row] = self.written[last]


@mutant(ROWS, "not_moved")
class MovesLengthOnly(_Rows):
    def move(self, last, row):
        pass


@mutant(ROWS, "not_moved")
class MovesKeysOnly(_Rows):
    def move(self, last, row):
        self.keys[row] = self.keys[last]


@mutant(ROWS, "moved_down")
class MovesAllDown(_Rows):
    def remove(self, row):
        last = self.last(row)
        del self.lengths[row]
        for i in range(row, last):
            self.move(i + 1, i)
        return last


@mutant(ROWS, "ghost")
class NeverLeaves(_Rows):
    def remove(self, row):
        return self.last(row)


@mutant(ROWS, "same_place")
class WritesAtTheLongest(_Rows):
    def start(self, row):
        return max(self.lengths)


@mutant(ROWS, "from_start")
class WritesAtZero(_Rows):
    def start(self, row):
        return 0


@mutant(ROWS, "first_ignored")
class AlwaysFromRowZero(_Rows):
    def append(self, first, keys, values):
        super().append(0, keys, values)


@mutant(ROWS, "first_ignored")
class FetchesFromRowZero(_Rows):
    def fetch(self, first, rows):
        S = max(self.lengths[first : first + rows])
        return self.keys[:rows, :, :S], self.values[:rows, :, :S]


@mutant(ROWS, "first_ignored")
class FetchesAllRows(_Rows):
    def fetch(self, first, rows):
        S = max(self.lengths[first : first + rows])
        return self.keys[: len(self.lengths), :, :S], self.values[: len(self.lengths), :, :S]


@mutant(ROWS, "not_advanced")
class NeverAdvances(_Rows):
    def append(self, first, keys, values):
        held = list(self.lengths)
        super().append(first, keys, values)
        self.lengths = held


@mutant(ROWS, "all_advanced")
class AdvancesAll(_Rows):
    def append(self, first, keys, values):
        held = list(self.lengths)
        super().append(first, keys, values)
        self.lengths = [n + keys.shape[2] for n in held]


@mutant(ROWS, "shortest")
class FetchesTheShortest(_Rows):
    def fetch(self, first, rows):
        S = min(self.lengths[first : first + rows])
        return self.keys[first : first + rows, :, :S], self.values[first : first + rows, :, :S]


@mutant(ROWS, "whole_room")
class FetchesTheRoom(_Rows):
    def fetch(self, first, rows):
        return self.keys[first : first + rows], self.values[first : first + rows]


@mutant(ROWS, "whole_room")
class FetchesTheLongestOfAll(_Rows):
    def fetch(self, first, rows):
        S = max(self.lengths)
        return self.keys[first : first + rows, :, :S], self.values[first : first + rows, :, :S]


@mutant(ROWS, "overfull")
class NeverFull(_Rows):
    def add(self):
        self.lengths.append(0)
        return len(self.lengths) - 1


@mutant(ROWS, "swapped")
class Swaps(_Rows):
    def fetch(self, first, rows):
        return super().fetch(first, rows)[::-1]


@mutant(ROWS, "returns_row")
class AddReturnsHowMany(_Rows):
    def add(self):
        return super().add() + 1


@mutant(ROWS, "returns_row")
class RemoveReturnsTheGap(_Rows):
    def remove(self, row):
        super().remove(row)
        return row


@mutant(ROWS, None)
class NegativeRows(_Rows):
    def last(self, row):
        return len(self.lengths) - 1


@mutant(ROWS, None)
class LosesOnGrowth(_Rows):
    def make_room(self, keys, values, end):
        if self.keys is not None and self.keys.shape[2] < end:
            self.keys = self.values = None
        super().make_room(keys, values, end)


@mutant(ROWS, "changed_input")
class TakesTheFirstArrays(_Rows):
    """A single row's first arrays become its room."""

    def append(self, first, keys, values):
        if self.max_rows == keys.shape[0] == 1 or (self.keys is None and keys.shape[2] == self.step):
            self.make_room(keys, values, keys.shape[2])
        super().append(first, keys, values)
        keys[:, :, :1] = 0


@rival(ROWS)
class OneArrayARow:
    """No room ahead, no moving of data: a list of arrays, joined with zeros for each answer."""

    def __init__(self, max_rows, step=256):
        self.max_rows, self.held = max_rows, []

    @property
    def lengths(self):
        return [0 if pair is None else pair[0].shape[1] for pair in self.held]

    def add(self):
        if len(self.held) >= self.max_rows:
            raise ValueError(f"{self.max_rows} rows are in use")
        self.held.append(None)
        return len(self.held) - 1

    def remove(self, row):
        if row not in range(len(self.held)):
            raise ValueError(f"no row {row}")
        last = self.held.pop()
        if row < len(self.held):
            self.held[row] = last
        return len(self.held)

    def append(self, first, keys, values):
        for i in range(keys.shape[0]):
            new, old = (keys[i], values[i]), self.held[first + i]
            if old is not None:
                new = tuple(mx.concatenate(pair, axis=1) for pair in zip(old, new))
            self.held[first + i] = new

    def fetch(self, first, rows):
        asked = self.held[first : first + rows]
        S = max(pair[0].shape[1] for pair in asked if pair)
        some = next(pair for pair in asked if pair)
        empty = tuple(x[:, :0] for x in some)
        return tuple(
            mx.stack(
                [mx.pad(x[i], ((0, 0), (0, S - x[i].shape[1]), (0, 0))) for x in (p or empty for p in asked)]
            )
            for i in (0, 1)
        )

    @property
    def nbytes(self):
        return self.nbytes_used

    @property
    def nbytes_used(self):
        return sum(x.nbytes for pair in self.held if pair for x in pair)


@rival(ROWS)
class TheReferenceOnItsOwnStep(BatchedKVCache):
    def __init__(self, max_rows, step=256):
        super().__init__(max_rows, 1)
