"""The block table."""

import numpy as np

from .. import mutant, rival

TABLE = "paged_kv_cache.block_table"


class _Table:
    """Right in itself; mutants change one place."""

    def __init__(self, block_size, blocks=None, num_tokens=0):
        self.block_size = block_size
        self.blocks = list(blocks or [])
        self.num_tokens = num_tokens

    @property
    def num_full(self):
        return self.num_tokens // self.block_size

    def slots(self, start=0, end=None):
        return [self.slot(t) for t in range(start, self.num_tokens if end is None else end)]

    def slot(self, t):
        return self.blocks[t // self.block_size] * self.block_size + t % self.block_size


@mutant(TABLE, "token_number")
class TokenNumbers(_Table):
    def slot(self, t):
        return t


@mutant(TABLE, "block_numbers")
class BlockNumbers(_Table):
    def slot(self, t):
        return self.blocks[t // self.block_size]


@mutant(TABLE, "block_numbers")
class ReturnsTheBlocks(_Table):
    def slots(self, start=0, end=None):
        return self.blocks


@mutant(TABLE, "no_offset")
class FirstSlots(_Table):
    def slot(self, t):
        return self.blocks[t // self.block_size] * self.block_size


@mutant(TABLE, "not_scaled")
class AddsUnscaled(_Table):
    def slot(self, t):
        return self.blocks[t // self.block_size] + t % self.block_size


@mutant(TABLE, "next_block")
class OneBlockOn(_Table):
    def slot(self, t):
        entry = (t // self.block_size + 1) % len(self.blocks)
        return self.blocks[entry] * self.block_size + t % self.block_size


@mutant(TABLE, "next_block")
class CountsTokensFromOne(_Table):
    def slot(self, t):
        return self.blocks[(t + 1) // self.block_size] * self.block_size + t % self.block_size


@mutant(TABLE, "next_block")
class OneBlockBack(_Table):
    def slot(self, t):
        return self.blocks[t // self.block_size - 1] * self.block_size + t % self.block_size


@mutant(TABLE, "start_ignored")
class FromTheBeginning(_Table):
    def slots(self, start=0, end=None):
        return super().slots(0, end)


@mutant(TABLE, "end_included")
class EndIncluded(_Table):
    def slots(self, start=0, end=None):
        return super().slots(start, end if end is None else end + 1)


@mutant(TABLE, "all_slots")
class WholeBlocks(_Table):
    def slots(self, start=0, end=None):
        return super().slots(start, len(self.blocks) * self.block_size if end is None else end)


@mutant(TABLE, "partial_counted")
class CountsPartial(_Table):
    @property
    def num_full(self):
        return len(self.blocks)


@mutant(TABLE, "shared")
class SharesADefault(_Table):
    def __init__(self, block_size, blocks=[], num_tokens=0):  # noqa: B006, the mistake
        super().__init__(block_size, None, num_tokens)
        self.blocks = blocks


@mutant(TABLE, None)
class Reversed(_Table):
    def slots(self, start=0, end=None):
        return super().slots(start, end)[::-1]


@rival(TABLE)
class ByNumPy:
    """All slots at once."""

    def __init__(self, block_size, blocks=(), num_tokens=0):
        self.block_size, self.blocks, self.num_tokens = block_size, [*blocks], num_tokens

    def slots(self, start=0, end=None):
        grid = np.array(self.blocks, int)[:, None] * self.block_size + np.arange(self.block_size)
        return grid.reshape(-1)[: self.num_tokens][start:end]

    num_full = property(lambda self: divmod(self.num_tokens, self.block_size)[0])
