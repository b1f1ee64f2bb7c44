"""The pool of keys and values."""

import mlx.core as mx
import numpy as np

from .. import mutant, rival

POOL = "paged_kv_cache.pool"


class _Pool:
    """Right in itself; mutants change one method."""

    def __init__(self, num_blocks, block_size, num_kv_heads, head_dim, dtype=mx.float32):
        self.block_size = block_size
        self.pools = [mx.zeros((num_blocks * block_size, num_kv_heads, head_dim), dtype) for _ in range(2)]

    @property
    def nbytes(self):
        return sum(p.nbytes for p in self.pools)

    def write(self, slots, keys, values):
        for pool, new in zip(self.pools, (keys, values)):
            pool[slots] = new

    def copy_block(self, source, target):
        s = self.block_size
        for pool in self.pools:
            pool[target * s : (target + 1) * s] = pool[source * s : (source + 1) * s]

    def gather(self, slots):
        return tuple(p[slots].swapaxes(1, 2) for p in self.pools)


@mutant(POOL, "swapped")
class Swapped(_Pool):
    def gather(self, slots):
        return super().gather(slots)[::-1]


@mutant(POOL, "axes")
class TokensFirst(_Pool):
    def gather(self, slots):
        return tuple(p[slots] for p in self.pools)


@mutant(POOL, "in_order")
class WritesInOrder(_Pool):
    def write(self, slots, keys, values):
        for pool, new in zip(self.pools, (keys, values)):
            pool[: len(slots)] = new


@mutant(POOL, "replaced")
class BeginsAnew(_Pool):
    def write(self, slots, keys, values):
        self.pools = [mx.zeros(p.shape, p.dtype) for p in self.pools]
        super().write(slots, keys, values)


@mutant(POOL, "one_slot")
class CopiesOneToken(_Pool):
    def copy_block(self, source, target):
        for pool in self.pools:
            pool[target * self.block_size] = pool[source * self.block_size]


@mutant(POOL, "slot_numbers")
class CopiesSlots(_Pool):
    def copy_block(self, source, target):
        for pool in self.pools:
            pool[target] = pool[source]


@mutant(POOL, "backwards")
class CopiesBackwards(_Pool):
    def copy_block(self, source, target):
        super().copy_block(target, source)


@mutant(POOL, "keys_only")
class CopiesKeysOnly(_Pool):
    def copy_block(self, source, target):
        s = self.block_size
        self.pools[0][target * s : (target + 1) * s] = self.pools[0][source * s : (source + 1) * s]


@mutant(POOL, None)
class SharedByAllLayers(_Pool):
    pools = []

    def __init__(self, num_blocks, block_size, num_kv_heads, head_dim, dtype=mx.float32):
        self.block_size = block_size
        self.pools[:] = [mx.zeros((num_blocks * block_size, num_kv_heads, head_dim), dtype) for _ in range(2)]


@rival(POOL)
class InBlocks:
    """Keeps [block, place, head, D], in NumPy."""

    def __init__(self, num_blocks, block_size, num_kv_heads, head_dim, dtype=mx.float32):
        self.dtype, self.block_size = dtype, block_size
        shape = (2, num_blocks, block_size, num_kv_heads, head_dim)
        self.held = np.zeros(shape, np.float16 if dtype == mx.float16 else np.float32)

    nbytes = property(lambda self: self.held.nbytes)

    def write(self, slots, keys, values):
        for slot, key, value in zip(slots.tolist(), np.array(keys), np.array(values)):
            block, place = divmod(slot, self.block_size)
            self.held[0, block, place], self.held[1, block, place] = key, value

    def copy_block(self, source, target):
        self.held[:, target] = self.held[:, source]

    def gather(self, slots):
        blocks, places = np.divmod(np.array(slots), self.block_size)
        return [mx.array(x[blocks, places]).swapaxes(1, 2) for x in self.held]
