"""The concatenating cache."""

import mlx.core as mx
import numpy as np

from .. import mutant, rival

CONCAT = "kv_cache.concat"


class _Concat:
    """Right in itself; mutants change one method."""

    def __init__(self):
        self.offset = 0
        self.keys = self.values = None

    def join(self, held, new):
        return new if held is None else mx.concatenate([held, new], axis=2)

    def update_and_fetch(self, keys, values):
        self.keys, self.values = self.join(self.keys, keys), self.join(self.values, values)
        self.offset += keys.shape[2]
        return self.keys, self.values

    def trim(self, n):
        if n < 0:
            raise ValueError(f"cannot trim {n}")
        n = min(n, self.offset)
        self.offset -= n
        if self.keys is not None:
            self.keys, self.values = (x[:, :, : self.offset] for x in (self.keys, self.values))
        return n

    @property
    def nbytes(self):
        return 0 if self.keys is None else self.keys.nbytes + self.values.nbytes


@mutant(CONCAT, "swapped")
class ConcatSwaps(_Concat):
    def update_and_fetch(self, keys, values):
        return super().update_and_fetch(keys, values)[::-1]


@mutant(CONCAT, "only_new")
class ConcatReturnsNew(_Concat):
    def update_and_fetch(self, keys, values):
        super().update_and_fetch(keys, values)
        return keys, values


@mutant(CONCAT, "newest_first")
class ConcatNewestFirst(_Concat):
    def join(self, held, new):
        return new if held is None else mx.concatenate([new, held], axis=2)


@mutant(CONCAT, "wrong_axis")
class ConcatAxisOne(_Concat):
    def join(self, held, new):
        return new if held is None else mx.concatenate([held, new], axis=1)


@mutant(CONCAT, "wrong_axis")
class ConcatLastAxisOfEqual(_Concat):
    def join(self, held, new):
        L = new.shape[2]
        return new if held is None else mx.concatenate([held[:, :, :L], new], axis=-1)


@mutant(CONCAT, "not_advanced")
class ConcatNeverAdvances(_Concat):
    def update_and_fetch(self, keys, values):
        result = super().update_and_fetch(keys, values)
        self.offset = 0
        return result


@mutant(CONCAT, "counts_updates")
class ConcatCountsUpdates(_Concat):
    def update_and_fetch(self, keys, values):
        before = self.offset
        result = super().update_and_fetch(keys, values)
        self.offset = before + 1
        return result


@mutant(CONCAT, "shared")
class ConcatShares:
    offset = 0
    parts = []

    def __init__(self):
        # A list on the class: cleared here, so that one cache alone looks right.
        self.parts.clear()

    def update_and_fetch(self, keys, values):
        self.parts.append((keys, values))
        self.offset += keys.shape[2]
        return tuple(mx.concatenate([p[i] for p in self.parts], axis=2) for i in (0, 1))

    def trim(self, n):
        raise NotImplementedError

    nbytes = property(lambda self: sum(x.nbytes for p in self.parts for x in p))


@mutant(CONCAT, "trim_wrong_end")
class ConcatTrimsOldest(_Concat):
    def trim(self, n):
        n = min(n, self.offset)
        self.offset -= n
        self.keys, self.values = self.keys[:, :, n:], self.values[:, :, n:]
        return n


@mutant(CONCAT, "trim_stale")
class ConcatTrimsOffsetOnly(_Concat):
    def trim(self, n):
        n = min(n, self.offset)
        self.offset -= n
        return n


@mutant(CONCAT, "trim_offset")
class ConcatForgetsOffset(_Concat):
    def trim(self, n):
        offset = self.offset
        n = super().trim(n)
        self.offset = offset
        return n


@mutant(CONCAT, "trim_zero")
class ConcatTrimsByMinus(_Concat):
    def trim(self, n):
        n = min(n, self.offset)
        self.offset -= n
        self.keys, self.values = self.keys[:, :, :-n], self.values[:, :, :-n]
        return n


@mutant(CONCAT, "trim_returns")
class ConcatReturnsOffset(_Concat):
    def trim(self, n):
        super().trim(n)
        return self.offset


@mutant(CONCAT, "trim_returns")
class ConcatReturnsWish(_Concat):
    def trim(self, n):
        super().trim(n)
        return n


@mutant(CONCAT, None)
class ConcatTrimsNegative(_Concat):
    def trim(self, n):
        return super().trim(max(0, n))


@mutant(CONCAT, "nbytes")
class ConcatCountsKeysOnly(_Concat):
    @property
    def nbytes(self):
        return 0 if self.keys is None else self.keys.nbytes


@rival(CONCAT)
class ListOfParts:
    """Keeps the parts in NumPy and joins them only when asked."""

    def __init__(self):
        self.tokens = []

    @property
    def offset(self):
        return len(self.tokens)

    def update_and_fetch(self, keys, values):
        k, v = np.array(keys), np.array(values)
        self.tokens.extend((k[:, :, i : i + 1], v[:, :, i : i + 1]) for i in range(k.shape[2]))
        return tuple(mx.array(np.concatenate([t[i] for t in self.tokens], axis=2)) for i in (0, 1))

    def trim(self, n):
        if n < 0:
            raise ValueError("n must not be negative")
        before = len(self.tokens)
        self.tokens = self.tokens[: max(0, before - n)]
        return before - len(self.tokens)

    @property
    def nbytes(self):
        return sum(k.nbytes + v.nbytes for k, v in self.tokens)
