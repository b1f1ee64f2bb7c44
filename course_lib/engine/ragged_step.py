"""One pass of the model over the tokens of many requests at once.

Linear layers, norms and RoPE treat each token by itself, so all tokens of a step go through them
together, as rows of a batch [T, 1, E]: every weight is read once a step. Attention alone must know
which tokens belong together. It is called for each segment: the decoding requests in one call, each
chunk of a prompt in a call of its own (selective batching, as in Orca:
https://www.usenix.org/conference/osdi22/presentation/yu).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx

from course_lib.llm.room import Placement
from course_lib.techniques.batched_kv_cache import length_mask


class BatchedCache(Protocol):
    """One layer's keys and values, a row for each sequence: `techniques.batched_kv_cache`."""

    lengths: Sequence[int]

    def add(self) -> int: ...
    def remove(self, row: int) -> int: ...
    def append(self, first: int, keys: mx.array, values: mx.array) -> None: ...
    def fetch(self, first: int, rows: int) -> tuple[mx.array, mx.array]: ...


@dataclass(frozen=True)
class Segment:
    """Tokens of a step that stand in neighbouring rows of the cache, each row with as many.

    Attributes:
        tokens: which of the step's tokens, in the rows' order.
        row, rows: the first row, and how many.
        mask: for one call of attention: queries [rows, H, L, D] on keys [rows, H_kv, S, D].
    """

    tokens: slice
    row: int
    rows: int
    mask: mx.array | str | None


def segments(pieces: Sequence[tuple[int, int]], lengths: Sequence[int]) -> list[Segment]:
    """Cut a step into calls of attention.

    Args:
        pieces: (row, tokens) in the order in which their tokens stand in the step. One-token pieces of
            neighbouring rows that follow each other share a call.
        lengths: tokens that each row holds before the step.
    """
    cut: list[list[tuple[int, int]]] = []
    for row, count in pieces:
        last_row, last_count = cut[-1][-1] if cut else (None, None)
        if count == 1 == last_count and row == last_row + 1:
            cut[-1].append((row, count))
        else:
            cut.append([(row, count)])
    found, start = [], 0
    for group in cut:
        (row, count), rows = group[0], len(group)
        mask = "causal" if count > 1 else length_mask(lengths[row : row + rows])
        found.append(Segment(slice(start, start + rows * count), row, rows, mask))
        start += rows * count
    return found


class RaggedLayer:
    """One layer's cache for one step, with the protocol of `parts.Cache`: each token is a row.

    Attributes:
        offset: the position of each token, [T].
    """

    def __init__(self, cache: BatchedCache, offset: mx.array, parts: Sequence[Segment]) -> None:
        self.offset = offset
        self._cache = cache
        self._segments = parts

    def attend(
        self, queries: mx.array, keys: mx.array, values: mx.array, *, scale: float, attention: Callable
    ) -> mx.array:
        """queries [T, H, 1, D], keys and values [T, H_kv, 1, D] -> [T, H, 1, D]."""
        # All writes before the first read: MLX writes in place only while nobody holds what is there.
        for segment in self._segments:
            new = (_by_row(array, segment) for array in (keys, values))
            self._cache.append(segment.row, *new)
        held = [self._cache.fetch(segment.row, segment.rows) for segment in self._segments]
        return attend_by_segment(queries, self._segments, held, scale=scale, attention=attention)

    # A fused step writes into the rows itself (`course_lib.llm.room`), where the rows' cache lends them.

    def __getattr__(self, name: str) -> object:
        if name in ("room", "filled"):
            return getattr(self._cache, name)
        raise AttributeError(name)

    def placement(self, B: int, L: int) -> Placement:
        """Where the step's T = B tokens go."""
        assert L == 1, "each token is a row"
        places = []
        for segment in self._segments:
            start, stop = segment.tokens.start, segment.tokens.stop
            places.append((start, segment.row, segment.rows, (stop - start) // segment.rows))
        return Placement(tuple(places), tuple(self._cache.lengths))


def attend_by_segment(
    queries: mx.array,
    parts: Sequence[Segment],
    held: Sequence[tuple[mx.array, mx.array]],
    *,
    scale: float,
    attention: Callable,
) -> mx.array:
    """Attention of a step's queries [T, H, 1, D], a call for each segment, with the keys and values it sees.

    Returns:
        [T, H, 1, D].
    """
    outs = []
    for segment, (keys, values) in zip(parts, held, strict=True):
        out = attention(_by_row(queries, segment), keys, values, scale=scale, mask=segment.mask)
        outs.append(out if segment.rows > 1 else out.swapaxes(0, 2))
    return outs[0] if len(outs) == 1 else mx.concatenate(outs)


def _by_row(array: mx.array, segment: Segment) -> mx.array:
    """A segment's tokens [T, H, 1, D] -> [rows, H, L, D]."""
    own = array[segment.tokens]
    return own if segment.rows > 1 else own.swapaxes(0, 2)
