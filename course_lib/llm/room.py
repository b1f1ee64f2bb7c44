"""Caches that lend their memory to a step which writes new keys and values itself.

A cache's `update_and_fetch` takes one layer's new keys and values and hands all of them out: two operations between
two halves of a layer. A step that does all layers in one call (`parts.Fusion`) cannot stop for that. It asks where
the new tokens go (`placement`), gets the memory (`room`), writes, and gives the memory back (`filled`).

MLX's arrays never change once they are made, so an operation may write into an input's memory only if nobody else
can see it. Here the cache vouches for that: its buffers are its own, and where it has handed views of them out, it
makes new ones first.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import mlx.core as mx

from course_lib.techniques.batched_kv_cache import BatchedKVCache
from course_lib.techniques.kv_cache import KVCache, check_update


@dataclass(frozen=True)
class Placement:
    """Where a step's tokens go, the same in all layers.

    Attributes:
        segments: (first token, first row, rows, tokens a row): tokens that stand next to each other in the step and
            belong to neighbouring rows of the cache.
        lengths: tokens that each row holds before the step.
        capacity: tokens of room that each row shall have after it. If that is more than the memory lent has, the
            step moves the rows to new memory.
    """

    segments: tuple[tuple[int, int, int, int], ...]
    lengths: tuple[int, ...]
    capacity: int = 0

    @cached_property
    def tokens(self) -> int:
        """Room that each row needs: the longest row's tokens, its new ones among them."""
        return max(
            max(self.lengths[row : row + rows]) + each for _, row, rows, each in self.segments
        )


class LendsRoom(Protocol):
    """What one layer's cache has besides `parts.Cache`, if a fused step may write into it."""

    def placement(self, B: int, L: int) -> Placement: ...
    def room(self, placement: Placement, num_kv_heads: int, head_dim: int) -> tuple[mx.array, mx.array]: ...
    def filled(self, placement: Placement, keys: mx.array, values: mx.array) -> None: ...


class _Lending:
    """Both caches below: buffers `_keys` and `_values` that may have been handed out."""

    _handed_out = False

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        self._handed_out = True
        return super().update_and_fetch(keys, values)

    def _own(self) -> tuple[mx.array, mx.array]:
        if self._handed_out:
            # A new array, in the old one's memory if nobody holds that any more.
            self._keys, self._values = self._keys * 1, self._values * 1
            self._handed_out = False
        return self._keys, self._values

    def __copy__(self):
        self._handed_out = True  # the copy shares the buffers, until one of the two writes
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        if self._keys is not None:
            # Handles of its own: `array[...] = x` changes what that Python object stands for, for all who hold it.
            twin._keys, twin._values = self._keys[...], self._values[...]
        return twin

    def __deepcopy__(self, memo):
        return self.__copy__()


class RoomKVCache(_Lending, KVCache):
    """`KVCache`, whose memory a fused step may write."""

    def placement(self, B: int, L: int) -> Placement:
        """L new tokens in each of B rows."""
        end = self.offset + L
        capacity = self.capacity if end <= self.capacity else -(-end // self.step) * self.step
        return Placement(((0, 0, B, L),), (self.offset,) * B, capacity)

    def room(self, placement: Placement, num_kv_heads: int, head_dim: int) -> tuple[mx.array, mx.array]:
        """Keys and values [B, H_kv, capacity, D], nobody else's to read; without room for a token at first.

        Raises:
            ValueError: the cache holds another batch.
        """
        B = len(placement.lengths)
        if self._keys is None:
            nothing = mx.zeros((B, num_kv_heads, 0, head_dim))
            return nothing, nothing
        if self._keys.shape[0] != B:
            new = mx.zeros((B, num_kv_heads, placement.tokens - self.offset, head_dim))
            check_update(new, new, self._keys, self._values)
        if placement.capacity > self.capacity:
            return self._keys, self._values  # the step only reads them
        return self._own()

    def filled(self, placement: Placement, keys: mx.array, values: mx.array) -> None:
        """The same memory, with the step's tokens in it."""
        B, H, capacity, D = keys.shape
        copied = placement.tokens - self.offset
        if capacity > self.capacity:
            copied += self.offset
            self._handed_out = False
        self._keys, self._values = keys, values
        self.bytes_copied += 2 * B * H * copied * D * keys.itemsize
        self.offset = placement.tokens


class RoomBatchedKVCache(_Lending, BatchedKVCache):
    """`BatchedKVCache`, whose memory a fused step may write."""

    def fetch(self, first: int, rows: int) -> tuple[mx.array, mx.array]:
        self._handed_out = True
        return super().fetch(first, rows)

    def placement(self, B: int, L: int) -> Placement:
        """L new tokens in each row in use.

        Raises:
            ValueError: B is not the number of rows in use.
        """
        if len(self.lengths) != B:
            raise ValueError(f"tokens for {B} rows; {len(self.lengths)} are in use")
        return Placement(((0, 0, B, L),), tuple(self.lengths))

    def room(self, placement: Placement, num_kv_heads: int, head_dim: int) -> tuple[mx.array, mx.array]:
        """Keys and values [max_rows, H_kv, capacity, D] with room for the step's tokens; nobody else's to read."""
        if placement.tokens > self.capacity:
            new = mx.zeros((1, num_kv_heads, 1, head_dim))
            self._make_room(new, new, placement.tokens)
        return self._own()

    def filled(self, placement: Placement, keys: mx.array, values: mx.array) -> None:
        """The same memory, with the step's tokens in it."""
        self._keys, self._values = keys, values
        for _, row, rows, each in placement.segments:
            self.lengths[row : row + rows] = [length + each for length in self.lengths[row : row + rows]]

    def __copy__(self):
        twin = super().__copy__()
        twin.lengths = list(self.lengths)
        return twin
