"""Blocks: free ones, and how many owners each of the others has."""

from collections import OrderedDict


class OutOfBlocks(RuntimeError):
    """No block is free."""


class BlockAllocator:
    """Hands out blocks and counts their owners.

    A block that its last owner lets go of becomes free, but what it holds stays there until it is handed out
    again. Free blocks stand in a queue: those that hold nothing of use in front, behind them those worth
    keeping, the longest unused first. So the queue's order is the order of eviction (LRU), and `share` can
    bring a free block back to life.

    Attributes:
        num_blocks (int): blocks in the pool, numbered from 0.
    """

    def __init__(self, num_blocks: int) -> None:
        if num_blocks < 1:
            raise ValueError(f"num_blocks is {num_blocks}; a pool has at least 1 block")
        self.num_blocks = num_blocks
        self._owners = [0] * num_blocks
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))

    @property
    def num_free(self) -> int:
        return len(self._free)

    def owners(self, block: int) -> int:
        """How many hold the block; 0 if it is free.

        Raises:
            ValueError: no such block.
        """
        if not 0 <= block < self.num_blocks:
            raise ValueError(f"there is no block {block}; blocks 0 to {self.num_blocks - 1} exist")
        return self._owners[block]

    def allocate(self) -> int:
        """Take the first free block. It has one owner then.

        Raises:
            OutOfBlocks: none is free.
        """
        if not self._free:
            raise OutOfBlocks(f"all {self.num_blocks} blocks are in use")
        block, _ = self._free.popitem(last=False)
        self._owners[block] = 1
        return block

    def share(self, block: int) -> None:
        """One more owner. A free block comes back to life, with what it holds."""
        if self.owners(block) == 0:
            del self._free[block]
        self._owners[block] += 1

    def release(self, block: int, keep: bool = False) -> None:
        """One owner less. After the last the block is free.

        Args:
            keep: what it holds may be wanted again: reuse it after all others.

        Raises:
            ValueError: it is free already.
        """
        if self.owners(block) == 0:
            raise ValueError(f"block {block} is free already: it was released once too often")
        self._owners[block] -= 1
        if self._owners[block] == 0:
            self._free[block] = None
            self._free.move_to_end(block, last=keep)
