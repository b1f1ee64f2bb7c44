"""The engine's paged KV cache: blocks of one pool, given to requests as their tokens come."""

from collections.abc import Callable, Sequence

import mlx.core as mx
import numpy as np

from course_lib.engine.ragged_step import Segment, attend_by_segment
from course_lib.engine.request import Request
from course_lib.engine.step import Layout, Step
from course_lib.techniques.batched_kv_cache import length_mask
from course_lib.techniques.paged_kv import BlockManager, BlockTable, OutOfBlocks, PagedKVCache
from course_lib.techniques.scheduling import Work


class PagedCache:
    """One pool for all requests: a request holds the blocks that its tokens fill, and shares with others
    those of a common beginning.

    Args:
        layers: the pool of each layer.
        manager: keeps the books of the blocks, which are the same in all layers.
        block_size: tokens a block.
    """

    def __init__(self, layers: Sequence[PagedKVCache], manager: BlockManager, block_size: int) -> None:
        self._layers = layers
        self._manager = manager
        self._block_size = block_size
        self._tables: dict[int, BlockTable] = {}  # by the request's id
        self._bytes_a_block = sum(layer.nbytes for layer in layers) // manager.allocator.num_blocks

    def join(self, request: Request, count: int) -> bool:
        """Take a request, if there are blocks for `count` of its tokens.

        Tokens at its beginning that are in the pool already count as computed from then on.
        """
        tokens = [*request.prompt, *request.generated]
        table = self._tables[request.id] = self._manager.new_table(tokens)
        request.num_computed_tokens = table.num_tokens
        if self.reserve(request, min(count, request.num_new_tokens)):
            return True
        self.leave(request)
        request.num_computed_tokens = 0
        return False

    def reserve(self, request: Request, count: int) -> bool:
        """Take blocks for the request's next `count` tokens, if there are as many."""
        table = self._tables[request.id]
        full = table.num_tokens // self._block_size
        try:
            copies = self._manager.append(table, count)
        except OutOfBlocks:
            return False
        assert not copies, "requests share only full blocks"
        # Full blocks are found by others from now on, even in this step: in each layer all of a step's keys and
        # values are written before any are read.
        if table.num_tokens // self._block_size > full:
            self._manager.remember(table, [*request.prompt, *request.generated])
        return True

    def leave(self, request: Request) -> None:
        """Take the request's blocks back. What is in them stays until others need them."""
        self._manager.free(self._tables.pop(request.id))

    def prepare(self, work: Sequence[Work]) -> Step:
        """Lay out a step: who decodes first, in one call of attention, then the chunks of prompts."""
        ordered = sorted(work, key=lambda item: item.num_tokens > 1)
        layout = Layout.of(ordered)
        tables = [self._tables[request.id] for request, _ in ordered]
        new = [
            slot
            for (request, count), table in zip(ordered, tables, strict=True)
            for slot in table.slots(request.num_computed_tokens, request.num_computed_tokens + count)
        ]
        decoding = sum(count == 1 for _, count in ordered)
        cut = [_decode_segment(tables[:decoding], ordered)] if decoding else []
        start = decoding
        for (_, count), table in zip(ordered[decoding:], tables[decoding:], strict=True):
            cut.append((Segment(slice(start, start + count), 0, 1, "causal"), _slots([table])))
            start += count
        parts, reads = [part for part, _ in cut], [slots for _, slots in cut]
        shared = mx.array(layout.positions), mx.array(new), parts, reads
        return layout.step([PagedLayer(layer, *shared) for layer in self._layers])

    def blocks_of(self, request: Request) -> list[int]:
        """Numbers of the blocks that hold a request's tokens, in their order."""
        table = self._tables.get(request.id)
        return list(table.blocks) if table else []

    @property
    def nbytes(self) -> int:
        """Bytes of the pool."""
        return sum(layer.nbytes for layer in self._layers)

    @property
    def nbytes_used(self) -> int:
        """Bytes of the blocks that requests hold."""
        allocator = self._manager.allocator
        return (allocator.num_blocks - allocator.num_free) * self._bytes_a_block


class PagedLayer:
    """One layer's pool for one step, with the protocol of `parts.Cache`: each token is a row.

    Args:
        offset: the position of each token, [T].
        new: the slot of each token, [T].
        parts: the calls of attention.
        reads: for each call the slots [rows, S] of what it sees.
    """

    def __init__(
        self, cache: PagedKVCache, offset: mx.array, new: mx.array, parts: Sequence[Segment], reads: Sequence[mx.array]
    ) -> None:
        self.offset = offset
        self._cache, self._new, self._segments, self._reads = cache, new, parts, reads

    def attend(
        self, queries: mx.array, keys: mx.array, values: mx.array, *, scale: float, attention: Callable
    ) -> mx.array:
        """queries [T, H, 1, D], keys and values [T, H_kv, 1, D] -> [T, H, 1, D]."""
        self._cache.write(self._new, keys[:, :, 0], values[:, :, 0])
        held = [self._cache.gather(slots) for slots in self._reads]
        return attend_by_segment(queries, self._segments, held, scale=scale, attention=attention)


def _decode_segment(tables: Sequence[BlockTable], ordered: Sequence[Work]) -> tuple[Segment, mx.array]:
    """All requests with one new token, in one call."""
    lengths = [request.num_computed_tokens for request, _ in ordered[: len(tables)]]
    return Segment(slice(0, len(tables)), 0, len(tables), length_mask(lengths)), _slots(tables)


def _slots(tables: Sequence[BlockTable]) -> mx.array:
    """The slots of all tokens of each table, [rows, S]; slot 0 stands in where a row is shorter."""
    S, size = max(table.num_tokens for table in tables), tables[0].block_size
    blocks = np.zeros((len(tables), -(-S // size)), np.int32)
    for row, table in zip(blocks, tables, strict=True):
        row[: len(table.blocks)] = table.blocks
    slots = blocks[:, :, None] * size + np.arange(size, dtype=np.int32)
    return mx.array(slots.reshape(len(tables), -1)[:, :S])
