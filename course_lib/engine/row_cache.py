"""The engine's contiguous KV cache: a row for each running request, in every layer."""

from collections.abc import Callable, Sequence

import mlx.core as mx

from course_lib.engine.ragged_step import BatchedCache, RaggedLayer, segments
from course_lib.engine.request import Request
from course_lib.engine.step import Layout, Step
from course_lib.techniques.scheduling import Work


class RowCache:
    """Rows of the batched caches, given to requests.

    A row has room for any request, so what was admitted always has room to grow.

    Args:
        make_layer: makes one layer's cache, `techniques.batched_kv_cache.BatchedKVCache` or another
            with its methods, with room for as many rows as requests run at a time.
        num_layers: of the model.
    """

    def __init__(self, make_layer: Callable[[], BatchedCache], num_layers: int) -> None:
        self._layers = [make_layer() for _ in range(num_layers)]
        self._requests: list[Request] = []  # by row

    def join(self, request: Request, count: int) -> bool:
        """Give the request a row. Always possible: the engine admits no more requests than there are rows."""
        for layer in self._layers:
            layer.add()
        self._requests.append(request)
        return True

    def reserve(self, request: Request, count: int) -> bool:
        """Room for `count` more tokens of a request that has joined."""
        return True

    def leave(self, request: Request) -> None:
        """Take the request's row back; the last row takes its place."""
        row = self._requests.index(request)
        for layer in self._layers:
            layer.remove(row)
        moved = self._requests.pop()
        if moved is not request:
            self._requests[row] = moved

    def prepare(self, work: Sequence[Work]) -> Step:
        """Lay out a step: who decodes first, in the order of the rows, then the chunks of prompts."""
        row_of = {id(request): row for row, request in enumerate(self._requests)}
        ordered = sorted(work, key=lambda item: (item.num_tokens > 1, row_of[id(item.request)]))
        layout = Layout.of(ordered)
        pieces = [(row_of[id(request)], count) for request, count in ordered]
        cut = segments(pieces, [request.num_computed_tokens for request in self._requests])
        offset = mx.array(layout.positions)
        return layout.step([RaggedLayer(layer, offset, cut) for layer in self._layers])

    @property
    def nbytes(self) -> int:
        """Bytes reserved."""
        return sum(layer.nbytes for layer in self._layers)

    @property
    def nbytes_used(self) -> int:
        """Bytes that the requests' tokens take up."""
        return sum(layer.nbytes_used for layer in self._layers)
