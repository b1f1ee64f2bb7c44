"""Attention of a ragged step."""

import mlx.core as mx
import numpy as np

from .. import mutant, rival

RAGGED = "chunked_prefill.ragged_layer"


class _Ragged:
    """Right in itself; mutants change one method."""

    def __init__(self, caches, counts):
        self.caches, self.counts = caches, counts
        self.offset = mx.array([self.start(c) + i for c, n in zip(caches, counts) for i in range(n)])

    def start(self, cache):
        return cache.offset

    def mask(self, L, S):
        return "causal"

    def update(self, cache, keys, values):
        return cache.update_and_fetch(keys, values)

    def back(self, out):
        return out.swapaxes(0, 2)

    def one(self, attention, q, k, v, scale, mask):
        return attention(q, k, v, scale=scale, mask=mask)

    def attend(self, queries, keys, values, *, scale, attention):
        outs, at = [], 0
        for cache, n in zip(self.caches, self.counts):
            q, k, v = (x[at : at + n].swapaxes(0, 2) for x in (queries, keys, values))
            k, v = self.update(cache, k, v)
            outs.append(self.back(self.one(attention, q, k, v, scale, self.mask(n, k.shape[2]))))
            at += n
        return self.join(outs)

    def join(self, outs):
        return mx.concatenate(outs)


@mutant(RAGGED, "offset_kind")
class RaggedListOffset(_Ragged):
    def __init__(self, caches, counts):
        super().__init__(caches, counts)
        self.offset = self.offset.tolist()


@mutant(RAGGED, "offset_kind")
class RaggedOffsetOfRequests(_Ragged):
    def __init__(self, caches, counts):
        super().__init__(caches, counts)
        self.offset = mx.array([[cache.offset for cache in caches]])


@mutant(RAGGED, "offset_restarts")
class RaggedRestarts(_Ragged):
    def start(self, cache):
        return 0


@mutant(RAGGED, "shared")
class RaggedOneForAll(_Ragged):
    def attend(self, queries, keys, values, *, scale, attention):
        q, k, v = (x.swapaxes(0, 2) for x in (queries, keys, values))
        k, v = self.caches[0].update_and_fetch(k, v)
        return attention(q, k, v, scale=scale, mask="causal").swapaxes(0, 2)


@mutant(RAGGED, "no_mask")
class RaggedSeesAhead(_Ragged):
    def mask(self, L, S):
        return None


@mutant(RAGGED, "square")
class RaggedSquare(_Ragged):
    def mask(self, L, S):
        return mx.array(np.tri(L, S, dtype=bool)) if L > 1 else None


@mutant(RAGGED, "only_new")
class RaggedForgets(_Ragged):
    def update(self, cache, keys, values):
        cache.update_and_fetch(keys, values)
        return keys, values


@mutant(RAGGED, "axes")
class RaggedNotTurnedBack(_Ragged):
    def back(self, out):
        return out

    def join(self, outs):
        return mx.concatenate(outs, axis=2)


@mutant(RAGGED, "order")
class RaggedBackwards(_Ragged):
    def join(self, outs):
        return mx.concatenate(outs[::-1])


@mutant(RAGGED, "own_attention")
class RaggedOwnAttention(_Ragged):
    def one(self, attention, q, k, v, scale, mask):
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)


@mutant(RAGGED, "updated")
class RaggedPeeks(_Ragged):
    """Attends to the right keys, but the cache forgets them again."""

    def update(self, cache, keys, values):
        held = cache.update_and_fetch(keys, values)
        cache.trim(keys.shape[2])
        return held


@mutant(RAGGED, None)
class RaggedIgnoresScale(_Ragged):
    def one(self, attention, q, k, v, scale, mask):
        return attention(q, k, v, scale=1.0, mask=mask)


@rival(RAGGED)
class RaggedInTwoPasses:
    """All writes first, an offset that is worked out when asked for, explicit masks, a reshape for a swap."""

    def __init__(self, caches, counts):
        self._work = list(zip(caches, counts, np.cumsum([0, *counts])[:-1].tolist()))

    @property
    def offset(self):
        return mx.array(np.concatenate([np.arange(n) + cache.offset for cache, n, _ in self._work]).astype(np.int32))

    def attend(self, queries, keys, values, *, scale, attention):
        held = []
        for cache, n, start in self._work:
            k, v = (x[start : start + n].transpose(2, 1, 0, 3) for x in (keys, values))
            held.append(cache.update_and_fetch(k, v))
        out = mx.zeros((*queries.shape[:3], values.shape[3]))
        for (_, n, start), (k, v) in zip(self._work, held):
            S = k.shape[2]
            mask = mx.array(np.tri(n, S, S - n, dtype=bool))
            one = attention(queries[start : start + n].transpose(2, 1, 0, 3), k, v, scale=scale, mask=mask)
            out[start : start + n] = one.transpose(2, 1, 0, 3)
        return out
