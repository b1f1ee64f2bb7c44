"""A block manager whose sequences begin alike but never part: the step before `paged_kv.BlockManager`.

Sequences share full blocks only, which nobody writes to again, so nothing has to be copied.
"""

from course_lib.techniques.paged_kv import BlockManager, BlockTable, OutOfBlocks


class SharingBlocks(BlockManager):
    """`BlockManager` without forks, and so without copy on write."""

    def append(self, table: BlockTable, count: int) -> list[tuple[int, int]]:
        """Room for `count` more tokens.

        Returns:
            No copies, ever.

        Raises:
            OutOfBlocks: there are not enough free blocks; nothing has changed.
        """
        missing = -(-(table.num_tokens + count) // self.block_size) - len(table.blocks)
        if missing > self.allocator.num_free:
            raise OutOfBlocks(f"{missing} blocks are missing and {self.allocator.num_free} are free")
        table.blocks.extend(self._allocate() for _ in range(missing))
        table.num_tokens += count
        return []

    def fork(self, table: BlockTable) -> BlockTable:
        """
        Raises:
            TypeError: always.
        """
        raise TypeError("sequences of SharingBlocks cannot fork; BlockManager's can")
