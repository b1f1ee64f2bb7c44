"""A KV cache for each request alone: the engine's cache as notebook 07 leaves it.

The simplest that works. Nothing is shared and nothing runs out, and attention is called once for each
request, so a step with many who decode is slower than with rows (`row_cache`) or blocks (`paged_cache`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from course_lib.engine.request import Request
from course_lib.engine.step import Step
from course_lib.techniques import chunked_prefill
from course_lib.techniques.kv_cache import KVCache
from course_lib.techniques.scheduling import Work


class SeparateCaches:
    """Caches of one sequence, a set for each request.

    Args:
        num_layers: of the model.
        make_layer: makes one layer's cache of one sequence, with `offset` and `update_and_fetch`.
        lay_out, ragged_layer: as in `techniques.chunked_prefill`.
        bytes_a_token: of keys and values in all layers.
    """

    def __init__(
        self,
        num_layers: int,
        bytes_a_token: int,
        *,
        make_layer: Callable[[], Any] = KVCache,
        lay_out: Callable = chunked_prefill.lay_out,
        ragged_layer: Callable = chunked_prefill.RaggedLayer,
    ) -> None:
        self._num_layers, self._bytes_a_token = num_layers, bytes_a_token
        self._make_layer, self._lay_out, self._ragged_layer = make_layer, lay_out, ragged_layer
        self._caches: dict[int, list[Any]] = {}  # by the request's id

    def join(self, request: Request, count: int) -> bool:
        """Give the request caches of its own. Always possible."""
        self._caches[request.id] = [self._make_layer() for _ in range(self._num_layers)]
        return True

    def reserve(self, request: Request, count: int) -> bool:
        """Room for `count` more tokens: always."""
        return True

    def leave(self, request: Request) -> None:
        del self._caches[request.id]

    def prepare(self, work: Sequence[Work]) -> Step:
        """Lay out a step, in the order of the work."""
        tokens, _, last, sampled = self._lay_out(work)
        counts = [count for _, count in work]
        by_layer = zip(*(self._caches[request.id] for request, _ in work), strict=True)
        layers = [self._ragged_layer(list(caches), counts) for caches in by_layer]
        return Step(mx.array(tokens)[:, None], layers, last, sampled)

    @property
    def nbytes_used(self) -> int:
        """Bytes of the tokens that are held."""
        held = sum(int(caches[0].offset) for caches in self._caches.values())
        return held * self._bytes_a_token
