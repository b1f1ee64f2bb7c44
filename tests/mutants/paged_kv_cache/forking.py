"""Fork, and copy on write."""

from course_lib.techniques.paged_kv import BlockTable, OutOfBlocks
from course_lib.techniques.sharing_blocks import SharingBlocks

from .. import mutant, rival
from .sharing import Sharing

FORK = "paged_kv_cache.fork"


class _Forking(Sharing):
    """Right in itself; mutants change one method."""

    def fork(self, table):
        for block in table.blocks:
            self.allocator.share(block)
        return BlockTable(self.block_size, list(table.blocks), table.num_tokens)

    def shared(self, table, count):
        partly = table.num_tokens % self.block_size > 0
        return count > 0 and partly and self.allocator.owners(table.blocks[-1]) > 1

    def append(self, table, count):
        copies, shared = [], self.shared(table, count)
        missing = self.needed(table.num_tokens + count) - len(table.blocks)
        if missing + shared > self.allocator.num_free:
            raise OutOfBlocks("not enough for the copy")
        if shared:
            copies.append(self.replace(table))
        super().append(table, count)
        return copies

    def replace(self, table):
        old, table.blocks[-1] = table.blocks[-1], self.take()
        self.give_back(old)
        return old, table.blocks[-1]


@mutant(FORK, "same_list")
class SameList(_Forking):
    def fork(self, table):
        second = super().fork(table)
        second.blocks = table.blocks
        return second


@mutant(FORK, "same_list")
class SameTable(_Forking):
    def fork(self, table):
        super().fork(table)
        return table


@mutant(FORK, "not_counted")
class ForkOwnsNothing(_Forking):
    def fork(self, table):
        return BlockTable(self.block_size, list(table.blocks), table.num_tokens)


@mutant(FORK, "copied")
class CopiesAtOnce(_Forking):
    def fork(self, table):
        return BlockTable(self.block_size, [self.take() for _ in table.blocks], table.num_tokens)


@mutant(FORK, "written_shared")
class WritesOn(_Forking):
    def shared(self, table, count):
        return False


@mutant(FORK, "written_shared")
class LeavesItToTheGivenClass(SharingBlocks):
    """What somebody hands in who has not done the exercise before: the reference must not do this one's work."""

    def fork(self, table):
        return _Forking.fork(self, table)

    def append(self, table, count):
        return super().append(table, count)


@mutant(FORK, "not_reported")
class TellsNobody(_Forking):
    def append(self, table, count):
        super().append(table, count)
        return []


@mutant(FORK, "reversed")
class Reversed(_Forking):
    def replace(self, table):
        return super().replace(table)[::-1]


@mutant(FORK, "needless_copy")
class CopiesFullOnes(_Forking):
    def shared(self, table, count):
        return count > 0 and bool(table.blocks) and self.allocator.owners(table.blocks[-1]) > 1


@mutant(FORK, "needless_copy")
class CopiesItsOwn(_Forking):
    def shared(self, table, count):
        return count > 0 and table.num_tokens % self.block_size > 0


@mutant(FORK, "needless_copy")
class CopiesForNothing(_Forking):
    def shared(self, table, count):
        return super().shared(table, 1)


@mutant(FORK, "leak")
class KeepsTheOld(_Forking):
    def replace(self, table):
        old, table.blocks[-1] = table.blocks[-1], self.take()
        return old, table.blocks[-1]


@mutant(FORK, "half_taken")
class DoesNotCountTheCopy(_Forking):
    def append(self, table, count):
        copies = [self.replace(table)] if self.shared(table, count) else []
        Sharing.append(self, table, count)
        return copies


@mutant(FORK, None)
class ForgetsNotToForget(_Forking):
    """The copy goes into a block that is still known for what it held."""

    def replace(self, table):
        old, table.blocks[-1] = table.blocks[-1], self.allocator.allocate()
        self.give_back(old)
        return old, table.blocks[-1]


@rival(FORK)
class LooksAtOwnersLater(Sharing):
    """Another order: the new blocks first, then the one in place of the shared."""

    def fork(self, table):
        second = BlockTable(table.block_size)
        second.blocks += table.blocks
        second.num_tokens = table.num_tokens
        [self.allocator.share(b) for b in second.blocks]
        return second

    def append(self, table, count):
        room = len(table.blocks) * self.block_size - table.num_tokens
        last = table.blocks[-1] if table.blocks else None
        copy = bool(room and count) and self.allocator.owners(last) > 1
        new = max(0, self.needed(count - room))
        if new + copy > self.allocator.num_free:
            raise OutOfBlocks(f"{new + copy} blocks wanted")
        at = len(table.blocks) - 1
        table.blocks.extend(self.take() for _ in range(new))
        table.num_tokens += count
        if not copy:
            return []
        table.blocks[at] = self.take()
        self.give_back(last)
        return [[last, table.blocks[at]]]
