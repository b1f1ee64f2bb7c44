"""Two sequences out of one, and the copy that is made when one of them writes."""

from ....techniques.paged_kv import BlockManager
from ...exercise import Exercise
from .books import Books
from .names import NAMES

fork = Exercise(
    "paged_kv_cache.fork",
    "Fork, and copy on write",
    name="BlockManager",
    reference=BlockManager,
    names=NAMES,
    uses=(
        "paged_kv_cache.allocator",
        "paged_kv_cache.block_table",
        "paged_kv_cache.prefix_cache",
        "paged_kv_cache.sharing",
    ),
    mistakes={
        "same_list": (
            "The fork and its origin hold the same list, so a block that one appends is in both. Copy the "
            "list (`list(table.blocks)`); the blocks themselves are shared."
        ),
        "not_counted": "The fork holds the blocks without counting as their owner: `share` each of them.",
        "copied": "A fork copies nothing yet. Copies are made when somebody writes, and often nobody ever does.",
        "written_shared": (
            "Tokens go into a block that another sequence reads: it would find foreign keys and values there. "
            "If the last block has room left and more than one owner, take a new one first."
        ),
        "not_reported": (
            "The new block is empty: whoever holds the keys and values must copy them, so return the pair "
            "(from, to)."
        ),
        "reversed": "The pair is the wrong way round: (shared block, new block).",
        "needless_copy": (
            "A copy was made that nobody needs: full blocks are never written to again, and a block with one "
            "owner may be written in place."
        ),
        "leak": (
            "The block that was copied still counts this sequence as an owner. Release it when you put the "
            "new one in its place."
        ),
        "half_taken": "The copy needs a free block too: count it among the missing ones before you take any.",
    },
)


def _books(t, answer, num_blocks, size):
    return Books(t, answer, num_blocks, size, set(fork.mistakes))


def _one(t, answer, count, num_blocks=8, size=4):
    """Books with one sequence of so many tokens."""
    books = _books(t, answer, num_blocks, size)
    books.empty("a")
    books.fork("a", "nobody")  # so that an answer without `fork` is told so first
    books.end("nobody")
    books.grow("a", list(range(1, count + 1)))
    return books


@fork.case("a fork holds the same blocks, and takes none")
def _(answer, t):
    books = _one(t, answer, 6)
    books.fork("a", "b")
    books.fork("b", "c")
    for name in "abc":
        books.end(name)


@fork.case("who writes into a shared block gets a copy, the other keeps the block")
def _(answer, t):
    books = _one(t, answer, 6)
    books.fork("a", "b")
    books.grow("b", [70])
    books.grow("a", [80])
    books.grow("b", [71, 72])
    books.grow("a", [81, 82, 83])


@fork.case("full blocks are never copied")
def _(answer, t):
    books = _one(t, answer, 8)
    books.fork("a", "b")
    books.grow("b", [70])
    books.grow("a", [80])


@fork.case("nothing is copied where nothing is written, nor where one owner is left")
def _(answer, t):
    books = _one(t, answer, 6)
    books.fork("a", "b")
    books.grow("a", [])
    books.end("a")
    books.grow("b", [70])


@fork.case("three branches: the last one writes in place")
def _(answer, t):
    books = _one(t, answer, 5)
    for name in "bc":
        books.fork("a", name)
    for name in "abc":
        books.grow(name, [70, 71])
    books.grow("c", [72, 73, 74])
    for name in "cab":
        books.end(name)


@fork.case("the copy needs a block too: OutOfBlocks before anything changes")
def _(answer, t):
    books = _one(t, answer, 6, num_blocks=3)
    books.fork("a", "b")
    books.grow("b", [70, 71, 72])
    books.grow("b", [70, 71])
    books.fork("b", "c")
    books.grow("a", [80, 81])
    books.grow("a", [80])


@fork.case("a copy is not known for what the block held before")
def _(answer, t):
    books = _one(t, answer, 3, num_blocks=3, size=2)
    books.empty("b")
    books.grow("b", [8, 9])
    books.end("b")
    books.fork("a", "c")
    books.grow("c", [70])
    books.begin("d", [8, 9, 5])
    books.end("d")


@fork.case("500 random operations: sequences begin, fork, grow and end")
def _(answer, t):
    for size in (2, 3):
        books, names = _one(t, answer, size + 1, num_blocks=8, size=size), iter(range(10_000))
        for _ in range(250):
            action, running = t.rng.integers(0, 5), list(books.tables)
            if not running:
                prompt = t.rng.integers(0, 2, 2 * size).tolist()
                name = f"s{next(names)}"
                found = books.begin(name, prompt)
                books.grow(name, prompt[found:])
            elif action == 0 and len(running) < 4:
                books.fork(str(t.rng.choice(running)), f"s{next(names)}")
            elif action == 1:
                books.end(str(t.rng.choice(running)))
            else:
                name = str(t.rng.choice(running))
                if not books.grow(name, t.rng.integers(0, 2, int(t.rng.integers(1, size + 2))).tolist()):
                    books.end(running[-1])
