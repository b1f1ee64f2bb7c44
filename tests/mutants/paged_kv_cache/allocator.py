"""The allocator."""

from course_lib.techniques.paged_kv import OutOfBlocks

from .. import mutant, rival

ALLOCATOR = "paged_kv_cache.allocator"


class _Allocator:
    """Right in itself, with a plain list; mutants change one method."""

    def __init__(self, num_blocks):
        self.num_blocks = num_blocks
        self.counts = [0] * num_blocks
        self.queue = list(range(num_blocks))

    @property
    def num_free(self):
        return len(self.queue)

    def look(self, block):
        if not 0 <= block < self.num_blocks:
            raise ValueError(f"no block {block}")

    def owners(self, block):
        self.look(block)
        return self.counts[block]

    def allocate(self):
        if not self.queue:
            raise OutOfBlocks("none free")
        block = self.queue.pop(0)
        self.counts[block] = 1
        return block

    def share(self, block):
        self.look(block)
        if not self.counts[block]:
            self.queue.remove(block)
        self.counts[block] += 1

    def release(self, block, keep=False):
        self.look(block)
        if not self.counts[block]:
            raise ValueError(f"{block} is free")
        self.counts[block] -= 1
        if not self.counts[block]:
            self.put_back(block, keep)

    def put_back(self, block, keep):
        self.queue.insert(len(self.queue) if keep else 0, block)


@mutant(ALLOCATOR, "same_twice")
class LeavesItInTheQueue(_Allocator):
    def allocate(self):
        block = self.queue[0]
        self.counts[block] = 1
        return block

    num_free = property(lambda self: self.counts.count(0))


@mutant(ALLOCATOR, "no_owner")
class CountsNobody(_Allocator):
    def allocate(self):
        block = super().allocate()
        self.counts[block] = 0
        return block


@mutant(ALLOCATOR, "wrong_error")
class PopsFromEmpty(_Allocator):
    def allocate(self):
        block = self.queue.pop(0)
        self.counts[block] = 1
        return block


@mutant(ALLOCATOR, "wrong_error")
class ReturnsNone(_Allocator):
    def allocate(self):
        return super().allocate() if self.queue else None


@mutant(ALLOCATOR, "freed_early")
class FreesAtOnce(_Allocator):
    def release(self, block, keep=False):
        self.look(block)
        if not self.counts[block]:
            raise ValueError("free already")
        self.counts[block] = 0
        self.put_back(block, keep)


@mutant(ALLOCATOR, "freed_early")
class QueuesAtOnce(_Allocator):
    def release(self, block, keep=False):
        self.look(block)
        if not self.counts[block]:
            raise ValueError("free already")
        self.counts[block] -= 1
        self.put_back(block, keep)


@mutant(ALLOCATOR, "leak")
class NeverPutsBack(_Allocator):
    def put_back(self, block, keep):
        pass


@mutant(ALLOCATOR, "leak")
class NeverCountsDown(_Allocator):
    def release(self, block, keep=False):
        self.look(block)


@mutant(ALLOCATOR, "double_free")
class ReleasesFreeOnes(_Allocator):
    def release(self, block, keep=False):
        self.look(block)
        self.counts[block] = max(0, self.counts[block] - 1)
        if not self.counts[block]:
            self.put_back(block, keep)


@mutant(ALLOCATOR, "not_shared")
class SharesWithoutCounting(_Allocator):
    def share(self, block):
        self.look(block)


@mutant(ALLOCATOR, "still_queued")
class SharesWhatIsQueued(_Allocator):
    def share(self, block):
        self.look(block)
        self.counts[block] += 1


@mutant(ALLOCATOR, "still_queued")
class SharesWhatIsQueuedAndCountsByOwners(SharesWhatIsQueued):
    num_free = property(lambda self: self.counts.count(0))


@mutant(ALLOCATOR, "keep_ignored")
class Stack(_Allocator):
    def put_back(self, block, keep):
        self.queue.insert(0, block)


@mutant(ALLOCATOR, "keep_ignored")
class PlainQueue(_Allocator):
    def put_back(self, block, keep):
        self.queue.append(block)


@mutant(ALLOCATOR, "newest_first")
class KeepsAStack(_Allocator):
    def __init__(self, num_blocks):
        super().__init__(num_blocks)
        self.kept = []

    def put_back(self, block, keep):
        if keep:
            self.kept.append(block)
        else:
            self.queue.append(block)

    def allocate(self):
        if self.kept and not self.queue:
            self.queue.append(self.kept.pop())
        return super().allocate()

    def share(self, block):
        if block in self.kept:
            self.kept.remove(block)
            self.queue.append(block)
        super().share(block)

    num_free = property(lambda self: len(self.queue) + len(self.kept))


@mutant(ALLOCATOR, "negative")
class TakesNegative(_Allocator):
    def look(self, block):
        if block >= self.num_blocks:
            raise ValueError(f"no block {block}")


@mutant(ALLOCATOR, None)
class IndexErrors(_Allocator):
    def look(self, block):
        self.counts[block] if block >= 0 else self.counts[self.num_blocks]


@mutant(ALLOCATOR, None)
class SharesBetweenPools(_Allocator):
    counts = [0] * 6
    queue = []

    def __init__(self, num_blocks):
        self.num_blocks = num_blocks
        self.queue[:] = range(num_blocks)
        self.counts[:] = [0] * num_blocks


@rival(ALLOCATOR)
class ByTimeStamps:
    """No queue at all: looks for the block with the smallest stamp."""

    def __init__(self, num_blocks):
        self.num_blocks, self.now = num_blocks, 0
        self.held = {b: 0 for b in range(num_blocks)}
        self.stamp = {b: 0 for b in range(num_blocks)}

    @property
    def num_free(self):
        return sum(n == 0 for n in self.held.values())

    def owners(self, block):
        if block not in self.held:
            raise ValueError(f"{block} is no block")
        return self.held[block]

    def allocate(self):
        free = [b for b, n in self.held.items() if not n]
        if not free:
            raise OutOfBlocks("all in use")
        block = min(free, key=lambda b: (self.stamp[b], -b))
        self.held[block] = 1
        return block

    def share(self, block):
        self.held[block] = self.owners(block) + 1

    def release(self, block, keep=False):
        if self.owners(block) < 1:
            raise ValueError(f"{block} has no owner")
        self.held[block] -= 1
        self.now += 1
        self.stamp[block] = self.now if keep else 0
