"""The oracle of block managers: sequences beside their tokens, and what each slot of the pool really holds."""

from ....techniques.paged_kv import BlockTable, OutOfBlocks
from ...mismatch import plain
from .diary import Diary


class Books:
    """Plays an engine on a block manager, and writes down what must be true.

    A slot is written with all tokens up to and including its own, which is what keys and values depend on:
    a sequence that finds anything else in its slots would say something else.

    Args:
        known_mistakes: names that the exercise has hints for; others are not named.
    """

    def __init__(self, t, make, num_blocks, size, known_mistakes, **options):
        self.t, self.size, self.num_blocks, self.diary = t, size, num_blocks, Diary()
        self.manager = make(num_blocks, size, **options)
        self.known_mistakes = known_mistakes
        self.tables: dict[str, object] = {}
        self.tokens: dict[str, list[int]] = {}
        self.pool: dict[int, tuple] = {}  # slot -> tokens up to its own
        self.sure: dict[tuple, int] = {}  # a beginning that must be found -> the block that ends it
        self.once: dict[int, set] = {}  # block -> beginnings that it ended when it was remembered

    # -- operations --------------------------------------------------------------------------------------

    def empty(self, name):
        """A sequence with a table of its own, which no manager has seen."""
        self.tables[name], self.tokens[name] = BlockTable(self.size), []

    def begin(self, name, tokens):
        """A sequence begins with what is known of its tokens. Returns how many were found."""
        table = self.manager.new_table(list(tokens))
        found = plain(table.num_tokens)
        self.diary.add(
            f"{name} = new_table({list(tokens)}) found {found} tokens in blocks {plain(table.blocks)}"
        )
        self.say(
            found == 0 or found < len(tokens),
            f"All {found} tokens of {list(tokens)} were found.\nWanted: at most "
            f"{len(tokens) - 1}: the last one must be computed, for its logits.",
            "whole_prompt",
        )
        whole = found % self.size == 0 and len(table.blocks) == found // self.size
        self.say(
            whole,
            f"The table holds {found} tokens in {len(table.blocks)} blocks of {self.size}.\nWanted: whole blocks.",
            "partial_block",
        )
        self.tables[name], self.tokens[name] = table, list(tokens)[:found]
        for position, slot in enumerate(self._slots(name)):
            self._read(name, position, slot, shared=True)
        wanted = 0
        while wanted + self.size < len(tokens) and tuple(tokens[: wanted + self.size]) in self.sure:
            wanted += self.size
        self.say(
            found >= wanted,
            f"{found} tokens were found.\nWanted: {wanted}, in blocks "
            f"{[self.sure[tuple(tokens[: i + self.size])] for i in range(0, wanted, self.size)]}.",
            "not_found",
        )
        self.count_owners("not_shared")
        return found

    def grow(self, name, new, remember=True):
        """Append tokens, write them, and let others find them. Returns False if the blocks did not suffice."""
        table, held = self.tables[name], self.tokens[name]
        before, free = list(plain(table.blocks)), self._free()
        end = len(held) + len(new)
        copies_wanted = bool(new) and len(held) % self.size > 0 and self._holders(before[-1]) > 1
        missing = -(-end // self.size) - len(before) + copies_wanted
        call = f"append({name}, {len(new)})"
        try:
            copies = self.manager.append(table, len(new))
        except OutOfBlocks as raised:
            self.diary.add(f"{call} raised OutOfBlocks")
            self.say(
                missing > free,
                f"{call} raises OutOfBlocks: {raised}\nWanted: {missing} of {free} free blocks.",
                "too_greedy",
            )
            same = list(plain(table.blocks)) == before and plain(table.num_tokens) == len(held)
            self.say(
                same and self._free() == free,
                f"{call} raised OutOfBlocks, and yet something has changed: {name} holds {plain(table.num_tokens)} tokens "
                f"in blocks {plain(table.blocks)}, {self._free()} are free.\nWanted: {len(held)} tokens in {before}, "
                f"{free} free. Count first, then take.",
                "half_taken",
            )
            return False
        copies = [tuple(plain(pair)) for pair in copies or []]
        self.diary.add(f"{call}" + (f" returned {copies}" if copies else ""))
        self.say(
            missing <= free,
            f"{call} needs {missing} blocks, {free} are free.\nWanted: OutOfBlocks.",
            "no_error",
        )
        self._look_at_blocks(name, before, end, copies_wanted, copies)
        self._copy(copies)
        self.tokens[name] = held = held + list(new)
        self._evict(set(plain(table.blocks)) - set(before))
        for position, slot in list(enumerate(self._slots(name)))[end - len(new) :]:
            block = slot // self.size
            others = [
                other for other in self.tables if other != name and block in plain(self.tables[other].blocks)
            ]
            self.say(
                not others,
                f"{name}'s token {position} goes to slot {slot}, in block {block}, which {', '.join(others)} "
                "holds as well.\nWanted: a block of its own.",
                "written_shared" if copies_wanted else "same_block",
            )
            self.pool[slot] = tuple(held[: position + 1])
        self.count_owners("leak" if copies_wanted else None)
        self.read_all()
        if remember:
            self.remember(name, held)
        return True

    def remember(self, name, tokens):
        """`tokens` may be more than the table holds."""
        self.manager.remember(self.tables[name], list(tokens))
        if len(tokens) > len(self.tokens[name]):
            self.diary.add(f"remember({name}, {list(tokens)})")
        held = self.tokens[name]
        for index, block in enumerate(plain(self.tables[name].blocks)[: len(held) // self.size]):
            path = tuple(held[: (index + 1) * self.size])
            self.sure.setdefault(path, block)
            self.once.setdefault(block, set()).add(path)

    def fork(self, name, new):
        """A second sequence with the same tokens in the same blocks."""
        table, free = self.tables[name], self._free()
        second = self.manager.fork(table)
        self.diary.add(f"{new} = fork({name})")
        self.say(
            second is not table and second.blocks is not table.blocks,
            f"{new} and {name} are the same {'table' if second is table else 'list of blocks'}: what one appends, the "
            "other has too.",
            "same_list",
        )
        self.say(
            self._free() == free,
            f"fork took {free - self._free()} blocks.\nWanted: none, all are shared.",
            "copied",
        )
        self.t.equal(self.diary.after(f"blocks of {new}"), plain(second.blocks), plain(table.blocks))
        self.t.equal(self.diary.after(f"num_tokens of {new}"), plain(second.num_tokens), len(self.tokens[name]))
        self.tables[new], self.tokens[new] = second, list(self.tokens[name])
        self.count_owners("not_counted")

    def end(self, name):
        """The sequence has ended, or was preempted."""
        table = self.tables.pop(name)
        self.tokens.pop(name)
        self.manager.free(table)
        self.diary.add(f"free({name})")
        self.count_owners("leak")
        self.t.equal(
            self.diary.after(f"blocks and num_tokens of {name}"),
            [plain(table.blocks), plain(table.num_tokens)],
            [[], 0],
            mistakes={n: lambda y: True for n in ("not_emptied",) if n in self.known_mistakes},
        )
        return table

    # -- comparisons -------------------------------------------------------------------------------------

    def count_owners(self, mistake=None):
        """Each block has as many owners as tables hold it."""
        for block in range(self.num_blocks):
            given, wanted = plain(self.manager.allocator.owners(block)), self._holders(block)
            holders = [name for name, table in self.tables.items() if block in plain(table.blocks)]
            held_by = ", ".join(holders) or "nobody"
            self.say(
                given == wanted,
                f"Block {block} has {given} owner(s) by the allocator's count.\nWanted: {wanted}: it is "
                f"held by {held_by}.",
                mistake if mistake != "leak" or given > wanted else "freed_early",
            )

    def read_all(self):
        """What each sequence reads is what it, or another with the same beginning, wrote."""
        for name in self.tables:
            for position, slot in enumerate(self._slots(name)):
                self._read(name, position, slot)

    def say(self, condition, message, mistake=None):
        named = mistake if mistake in self.known_mistakes else None
        self.t.true(condition, self.diary.after(message), named)

    def _read(self, name, position, slot, shared=False):
        wanted, held = tuple(self.tokens[name][: position + 1]), self.pool.get(slot)
        block, mistake = slot // self.size, None
        if shared and held != wanted:
            end = (position // self.size + 1) * self.size
            was_here = tuple(self.tokens[name][:end]) in self.once.get(block, ())
            same_tokens = held is not None and held[-1] == wanted[-1] and len(held) != len(wanted)
            mistake = "stale" if was_here else "partial_block" if held is None or not same_tokens else None
        text = "nothing" if held is None else f"token {held[-1]} after {list(held[:-1])}"
        self.say(
            held == wanted,
            f"{name} reads block {block} for its token {wanted[-1]} after {list(wanted[:-1])}; there lies {text}.",
            mistake,
        )

    def _look_at_blocks(self, name, before, end, copies_wanted, copies):
        table = self.tables[name]
        blocks, wanted = list(plain(table.blocks)), -(-end // self.size)
        self.t.equal(self.diary.after(f"num_tokens of {name}"), plain(table.num_tokens), end)
        self.say(
            len(blocks) == wanted,
            f"{name} holds {end} tokens in {len(blocks)} blocks of {self.size}.\nWanted: {wanted}.",
            "block_too_many" if len(blocks) > wanted else "block_too_few",
        )
        self.say(len(set(blocks)) == len(blocks), f"{name} holds a block twice: {blocks}.", "same_block")
        kept = before[:-1] if copies_wanted else before
        self.say(
            blocks[: len(kept)] == kept,
            f"{name}'s blocks were {before} and are {blocks} now.\nWanted: new ones at the end, "
            f"{kept} as before.",
            "needless_copy",
        )
        if not copies_wanted:
            self.say(
                not copies,
                f"append asks for the copies {copies}.\nWanted: none, nobody else writes there.",
                "needless_copy",
            )
            return
        last, new = before[-1], blocks[len(before) - 1]
        self.say(
            new != last,
            f"{name} writes on in block {last}, which {self._holders(last)} sequences hold.\nWanted: a new "
            "block in its place, and the copy that fills it.",
            "written_shared",
        )
        pair = [(last, new)]
        mistake = "not_reported" if not copies else "reversed" if copies == [(new, last)] else None
        self.say(
            copies == pair,
            f"append returned {copies}.\nWanted: {pair}, from the shared block to the new one.",
            mistake,
        )

    # -- the pool ----------------------------------------------------------------------------------------

    def _copy(self, copies):
        for source, target in copies:
            for i in range(self.size):
                if source * self.size + i in self.pool:
                    self.pool[target * self.size + i] = self.pool[source * self.size + i]

    def _evict(self, blocks):
        """Blocks were handed out anew: what they ended is not to be found any more."""
        for path in [path for path, block in self.sure.items() if block in blocks]:
            self.sure = {p: b for p, b in self.sure.items() if p[: len(path)] != path}

    def _slots(self, name):
        blocks = plain(self.tables[name].blocks)
        return [blocks[i // self.size] * self.size + i % self.size for i in range(len(self.tokens[name]))]

    def _free(self):
        return plain(self.manager.allocator.num_free)

    def _holders(self, block):
        return sum(list(plain(table.blocks)).count(block) for table in self.tables.values())
