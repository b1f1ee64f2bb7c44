"""What goes into the model in one step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from course_lib.engine.request import Request
from course_lib.techniques.scheduling import Work


@dataclass(frozen=True)
class Step:
    """A step, laid out: each token is a row of the model's input.

    Attributes:
        tokens: [T, 1].
        layers: the cache as the model takes it, one entry a layer.
        last: for each request whose next token this step decides, the row of its last token.
        sampled: these requests.
    """

    tokens: mx.array
    layers: Sequence[Any]
    last: list[int]
    sampled: list[Request]


@dataclass(frozen=True)
class Layout:
    """The tokens of some work, one request after the other.

    Attributes:
        tokens, positions: [T] each.
        last, sampled: as in `Step`.
    """

    tokens: list[int]
    positions: list[int]
    last: list[int]
    sampled: list[Request]

    @classmethod
    def of(cls, work: Sequence[Work]) -> "Layout":
        layout = cls([], [], [], [])
        for request, count in work:
            held = request.num_computed_tokens
            layout.tokens.extend(request.next_tokens(count))
            layout.positions.extend(range(held, held + count))
            if count == request.num_new_tokens:
                layout.last.append(len(layout.tokens) - 1)
                layout.sampled.append(request)
        return layout

    def step(self, layers: Sequence[Any]) -> Step:
        return Step(mx.array(self.tokens)[:, None], layers, self.last, self.sampled)
