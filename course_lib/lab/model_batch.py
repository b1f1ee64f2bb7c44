"""A model that runs the steps of a serving loop: a row of the cache for each request that has joined."""

from collections.abc import Callable, Sequence

import mlx.core as mx

from course_lib.engine.ragged_step import BatchedCache, RaggedLayer, segments
from course_lib.llm.model import Model
from course_lib.techniques.scheduling import Work
from course_lib.techniques.serving_loop import Request


class ModelBatch:
    """Greedy steps, for `techniques.serving_loop.ServingLoop`.

    Args:
        model: as `load` returns it.
        make_layer: makes one layer's batched cache, with the methods of
            `techniques.batched_kv_cache.BatchedKVCache`.
    """

    def __init__(self, model: Model, make_layer: Callable[[], BatchedCache]) -> None:
        self.model = model
        self.layers = [make_layer() for _ in model.blocks]
        self.requests: list[Request] = []  # by row

    def join(self, request: Request) -> None:
        """Give the request the next row."""
        for layer in self.layers:
            layer.add()
        self.requests.append(request)

    def leave(self, request: Request) -> None:
        """Take its row back; the last row takes its place."""
        row = self.requests.index(request)
        for layer in self.layers:
            layer.remove(row)
        moved = self.requests.pop()
        if moved is not request:
            self.requests[row] = moved

    def run(self, work: Sequence[Work]) -> dict[Request, int]:
        """One pass over the work's tokens. Returns the next token of each request that gets one."""
        row_of = {request: row for row, request in enumerate(self.requests)}
        # Those that decode stand in neighbouring rows: one call of attention serves them all.
        ordered = sorted(work, key=lambda item: (item.num_tokens > 1, row_of[item.request]))
        tokens, positions, last, speaks = [], [], [], []
        for request, count in ordered:
            held = request.num_computed_tokens
            tokens += request.next_tokens(count)
            positions += range(held, held + count)
            if count == request.num_new_tokens:
                last.append(len(tokens) - 1)
                speaks.append(request)
        pieces = [(row_of[request], count) for request, count in ordered]
        cut = segments(pieces, [request.num_computed_tokens for request in self.requests])
        layers = [RaggedLayer(layer, mx.array(positions), cut) for layer in self.layers]
        logits = self.model(mx.array(tokens)[:, None], layers, rows=last or [0])[:, 0]  # [P, V]
        chosen = mx.argmax(logits, axis=-1).tolist()
        for request, count in work:
            request.num_computed_tokens += count
        return dict(zip(speaks, chosen, strict=False))  # without speakers, the one row's logits are nobody's

    @property
    def nbytes_used(self) -> int:
        """Bytes of the cache that the requests' tokens take up."""
        return sum(layer.nbytes_used for layer in self.layers)
