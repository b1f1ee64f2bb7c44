"""The oracle of the caches: what was appended, one token at a time, in NumPy."""

import mlx.core as mx
import numpy as np

from ...mismatch import as_numpy
from ...trial import Trial


class Ledger:
    """Feeds a cache random tokens, and remembers what it must hold.

    Attributes:
        cache: the learner's.
        results: every (keys, values) the cache has returned, with what they had to be: they must stay
            so whatever happens later.
    """

    def __init__(self, t: Trial, cache, B=1, H_kv=2, D=4, D_v=None, dtype=mx.float32):
        self.t, self.cache, self.dtype = t, cache, dtype
        self.shapes = ((B, H_kv, D), (B, H_kv, D_v or D))
        self.columns: list[tuple[np.ndarray, np.ndarray]] = []  # one token each: [B, H_kv, D], [B, H_kv, D_v]
        self.results: list[tuple] = []
        self.updates = 0

    def append(self, L: int, mistakes=None) -> None:
        """Update the cache with L new tokens and compare what it returns.

        Args:
            mistakes: `mistakes(which, old, new)`, with "keys" or "values", the wanted arrays before the
                update and the new ones, gives the values of known mistakes.
        """
        self.updates += 1
        old = [self._wanted(i) for i in (0, 1)]
        # All watched inputs are compared at every step. The first arrays are the ones that a cache may take
        # over for its own; of the later ones the newest are enough.
        which = f" of update {self.updates}" if self.updates <= 6 else ""
        new = [
            self.t.normal(f"{name}{which}", B, H_kv, L, D, dtype=self.dtype)
            for name, (B, H_kv, D) in zip(("keys", "values"), self.shapes)
        ]
        for i in range(L):
            self.columns.append((as_numpy(new[0])[:, :, i], as_numpy(new[1])[:, :, i]))
        given = self.cache.update_and_fetch(new[0], new[1])
        pair = isinstance(given, (tuple, list)) and len(given) == 2
        self.t.true(
            pair, f"update_and_fetch(keys, values) is {given!r:.80}.\nWanted: a pair, keys and values."
        )
        wanted = [self._wanted(i) for i in (0, 1)]
        for i, name in enumerate(("keys", "values")):
            expected = {} if mistakes is None else mistakes(name, old[i], new[i])
            if _same(given[i], wanted[1 - i]) and not _same(wanted[0], wanted[1]):
                expected = {"swapped": lambda y: True}
            self.t.close(
                f"{name} after update {self.updates}, which appends {L} to {len(self.columns) - L}",
                given[i], wanted[i], mistakes=expected,
            )  # fmt: skip
        self.results.append((*given, *wanted))

    def trim(self, n: int) -> None:
        """Trim the cache; the next `append` shows whether it forgot the right tokens."""
        gone = min(n, len(self.columns))
        returned = self.cache.trim(n)
        self.t.equal(
            f"trim({n}) of a cache that holds {len(self.columns)}", returned, gone,
            mistakes={"trim_returns": lambda r: r != gone},
        )  # fmt: skip
        del self.columns[len(self.columns) - gone :]
        self.offset({"trim_offset": len(self.columns) + gone})

    def offset(self, mistakes=None) -> None:
        """Compare the cache's offset."""
        self.t.equal("cache.offset", self.cache.offset, len(self.columns), mistakes=mistakes)

    def results_still_stand(self, mistake: str) -> None:
        """Compare everything that was handed out with what it was then."""
        for number, (keys, values, wanted_keys, wanted_values) in enumerate(self.results, start=1):
            fine = _same(keys, wanted_keys) and _same(values, wanted_values)
            self.t.true(
                fine,
                f"What update {number} returned has changed since: a later update wrote into it.",
                mistake,
            )

    @property
    def nbytes(self) -> int:
        """Bytes of the tokens held."""
        return len(self.columns) * self.nbytes_per_token

    @property
    def nbytes_per_token(self) -> int:
        return sum(B * H_kv * D for B, H_kv, D in self.shapes) * self.dtype.size

    def _wanted(self, i: int) -> mx.array:
        B, H_kv, D = self.shapes[i]
        columns = [c[i] for c in self.columns]
        stacked = np.stack(columns, axis=2) if columns else np.zeros((B, H_kv, 0, D))
        return mx.array(stacked.astype(np.float32)).astype(self.dtype)


def _same(a, b) -> bool:
    return isinstance(a, mx.array) and a.shape == b.shape and bool(mx.array_equal(a, b).item())


def two_caches_share_nothing(make, t: Trial) -> None:
    """Feed two caches in turns: a model has one a layer."""
    alone = Ledger(t, make())
    for L in (3, 1):
        alone.append(L)
        alone.offset()
    first, second = Ledger(t, make()), Ledger(t, make())
    for ledger, L in ((first, 3), (second, 2), (first, 1), (second, 1)):
        try:
            ledger.append(L)
            ledger.offset()
        except NotImplementedError:
            raise
        except Exception as raised:  # one cache alone went well, so it is the other that disturbs
            message = getattr(raised, "message", f"{type(raised).__name__}: {raised}")
            t.true(
                False,
                f"Two caches were used in turns, and one has met the other's tokens.\n{message}",
                "shared",
            )
