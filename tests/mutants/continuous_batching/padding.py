"""Left padding, and the positions and masks that go with it."""

import mlx.core as mx
import numpy as np

from course_lib.techniques.static_batching import LeftPaddedCache

from .. import mutant, rival

PAD = "continuous_batching.left_pad"
CACHE = "continuous_batching.padded_cache"


def _check(prompts):
    if not prompts or not all(prompts):
        raise ValueError("wanted prompts with tokens")
    return max(map(len, prompts))


@mutant(PAD, "right")
def pads_right(prompts, pad_token=0):
    L = _check(prompts)
    return mx.array([list(p) + [pad_token] * (L - len(p)) for p in prompts]), [L - len(p) for p in prompts]


@mutant(PAD, "cut")
def cuts_to_the_shortest(prompts, pad_token=0):
    _check(prompts)
    L = min(map(len, prompts))
    return mx.array([list(p)[-L:] for p in prompts]), [0 for p in prompts]


@mutant(PAD, "lengths")
def returns_lengths(prompts, pad_token=0):
    L = _check(prompts)
    return mx.array([[pad_token] * (L - len(p)) + list(p) for p in prompts]), [len(p) for p in prompts]


@mutant(PAD, "pad_token")
def always_zero(prompts, pad_token=0):
    L = _check(prompts)
    return mx.array([[0] * (L - len(p)) + list(p) for p in prompts]), [L - len(p) for p in prompts]


@mutant(PAD, "dtype")
def floats(prompts, pad_token=0):
    L = _check(prompts)
    out = mx.full((len(prompts), L), float(pad_token))
    for row, p in enumerate(prompts):
        out[row, L - len(p) :] = mx.array(list(p))
    return out, [L - len(p) for p in prompts]


@mutant(PAD, "grows_prompts")
def inserts(prompts, pad_token=0):
    L = _check(prompts)
    padding = [L - len(p) for p in prompts]
    for p, n in zip(prompts, padding):
        for _ in range(n):
            p.insert(0, pad_token)
    return mx.array(prompts), padding


@mutant(PAD, "one_too_many")
def one_column_more(prompts, pad_token=0):
    L = _check(prompts) + 1
    return mx.array([[pad_token] * (L - len(p)) + list(p) for p in prompts]), [L - len(p) for p in prompts]


@mutant(PAD, None)
def takes_nothing_for_something(prompts, pad_token=0):
    L = max(map(len, prompts), default=0)
    return mx.array([[pad_token] * (L - len(p)) + list(p) for p in prompts]), [L - len(p) for p in prompts]


@rival(PAD)
def by_numpy(prompts, pad_token=0):
    L = _check([list(p) for p in prompts])
    padding = np.array([L - len(p) for p in prompts])
    ids = np.full((len(prompts), L), pad_token)
    for row, p in enumerate(prompts):
        ids[row, padding[row] :] = p
    return mx.array(ids), mx.array(padding)


# --- the cache -----------------------------------------------------------------------------------------


class _Padded(LeftPaddedCache):
    """Right; mutants change one thing."""

    def mask(self, L, first=0, causal=lambda key, query: key <= query):
        key, query = mx.arange(self.held + L), mx.arange(self.held, self.held + L)[:, None]
        return (causal(key, query) & (key >= self.padding[:, None, None] + first))[:, None]


@mutant(CACHE, "shared_offset")
class OneOffsetForAll(_Padded):
    @property
    def offset(self):
        return self.held


@mutant(CACHE, "shared_offset")
class TheColumnForAll(_Padded):
    @property
    def offset(self):
        return mx.full(self.padding.shape, self.held, dtype=mx.int32)


@mutant(CACHE, "offset_of_length")
class AddsThePadding(_Padded):
    @property
    def offset(self):
        return self.held + self.padding


@mutant(CACHE, "offset_stuck")
class StandsStill(_Padded):
    @property
    def offset(self):
        return -self.padding


@mutant(CACHE, "offset_type")
class AList(_Padded):
    @property
    def offset(self):
        return (self.held - self.padding).tolist()


@mutant(CACHE, "sees_padding")
class SeesPadding(_Padded):
    def make_mask(self, L):
        return self.mask(L, first=-1000)


@mutant(CACHE, "sees_padding")
class CausalAlone(_Padded):
    def make_mask(self, L):
        return mx.broadcast_to(self.mask(L, first=-1000)[:1], (1, 1, L, self.held + L))


@mutant(CACHE, "sees_future")
class SeesFuture(_Padded):
    def make_mask(self, L):
        return self.mask(L, causal=lambda key, query: (key >= 0) & (query >= 0))


@mutant(CACHE, "hides_first")
class HidesFirst(_Padded):
    def make_mask(self, L):
        return self.mask(L, first=1)


@mutant(CACHE, "hides_itself")
class HidesItself(_Padded):
    def make_mask(self, L):
        return self.mask(L, causal=lambda key, query: key < query)


@mutant(CACHE, "held_forgotten")
class ForgetsWhatIsHeld(_Padded):
    def make_mask(self, L):
        held, self.held = self.held, 0
        mask = self.mask(L)
        self.held = held
        return mask


@mutant(CACHE, "mask_shape")
class WithoutHeads(_Padded):
    def make_mask(self, L):
        return self.mask(L)[:, 0]


@mutant(CACHE, None)
class KeepsTheNewestAlone(_Padded):
    def update_and_fetch(self, keys, values):
        super().update_and_fetch(keys, values)
        return keys, values


@rival(CACHE)
class PaddingSeesItself:
    """Positions counted from a mask of real tokens, and padding that sees itself, so that no query sees nothing."""

    def __init__(self, padding):
        self.padding = np.array(padding)
        self.parts = []

    @property
    def held(self):
        return sum(k.shape[2] for k, _ in self.parts)

    @property
    def offset(self):
        return mx.array((self.held - self.padding).astype(np.int32))

    def make_mask(self, L):
        columns = np.arange(self.held + L)
        query = columns[-L:, None]
        real = columns >= self.padding[:, None, None]
        return mx.array((((columns <= query) & real) | (columns == query))[:, None])

    def update_and_fetch(self, keys, values):
        self.parts.append((keys, values))
        return tuple(mx.concatenate([p[i] for p in self.parts], axis=2) for i in (0, 1))
