"""One layer's keys and values in a pool of slots."""

import mlx.core as mx


class PagedKVCache:
    """The pool, preallocated. Block b is the slots b * block_size to (b + 1) * block_size - 1.

    Slots are the first axis, so that a token's keys of all heads lie together: gathering copies whole runs.

    Args:
        num_blocks, block_size: how large the pool is.
        num_kv_heads: H_kv.
        head_dim: D.
        dtype: of keys and values.
    """

    def __init__(
        self, num_blocks: int, block_size: int, num_kv_heads: int, head_dim: int, dtype: mx.Dtype = mx.float32
    ) -> None:
        self.block_size = block_size
        shape = (num_blocks * block_size, num_kv_heads, head_dim)
        self._keys = mx.zeros(shape, dtype)
        self._values = mx.zeros(shape, dtype)
        mx.eval(self._keys, self._values)

    @property
    def nbytes(self) -> int:
        """Bytes of the pool."""
        return self._keys.nbytes + self._values.nbytes

    def write(self, slots: mx.array, keys: mx.array, values: mx.array) -> None:
        """Put T tokens into their slots.

        Args:
            slots: integers [T].
            keys, values: [T, H_kv, D].
        """
        self._keys[slots] = keys
        self._values[slots] = values

    def copy_block(self, source: int, target: int) -> None:
        """Copy a block's keys and values to another block."""
        size = self.block_size
        slots = mx.arange(source * size, (source + 1) * size)
        held = [pool[slots] for pool in (self._keys, self._values)]
        mx.eval(held)  # first: MLX writes in place only while nobody else refers to the pool
        place = slice(target * size, (target + 1) * size)
        self._keys[place], self._values[place] = held

    def gather(self, slots: mx.array) -> tuple[mx.array, mx.array]:
        """Copy tokens out of their slots, into rows that attention can read.

        Args:
            slots: integers [B, S]; any slot stands in where a row is shorter than S: mask it.

        Returns:
            keys and values [B, H_kv, S, D].
        """
        return tuple(pool[slots].swapaxes(1, 2) for pool in (self._keys, self._values))
