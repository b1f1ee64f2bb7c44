"""Blocks for sequences that grow, shrink, fork, begin alike, and end."""

from collections.abc import Sequence

from course_lib.techniques.paged_kv.block_allocator import BlockAllocator, OutOfBlocks
from course_lib.techniques.paged_kv.block_table import BlockTable
from course_lib.techniques.paged_kv.prefix_cache import PrefixCache


class BlockManager:
    """Gives blocks to block tables.

    It only keeps the books: whoever holds the keys and values writes them to the slots of new tokens,
    and first copies the blocks that `append` says.

    Args:
        num_blocks: in the pool.
        block_size: tokens a block.
        prefix_caching: find and keep blocks by content.
    """

    def __init__(self, num_blocks: int, block_size: int = 16, prefix_caching: bool = True) -> None:
        if block_size < 1:
            raise ValueError(f"block_size is {block_size}; a block holds at least 1 token")
        self.block_size = block_size
        self.allocator = BlockAllocator(num_blocks)
        self.prefixes = PrefixCache()
        self.prefix_caching = prefix_caching

    def new_table(self, tokens: Sequence[int] = ()) -> BlockTable:
        """A table that already holds the longest known prefix of `tokens`, in whole blocks.

        At least the last token is left out: the logits after it are not in any cache.
        """
        table, prefix = BlockTable(self.block_size), PrefixCache.EMPTY
        while self.prefix_caching and table.num_tokens + self.block_size < len(tokens):
            end = table.num_tokens + self.block_size
            found = self.prefixes.find(prefix, tokens[table.num_tokens : end])
            if found is None:
                break
            block, prefix = found
            self.allocator.share(block)
            table.blocks.append(block)
            table.num_tokens = end
        return table

    def missing(self, table: BlockTable, count: int) -> int:
        """How many free blocks it takes to append `count` tokens."""
        end = table.num_tokens + count
        new = -(-end // self.block_size) - len(table.blocks)
        return new + (count > 0 and self._is_shared_at_the_end(table))

    def append(self, table: BlockTable, count: int) -> list[tuple[int, int]]:
        """Room for `count` more tokens.

        Returns:
            (from, to) of the blocks whose content is to be copied before anything is written: a block that
            several tables hold is not written to, but replaced by a copy (copy on write). At most one.

        Raises:
            OutOfBlocks: there are not enough free blocks; nothing has changed.
        """
        if count < 0:
            raise ValueError(f"cannot append {count} tokens; trim takes tokens away")
        if (missing := self.missing(table, count)) > self.allocator.num_free:
            raise OutOfBlocks(f"{missing} blocks are missing and {self.allocator.num_free} are free")
        copies = []
        if count and table.num_tokens % self.block_size:
            last = table.blocks[-1]
            if self.allocator.owners(last) > 1:
                table.blocks[-1] = self._allocate()
                copies.append((last, table.blocks[-1]))
                self._release(last)
            else:
                self.prefixes.forget(last)  # known from when it was full, before a trim
        table.num_tokens += count
        while len(table.blocks) * self.block_size < table.num_tokens:
            table.blocks.append(self._allocate())
        return copies

    def trim(self, table: BlockTable, count: int) -> None:
        """Forget the newest `count` tokens, and give back the blocks that are empty then.

        Raises:
            ValueError: count is negative or more than the table holds.
        """
        if not 0 <= count <= table.num_tokens:
            raise ValueError(f"cannot trim {count} of {table.num_tokens} tokens")
        table.num_tokens -= count
        while (len(table.blocks) - 1) * self.block_size >= table.num_tokens and table.blocks:
            self._release(table.blocks.pop())

    def fork(self, table: BlockTable) -> BlockTable:
        """A second table with the same tokens in the same blocks."""
        for block in table.blocks:
            self.allocator.share(block)
        return BlockTable(self.block_size, list(table.blocks), table.num_tokens)

    def free(self, table: BlockTable) -> None:
        """The sequence has ended: give all its blocks back.

        The last first: of a prefix that nobody uses, the end is evicted before the beginning, without
        which it could not be found.
        """
        while table.blocks:
            self._release(table.blocks.pop())
        table.num_tokens = 0

    def remember(self, table: BlockTable, tokens: Sequence[int]) -> None:
        """Let others find the table's full blocks.

        Args:
            tokens: those that the table holds, or more. Their keys and values are in the blocks by the time
                anyone reads them.
        """
        if not self.prefix_caching:
            return
        prefix = PrefixCache.EMPTY
        for index, block in enumerate(table.blocks[: table.num_full]):
            own = tokens[index * self.block_size : (index + 1) * self.block_size]
            prefix = self.prefixes.add(prefix, own, block)

    def _is_shared_at_the_end(self, table: BlockTable) -> bool:
        partly_filled = table.num_tokens % self.block_size > 0
        return partly_filled and self.allocator.owners(table.blocks[-1]) > 1

    def _allocate(self) -> int:
        block = self.allocator.allocate()
        self.prefixes.forget(block)  # evicted, if it was known
        return block

    def _release(self, block: int) -> None:
        self.allocator.release(block, keep=block in self.prefixes)
