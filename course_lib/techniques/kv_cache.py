"""The KV cache: keys and values of the tokens already seen, kept so that no step computes them again.

Attention at position t needs the keys and values of positions 0..t. They never change once computed
(causal attention looks backwards only), so a decoder that keeps them computes one new row a step
instead of t. Both caches here hold one layer's keys and values; a model has one a layer.

- `ConcatKVCache` joins old and new with `mx.concatenate`: the idea in one line, but every step copies
  the whole cache.
- `KVCache` reserves room ahead, in steps: a step copies only the new tokens, and the whole cache only
  when the room is used up.
"""

import mlx.core as mx


class ConcatKVCache:
    """A cache that grows by concatenation.

    Attributes:
        offset (int): tokens held, which is also the position of the next token.
        bytes_copied (int): bytes that all updates so far have copied.
    """

    def __init__(self) -> None:
        self.offset = 0
        self.bytes_copied = 0
        self._keys: mx.array | None = None
        self._values: mx.array | None = None

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Append the newest tokens and return all of them, oldest first.

        Args:
            keys: [B, H_kv, L, D], with RoPE already applied at positions offset..offset+L-1.
            values: [B, H_kv, L, D_v].

        Returns:
            keys [B, H_kv, offset, D] and values [B, H_kv, offset, D_v], at the new offset.

        Raises:
            ValueError: the shapes or dtypes do not fit each other or what is held.
        """
        check_update(keys, values, self._keys, self._values)
        if self._keys is not None:
            keys = mx.concatenate([self._keys, keys], axis=2)
            values = mx.concatenate([self._values, values], axis=2)
        self._keys, self._values = keys[...], values[...]  # own handles: see KVCache.update_and_fetch
        self.offset = keys.shape[2]
        self.bytes_copied += self.nbytes
        return keys, values

    def trim(self, n: int) -> int:
        """Forget the newest n tokens (all of them if n is larger). Returns how many were forgotten.

        Raises:
            ValueError: n is negative.
        """
        n = _trimmed(n, self.offset)
        self.offset -= n
        if self._keys is not None:
            self._keys = self._keys[..., : self.offset, :]
            self._values = self._values[..., : self.offset, :]
        return n

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values held."""
        return 0 if self._keys is None else self._keys.nbytes + self._values.nbytes


class KVCache:
    """A cache that reserves room for `step` tokens at a time. The model's default.

    With n tokens appended one by one, it copies the cache n / step times where concatenation does
    it n times; the price is up to step - 1 unused places. (mlx-lm's cache of the same name makes the
    same choice: https://github.com/ml-explore/mlx-lm/blob/main/mlx_lm/models/cache.py)

    Attributes:
        offset (int): tokens held, which is also the position of the next token.
        bytes_copied (int): bytes that all updates so far have copied: the new tokens, and at each
            growth the tokens held. MLX writes into the reserved room in place as long as nobody
            holds an older result of `update_and_fetch`; while somebody does, it copies the buffer
            first, which is not counted.
    """

    def __init__(self, step: int = 256) -> None:
        if step < 1:
            raise ValueError(f"step is {step}; a cache grows by at least 1 token")
        self.step = step
        self.offset = 0
        self.bytes_copied = 0
        self._keys: mx.array | None = None  # [B, H_kv, capacity, D]
        self._values: mx.array | None = None  # [B, H_kv, capacity, D_v]

    @property
    def capacity(self) -> int:
        """Tokens there is room for."""
        return 0 if self._keys is None else self._keys.shape[2]

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Append the newest tokens and return all of them, oldest first.

        Args:
            keys: [B, H_kv, L, D], with RoPE already applied at positions offset..offset+L-1.
            values: [B, H_kv, L, D_v].

        Returns:
            keys [B, H_kv, offset, D] and values [B, H_kv, offset, D_v], at the new offset. They stay
            what they are whatever is appended or trimmed later.

        Raises:
            ValueError: the shapes or dtypes do not fit each other or what is held.
        """
        check_update(keys, values, self._keys, self._values)
        end = self.offset + keys.shape[2]
        if end > self.capacity:
            self._grow(keys, values, end)
        else:
            self._keys[..., self.offset : end, :] = keys
            self._values[..., self.offset : end, :] = values
        self.bytes_copied += keys.nbytes + values.nbytes
        self.offset = end
        # Always a slice, also when it is the whole buffer. `array[...] = x` changes what that Python
        # object stands for; the buffer itself, handed out, would change under its holder.
        return self._keys[..., :end, :], self._values[..., :end, :]

    def _grow(self, keys: mx.array, values: mx.array, end: int) -> None:
        room = -(-end // self.step) * self.step - end

        def joined(held: mx.array | None, new: mx.array) -> mx.array:
            spare = mx.zeros((*new.shape[:2], room, new.shape[3]), new.dtype)
            held = [] if held is None else [held[..., : self.offset, :]]
            self.bytes_copied += sum(array.nbytes for array in held)
            return mx.concatenate([*held, new, spare], axis=2)

        self._keys, self._values = joined(self._keys, keys), joined(self._values, values)

    def trim(self, n: int) -> int:
        """Forget the newest n tokens (all of them if n is larger). Returns how many were forgotten.

        Costs nothing: the next update overwrites them.

        Raises:
            ValueError: n is negative.
        """
        n = _trimmed(n, self.offset)
        self.offset -= n
        return n

    @property
    def nbytes(self) -> int:
        """Bytes reserved, used or not."""
        return 0 if self._keys is None else self._keys.nbytes + self._values.nbytes


def _trimmed(n: int, offset: int) -> int:
    if n < 0:
        raise ValueError(f"cannot trim {n} tokens; n must be 0 or more")
    return min(n, offset)


def check_update(
    keys: mx.array,
    values: mx.array,
    held_keys: mx.array | None = None,
    held_values: mx.array | None = None,
) -> None:
    """Raises ValueError unless new keys and values fit each other and what a layer's cache holds."""
    if keys.ndim != 4 or values.ndim != 4 or keys.shape[:3] != values.shape[:3]:
        raise ValueError(
            f"keys {list(keys.shape)} and values {list(values.shape)} must be [B, H_kv, L, D], "
            "with the same B, H_kv and L"
        )
    for name, new, held in (("keys", keys, held_keys), ("values", values, held_values)):
        if held is None:
            continue
        fits = new.shape[:2] == held.shape[:2] and new.shape[3] == held.shape[3] and new.dtype == held.dtype
        if not fits:
            B, H, _, D = held.shape
            raise ValueError(
                f"the cache holds {name} of shape [{B}, {H}, any, {D}] and {held.dtype}; "
                f"given {list(new.shape)} and {new.dtype}. One cache serves one layer of one batch"
            )
