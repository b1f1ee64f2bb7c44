"""Blocks: who is free, and how many own the others."""

import itertools

from ....techniques.paged_kv import BlockAllocator, OutOfBlocks
from ...exercise import Exercise
from ...mismatch import plain
from .diary import Diary
from .names import NAMES

allocator = Exercise(
    "paged_kv_cache.allocator",
    "A block allocator that counts owners",
    name="BlockAllocator",
    reference=BlockAllocator,
    names=NAMES,
    mistakes={
        "same_twice": (
            "A block that somebody holds was handed out again: two sequences would write over each other. "
            "Take it out of the queue when you hand it out."
        ),
        "no_owner": "A block that was just handed out has one owner: set its count in `allocate`.",
        "wrong_error": "When nothing is free, raise `OutOfBlocks`: the engine waits for it, and preempts somebody.",
        "freed_early": (
            "The block became free while somebody still holds it. `release` takes one owner away; only after "
            "the last one is the block free."
        ),
        "leak": (
            "A block whose last owner let go is not free again: it leaks, and after some requests the pool "
            "is empty with nobody in it."
        ),
        "double_free": (
            "A free block was released without a complaint: it would stand in the queue twice and be handed "
            "to two sequences. Raise ValueError."
        ),
        "not_shared": "`share` adds an owner: one more `release` is needed before the block is free.",
        "still_queued": (
            "A free block was shared and stayed in the queue, so it was handed out under its new owner's "
            "hands. `share` takes a free block out of the queue."
        ),
        "keep_ignored": (
            "A block that was released with keep=True was reused while others were free. Those worth "
            "keeping go to the end of the queue, all others to its front."
        ),
        "newest_first": (
            "Of the kept blocks the one used last was reused first. The longest unused goes first: append "
            "at the end, take from the front."
        ),
        "negative": "Block -1 was accepted: Python counts it from the end of a list. Check the number first.",
    },
)


class _Blocks:
    """Plays an allocator and knows what it must say. Which of several fresh blocks comes first is open."""

    def __init__(self, t, make, num_blocks):
        self.t, self.num_blocks, self.diary = t, num_blocks, Diary()
        self.allocator = make(num_blocks)
        self.diary.add(f"pool = BlockAllocator({num_blocks})")
        self.owners = [0] * num_blocks
        self.kept: list[int] = []  # free and worth keeping, the longest unused first
        self.fresh = set(range(num_blocks))  # free, nothing of use in them
        self.revived: int | None = None  # the free block that was shared last

    def allocate(self):
        if not self.kept and not self.fresh:
            self.out_of_blocks()
            return None
        block = plain(self.allocator.allocate())
        self.diary.add(f"pool.allocate() gave {block}")
        self.say(
            type(block) is int and 0 <= block < self.num_blocks,
            f"allocate() gave {block!r}.\nWanted: the number of a block, 0 to {self.num_blocks - 1}.",
        )
        held = self.owners[block] > 0
        revived = held and self.revived == block
        self.say(
            not held,
            f"allocate() gave block {block}, which has {self.owners[block]} owner(s).\nWanted: a free one.",
            "still_queued" if revived else "same_twice",
        )
        if self.fresh:
            self.say(
                block in self.fresh,
                f"allocate() gave block {block}, which was to be kept.\n"
                f"Wanted: one that holds nothing of use: {sorted(self.fresh)}.",
                "keep_ignored",
            )
            self.fresh.discard(block)
        else:
            self.say(
                block == self.kept[0],
                f"allocate() gave block {block}.\nWanted: {self.kept[0]}, the longest unused of {self.kept}.",
                "newest_first" if block == self.kept[-1] else None,
            )
            self.kept.pop(0)
        self.owners[block] = 1
        self.counts(block, {"no_owner": 0})
        return block

    def out_of_blocks(self):
        what = self.diary.after("allocate() with no block free")
        try:
            block = self.allocator.allocate()
        except (OutOfBlocks, NotImplementedError) as raised:
            if isinstance(raised, NotImplementedError):
                raise
        except Exception as raised:
            self.t.true(
                False, f"{what} raises {type(raised).__name__}: {raised}\nWanted: OutOfBlocks.", "wrong_error"
            )
        else:
            twice = "still_queued" if self.revived is not None else "same_twice"
            self.t.true(
                False,
                f"{what} gives {block!r}.\nWanted: OutOfBlocks.",
                "wrong_error" if block is None else twice,
            )

    def share(self, block):
        self.allocator.share(block)
        self.diary.add(f"pool.share({block})")
        if self.owners[block] == 0:
            self.revived = block
        self.fresh.discard(block)
        if block in self.kept:
            self.kept.remove(block)
        self.owners[block] += 1
        self.counts(block, {"not_shared": self.owners[block] - 1})

    def release(self, block, keep=False):
        self.allocator.release(block, keep) if keep else self.allocator.release(block)
        self.diary.add(f"pool.release({block}{', keep=True' if keep else ''})")
        self.owners[block] -= 1
        if self.owners[block] == 0:
            self.kept.append(block) if keep else self.fresh.add(block)
        self.counts(
            block, {"freed_early": lambda n: n < self.owners[block], "leak": lambda n: n > self.owners[block]}
        )

    def counts(self, block, mistakes):
        self.t.equal(
            self.diary.after(f"owners({block})"),
            plain(self.allocator.owners(block)),
            self.owners[block],
            mistakes=mistakes,
        )
        free = len(self.kept) + len(self.fresh)
        late = "still_queued" if self.revived == block else None
        named = {"leak": lambda n: n < free, late or "freed_early": lambda n: n > free}
        self.t.equal(self.diary.after("num_free"), plain(self.allocator.num_free), free, mistakes=named)

    def say(self, condition, message, mistake=None):
        self.t.true(condition, self.diary.after(message), mistake)


@allocator.case("all blocks of a new pool are free")
def _(answer, t):
    pool = answer(4)
    t.equal("BlockAllocator(4).num_blocks", plain(pool.num_blocks), 4)
    t.equal("BlockAllocator(4).num_free", plain(pool.num_free), 4)
    t.equal("owners of each block", [plain(pool.owners(b)) for b in range(4)], [0] * 4)


@allocator.case(
    "each block is handed out once, then OutOfBlocks",
    errors={"wrong_error": "IndexError|KeyError|StopIteration"},
)
def _(answer, t):
    blocks = _Blocks(t, answer, 3)
    for _ in range(4):
        blocks.allocate()


@allocator.case("a block is free when its last owner lets go")
def _(answer, t):
    blocks = _Blocks(t, answer, 3)
    block = blocks.allocate()
    for _ in range(2):
        blocks.share(block)
    other = blocks.allocate()
    for released in (block, block, other, block):
        blocks.release(released)
    for _ in range(4):
        blocks.allocate()


@allocator.case("releasing a free block is an error, and so is a block that does not exist")
def _(answer, t):
    pool = answer(3)
    block = pool.allocate()
    pool.release(block)
    t.raises(
        ValueError,
        lambda: pool.release(block),
        f"After allocate() gave {block} and release({block}): release({block})",
        mistake="double_free",
    )
    for call in ("owners", "share", "release"):
        for wrong in (3, -1):
            t.raises(
                ValueError,
                lambda call=call, wrong=wrong: getattr(pool, call)(wrong),
                f"{call}({wrong}) of a pool with blocks 0 to 2",
                mistake="negative" if wrong < 0 else None,
            )


@allocator.case("a free block that is shared comes back to life, and is nobody else's")
def _(answer, t):
    blocks = _Blocks(t, answer, 3)
    first = blocks.allocate()
    blocks.release(first, keep=True)
    blocks.share(first)
    for _ in range(3):
        blocks.allocate()


@allocator.case("kept blocks are reused after all others, the longest unused first")
def _(answer, t):
    blocks = _Blocks(t, answer, 6)
    a, b, c, d, _, _ = (blocks.allocate() for _ in range(6))
    blocks.release(c, keep=True)
    blocks.release(a, keep=True)
    blocks.release(d)
    blocks.release(b, keep=True)
    for _ in range(4):
        blocks.allocate()


@allocator.case("two pools share nothing")
def _(answer, t):
    one, other = answer(2), answer(2)
    one.allocate()
    t.equal("num_free of a pool after another one's allocate()", plain(other.num_free), 2)
    t.equal("owners of its blocks", [plain(other.owners(b)) for b in range(2)], [0, 0])


@allocator.case("500 random operations")
def _(answer, t):
    blocks = _Blocks(t, answer, 6)
    for _ in range(500):
        used = [b for b, n in enumerate(blocks.owners) if n]
        action = t.rng.integers(0, 5)
        if action <= 1:
            blocks.allocate()
        elif action == 2:
            some = [*used, *blocks.kept]
            if some:
                blocks.share(int(t.rng.choice(some)))
        else:
            for _ in itertools.repeat(None, 2):
                used = [b for b, n in enumerate(blocks.owners) if n]
                if used:
                    blocks.release(int(t.rng.choice(used)), keep=bool(t.rng.random() < 0.5))
