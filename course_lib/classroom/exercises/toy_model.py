"""A toy language model for exercises about generation: right and wrong texts are known without any arithmetic."""

import mlx.core as mx
import numpy as np

V = 13


class ToyLayer:
    """One layer's cache: the ids it has seen."""

    def __init__(self):
        self.ids = []

    @property
    def offset(self):
        return len(self.ids)

    def trim(self, n):
        n = min(n, len(self.ids))
        del self.ids[len(self.ids) - n :]
        return n


class ToyModel:
    """ids [1, L] -> logits [1, P, 13]: the next token is a hash of all tokens up to the position.

    Called without a cache it is a model without one: the tokens are the whole text.

    Attributes:
        passes: (tokens in the cache before, tokens read) of every call.
        caches_made: how often `make_cache` was called.
    """

    def __init__(self, layers: int = 3):
        self.layers = layers
        self.passes = []
        self.caches_made = 0

    def make_cache(self):
        self.caches_made += 1
        return [ToyLayer() for _ in range(self.layers)]

    def __call__(self, tokens, cache=None, positions=None):
        if not isinstance(tokens, mx.array) or tokens.ndim != 2 or tokens.size == 0:
            raise TypeError(
                f"the model wants token ids as an MLX array [1, L], L at least 1, not {tokens!r:.60}"
            )
        ids = [int(i) for i in np.array(tokens)[0]]
        held = list(cache[0].ids) if cache else []
        self.passes.append((len(held), len(ids)))
        for layer in cache or []:
            layer.ids += ids
        rows = [self.logits([*held, *ids[: i + 1]]) for i in range(len(ids))]
        wanted = range(len(ids)) if positions is None else np.atleast_1d(np.array(positions))
        return mx.array(np.stack([rows[int(p)] for p in wanted])[None].astype(np.float32))

    @staticmethod
    def next(ids) -> int:
        """The likeliest token after `ids`."""
        state = 0
        for token in ids:
            state = (state * 7 + int(token) + 3) % 1009
        return state % V

    @classmethod
    def least(cls, ids) -> int:
        """The least likely token after `ids`."""
        return (cls.next(ids) + 1) % V

    def logits(self, ids):
        return np.eye(V)[self.next(ids)] - 2.0 * np.eye(V)[self.least(ids)]

    def run(self, prompt, count, view=lambda prompt, new: [*prompt, *new]):
        """`count` new tokens; `view` says what each is predicted from."""
        new = []
        for _ in range(count):
            new.append(self.next(view(prompt, new)))
        return new
