"""Where a sequence's tokens lie."""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(eq=False)
class BlockTable:
    """One sequence's blocks, in the order of its tokens.

    A **slot** is a token's place in the pool: token t lies in slot blocks[t // block_size] * block_size +
    t % block_size.

    Attributes:
        block_size: tokens a block has room for.
        blocks: their numbers. All are full but perhaps the last.
        num_tokens: tokens held.
    """

    block_size: int
    blocks: list[int] = field(default_factory=list)
    num_tokens: int = 0

    @property
    def num_full(self) -> int:
        """Blocks that are full."""
        return self.num_tokens // self.block_size

    def slots(self, start: int = 0, end: int | None = None) -> Iterator[int]:
        """The slots of the tokens from `start` up to, but without, `end` (None: all that are held)."""
        for token in range(start, self.num_tokens if end is None else end):
            yield self.blocks[token // self.block_size] * self.block_size + token % self.block_size
