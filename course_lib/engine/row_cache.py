"""The engine's KV cache: a row for each running request, in every layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx

from course_lib.engine.ragged_step import BatchedCache, RaggedLayer, segments
from course_lib.engine.request import Request
from course_lib.techniques.scheduling import Work


@dataclass(frozen=True)
class Step:
    """What goes into the model, and whose logits come out.

    Attributes:
        tokens: [T, 1].
        layers: the cache, one entry a layer.
        last: for each request whose next token this step decides, the row of its last token.
        sampled: these requests.
    """

    tokens: mx.array
    layers: list[RaggedLayer]
    last: list[int]
    sampled: list[Request]


class RowCache:
    """Rows of the batched caches, given to requests.

    Args:
        make_layer: makes one layer's cache; by default `techniques.batched_kv_cache.BatchedKVCache`
            with room for the engine's `max_num_seqs`.
        num_layers: of the model.
    """

    def __init__(self, make_layer: Callable[[], BatchedCache], num_layers: int) -> None:
        self._layers = [make_layer() for _ in range(num_layers)]
        self._requests: list[Request] = []  # by row

    def join(self, request: Request) -> None:
        """Give the request a row."""
        for layer in self._layers:
            layer.add()
        self._requests.append(request)

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
        tokens, positions, last, sampled = [], [], [], []
        for request, count in ordered:
            held = request.num_computed_tokens
            tokens += request.next_tokens(count)
            positions += range(held, held + count)
            if count == request.num_new_tokens:
                last.append(len(tokens) - 1)
                sampled.append(request)
        pieces = [(row_of[id(request)], count) for request, count in ordered]
        cut = segments(pieces, [request.num_computed_tokens for request in self._requests])
        offset = mx.array(positions)
        layers = [RaggedLayer(layer, offset, cut) for layer in self._layers]
        return Step(mx.array(tokens)[:, None], layers, last, sampled)

    @property
    def nbytes(self) -> int:
        """Bytes reserved."""
        return sum(layer.nbytes for layer in self._layers)

    @property
    def nbytes_used(self) -> int:
        """Bytes that the requests' tokens take up."""
        return sum(layer.nbytes_used for layer in self._layers)
