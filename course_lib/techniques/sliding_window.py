"""A cache of bounded size: the first few tokens and the newest ones; everything between is forgotten.

A plain sliding window breaks a model as soon as the first tokens leave it: attention has learnt to
park on them what it does not need elsewhere (**attention sinks**). Keeping a handful of them mends
that. Source: Xiao et al., StreamingLLM, https://arxiv.org/abs/2309.17453

Here keys stay at the position they were first given, as in mlx-lm's `RotatingKVCache`
(https://github.com/ml-explore/mlx-lm/blob/main/mlx_lm/models/cache.py). The paper goes further and
numbers positions within the cache, so that a text can outgrow the positions the model was trained on.
"""

import mlx.core as mx


class SlidingWindowCache:
    """Keys and values of the first `sinks` tokens and of the newest ones.

    A token at position p attends to position j <= p where j < sinks or j > p - window: to itself, to
    the window - 1 tokens before it, and to the sinks. There is no trim: what was forgotten cannot be
    brought back.

    Attributes:
        offset (int): tokens seen so far, which is the position of the next one; grows without bound.
    """

    def __init__(self, window: int, sinks: int = 4) -> None:
        if window < 1 or sinks < 0:
            raise ValueError(f"window={window}, sinks={sinks}; wanted window >= 1 and sinks >= 0")
        self.window = window
        self.sinks = sinks
        self.offset = 0
        self._keys: mx.array | None = None  # [B, H_kv, at most sinks + window - 1, D], oldest first
        self._values: mx.array | None = None

    def make_mask(self, L: int) -> mx.array | None:
        """The mask for the next L tokens, asked for before their update.

        Returns:
            None for one token, which attends to all that `update_and_fetch` returns; else booleans
            [L, S], with S the number of keys it will return.
        """
        if L == 1:
            return None
        new = mx.arange(self.offset, self.offset + L)
        first_recent = max(self.sinks, self.offset - self.window + 1)
        if first_recent < self.offset:
            held = mx.concatenate([mx.arange(self.sinks), mx.arange(first_recent, self.offset)])
        else:
            held = mx.arange(min(self.sinks, self.offset))
        query, key = new[:, None], mx.concatenate([held, new])  # positions, [L, 1] and [S]
        return (key <= query) & ((key < self.sinks) | (key > query - self.window))

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Append the newest tokens, return what they may attend to, forget what no later one will.

        Args:
            keys: [B, H_kv, L, D], with RoPE already applied at positions offset..offset+L-1.
            values: [B, H_kv, L, D_v].

        Returns:
            keys [B, H_kv, S, D] and values [B, H_kv, S, D_v]: the sinks, the window - 1 tokens before
            the new ones, and the new ones.
        """
        self.offset += keys.shape[2]
        if self._keys is not None:
            keys = mx.concatenate([self._keys, keys], axis=2)
            values = mx.concatenate([self._values, values], axis=2)
        self._keys, self._values = self._cut(keys), self._cut(values)
        return keys, values

    def _cut(self, x: mx.array) -> mx.array:
        # The next token sees itself and window - 1 others: no more than these need to stay.
        first_recent = max(self.sinks, x.shape[2] - self.window + 1)
        return mx.concatenate([x[:, :, : self.sinks], x[:, :, first_recent:]], axis=2)

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values held."""
        return 0 if self._keys is None else self._keys.nbytes + self._values.nbytes
