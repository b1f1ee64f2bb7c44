"""Sequences that begin alike share blocks."""

from course_lib.techniques.paged_kv import BlockAllocator, BlockTable, OutOfBlocks, PrefixCache

from .. import mutant, rival

SHARING = "paged_kv_cache.sharing"


class Sharing:
    """Right in itself; mutants change one method."""

    def __init__(self, num_blocks, block_size=16, prefix_caching=True):
        self.block_size, self.prefix_caching = block_size, prefix_caching
        self.allocator, self.prefixes = BlockAllocator(num_blocks), PrefixCache()

    def needed(self, tokens):
        return (tokens + self.block_size - 1) // self.block_size

    def take(self):
        block = self.allocator.allocate()
        self.prefixes.forget(block)
        return block

    def give_back(self, block):
        self.allocator.release(block, keep=block in self.prefixes)

    def append(self, table, count):
        missing = self.needed(table.num_tokens + count) - len(table.blocks)
        if missing > self.allocator.num_free:
            raise OutOfBlocks(f"{missing} are missing")
        table.blocks += [self.take() for _ in range(missing)]
        table.num_tokens += count
        return []

    def free(self, table):
        for block in reversed(table.blocks):
            self.give_back(block)
        table.blocks.clear()
        table.num_tokens = 0

    def limit(self, tokens):
        return (len(tokens) - 1) // self.block_size if tokens else 0

    def own(self, block):
        self.allocator.share(block)

    def new_table(self, tokens=()):
        table, prefix, size = BlockTable(self.block_size), PrefixCache.EMPTY, self.block_size
        for i in range(self.limit(tokens) if self.prefix_caching else 0):
            found = self.prefixes.find(prefix, tokens[i * size : (i + 1) * size])
            if not found:
                break
            block, prefix = found
            self.own(block)
            table.blocks.append(block)
            table.num_tokens += size
        return table

    def full(self, table, tokens):
        return table.num_full

    def remember(self, table, tokens):
        prefix, size = PrefixCache.EMPTY, self.block_size
        if self.prefix_caching:
            for i, block in enumerate(table.blocks[: self.full(table, tokens)]):
                prefix = self.prefixes.add(prefix, tokens[i * size : (i + 1) * size], block)


@mutant(SHARING, "block_too_many")
class ABlockAhead(Sharing):
    def needed(self, tokens):
        return tokens // self.block_size + 1


@mutant(SHARING, "block_too_few")
class RoundsDown(Sharing):
    def needed(self, tokens):
        return tokens // self.block_size


@mutant(SHARING, "too_greedy")
class CountsNewTokensAlone(Sharing):
    def append(self, table, count):
        if self.needed(count) > self.allocator.num_free:
            raise OutOfBlocks("not enough")
        return super().append(table, count)


@mutant(SHARING, "half_taken")
class TakesUntilNoneIsLeft(Sharing):
    def append(self, table, count):
        while len(table.blocks) < self.needed(table.num_tokens + count):
            table.blocks.append(self.take())
        table.num_tokens += count
        return []


@mutant(SHARING, "leak")
class KeepsThePartial(Sharing):
    def free(self, table):
        for block in reversed(table.blocks[: table.num_full]):
            self.give_back(block)
        table.blocks.clear()
        table.num_tokens = 0


@mutant(SHARING, "leak")
class OnlyEmptiesTheTable(Sharing):
    def free(self, table):
        table.blocks.clear()
        table.num_tokens = 0


@mutant(SHARING, "freed_early")
class ReleasesTwiceIfShared(Sharing):
    """Frees the block for everybody."""

    def give_back(self, block):
        for _ in range(self.allocator.owners(block)):
            super().give_back(block)


@mutant(SHARING, "not_emptied")
class LeavesTheTable(Sharing):
    def free(self, table):
        for block in reversed(table.blocks):
            self.give_back(block)


@mutant(SHARING, "whole_prompt")
class FindsAll(Sharing):
    def limit(self, tokens):
        return len(tokens) // self.block_size


@mutant(SHARING, "partial_block")
class RemembersPartial(Sharing):
    """By the tokens that are known, not by those that are computed."""

    def full(self, table, tokens):
        return len(tokens) // self.block_size


@mutant(SHARING, "partial_block")
class CachesThePartialBlocksHash(Sharing):
    """Remembers the last block, full or not, and looks for shorter ones too."""

    def full(self, table, tokens):
        return len(table.blocks)

    def new_table(self, tokens=()):
        table, prefix = BlockTable(self.block_size), PrefixCache.EMPTY
        while self.prefix_caching and table.num_tokens + 1 < len(tokens):
            for length in range(self.block_size, 0, -1):
                end = table.num_tokens + length
                found = end < len(tokens) and self.prefixes.find(prefix, tokens[table.num_tokens : end])
                if found:
                    break
            if not found:
                break
            self.own(found[0])
            table.blocks.append(found[0])
            table.num_tokens, prefix = end, found[1]
        return table


@mutant(SHARING, "not_found")
class RemembersNothing(Sharing):
    def remember(self, table, tokens):
        pass


@mutant(SHARING, "not_shared")
class HoldsWithoutOwning(Sharing):
    def own(self, block):
        pass


@mutant(SHARING, "stale")
class NeverForgets(Sharing):
    def take(self):
        return self.allocator.allocate()


@mutant(SHARING, "not_kept")
class KeepsNothing(Sharing):
    def give_back(self, block):
        self.allocator.release(block)


@mutant(SHARING, "free_order")
class FirstBlockFirst(Sharing):
    def free(self, table):
        table.blocks.reverse()
        super().free(table)


@mutant(SHARING, "always_on")
class AlwaysOn(Sharing):
    def __init__(self, num_blocks, block_size=16, prefix_caching=True):
        super().__init__(num_blocks, block_size)


@mutant(SHARING, "not_found")
class AnyBlockWithTheseTokens(Sharing):
    """Looks each block up as if it were the first."""

    def new_table(self, tokens=()):
        table, size = BlockTable(self.block_size), self.block_size
        for i in range(self.limit(tokens) if self.prefix_caching else 0):
            found = self.prefixes.find(PrefixCache.EMPTY, tokens[i * size : (i + 1) * size])
            if not found:
                break
            self.own(found[0])
            table.blocks.append(found[0])
            table.num_tokens += size
        return table


@rival(SHARING)
class ByOneDict:
    """No prefix cache of its own kind: a dict from all tokens so far to the block, and back."""

    def __init__(self, num_blocks, block_size=16, prefix_caching=True):
        self.block_size, self.on = block_size, prefix_caching
        self.allocator = BlockAllocator(num_blocks)
        self.block_of, self.path_of = {}, {}

    def append(self, table, count):
        total = table.num_tokens + count
        wanted = -(-total // self.block_size) - len(table.blocks)
        if wanted > self.allocator.num_free:
            raise OutOfBlocks(f"{wanted} wanted")
        for _ in range(wanted):
            block = self.allocator.allocate()
            self.block_of.pop(self.path_of.pop(block, None), None)
            table.blocks.append(block)
        table.num_tokens = total
        return []

    def free(self, table):
        while table.blocks:
            block = table.blocks.pop()
            self.allocator.release(block, block in self.path_of)
        table.num_tokens = 0

    def new_table(self, tokens=()):
        table = BlockTable(self.block_size)
        for end in range(self.block_size, len(tokens), self.block_size):
            block = self.block_of.get(tuple(tokens[:end]))
            if block is None:
                break
            self.allocator.share(block)
            table.blocks.append(block)
            table.num_tokens = end
        return table

    def remember(self, table, tokens):
        for i in range(table.num_full if self.on else 0):
            path = tuple(tokens[: (i + 1) * self.block_size])
            if path not in self.block_of and table.blocks[i] not in self.path_of:
                self.block_of[path], self.path_of[table.blocks[i]] = table.blocks[i], path
