"""Blocks for sequences that grow, begin alike, and end."""

from ....techniques.sharing_blocks import SharingBlocks
from ...exercise import Exercise
from .books import Books
from .names import NAMES

sharing = Exercise(
    "paged_kv_cache.sharing",
    "Sequences that begin alike share blocks",
    name="SharingBlocks",
    reference=SharingBlocks,
    names=NAMES,
    uses=("paged_kv_cache.allocator", "paged_kv_cache.block_table", "paged_kv_cache.prefix_cache"),
    mistakes={
        "block_too_many": (
            "The table is one block ahead: it holds a block that none of its tokens needs yet. n tokens fill "
            "n / block_size blocks, rounded up."
        ),
        "block_too_few": "The last tokens have no block. n tokens need n / block_size blocks, rounded up.",
        "too_greedy": (
            "There were enough blocks. What the last block still has room for needs no new one: count the "
            "blocks that are missing, not those of the new tokens."
        ),
        "half_taken": (
            "Blocks were taken before it was clear that they suffice. Count what is missing first, and raise "
            "before anything changes."
        ),
        "leak": (
            "A sequence has ended and still owns blocks. Release every block of its table, the partly filled "
            "one too."
        ),
        "freed_early": (
            "A block lost more owners than it should: each table that ends releases each of its blocks once."
        ),
        "not_emptied": (
            "The table still names its blocks. They belong to others soon: empty it, so that a second `free` "
            "finds nothing to release twice."
        ),
        "whole_prompt": (
            "All of the prompt was found, so the model has no token to read and no logits to choose the next "
            "one by. Leave at least the last token."
        ),
        "partial_block": (
            "A block that was not full was remembered, or found. Its owner goes on writing there. Only the "
            "first `table.num_full` blocks are complete, however many tokens are given."
        ),
        "not_found": "A full block with this beginning was remembered and is still there, but was not found.",
        "not_shared": (
            "The new table holds blocks without counting as an owner: when the first owner ends, they are "
            "handed out under its hands. `share` every block that you put into a table."
        ),
        "stale": (
            "A block was found for what it held before it was handed out to another sequence, as after a "
            "preemption. Whoever allocates a block forgets what was known of it."
        ),
        "not_kept": (
            "A known block was overwritten while others were free. Release with keep=(block in self.prefixes)."
        ),
        "free_order": (
            "The beginning of an unused prefix was evicted before its end; without the beginning, the rest "
            "cannot be found. Release the last block first."
        ),
        "always_on": "With prefix_caching=False nothing is remembered and nothing is found.",
    },
)


def _books(t, answer, num_blocks, size, **options):
    return Books(t, answer, num_blocks, size, set(sharing.mistakes), **options)


@sharing.case("append: as many blocks as the tokens need, and no more")
def _(answer, t):
    books = _books(t, answer, 8, 4)
    books.empty("a")
    for count in (3, 1, 1, 0, 6, 5):
        books.grow("a", [*range(count)], remember=False)
    books.empty("b")
    books.grow("b", [7] * 4, remember=False)


@sharing.case("append: too few blocks are OutOfBlocks, and nothing has changed")
def _(answer, t):
    books = _books(t, answer, 4, 2)
    for name in "ab":
        books.empty(name)
    books.grow("a", [1, 2, 3], remember=False)
    books.grow("b", [4], remember=False)
    books.grow("b", [5] * 4, remember=False)
    books.grow("b", [5] * 3, remember=False)
    books.grow("a", [4], remember=False)
    books.grow("a", [5], remember=False)


@sharing.case("free: all blocks of the table come back, once")
def _(answer, t):
    books = _books(t, answer, 5, 2)
    for name in "ab":
        books.empty(name)
    books.grow("a", [1, 2, 3], remember=False)
    books.grow("b", [1, 2, 3, 4, 5], remember=False)
    table = books.end("a")
    try:
        books.manager.free(table)
    except ValueError as raised:
        books.say(
            False,
            f"A second free(a) raises ValueError: {raised}.\nWanted: nothing, the table is empty.",
            "not_emptied",
        )
    books.count_owners("freed_early")
    books.end("b")
    books.empty("c")
    books.grow("c", [6] * 10, remember=False)


@sharing.case("new_table finds what was remembered, in whole blocks")
def _(answer, t):
    books = _books(t, answer, 16, 4)
    books.begin("a", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    books.grow("a", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    books.begin("b", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    books.grow("b", [9, 10, 11])
    books.begin("c", [1, 2, 3, 4, 5, 6, 0, 0, 0])
    books.begin("d", [0, 2, 3, 4, 5, 6, 7, 8, 9])
    books.begin("e", [1, 2, 3, 4])
    books.begin("f", [1, 2, 3, 4, 5, 6, 7, 8])
    books.begin("g", [])


@sharing.case("only full blocks are remembered, though more tokens are given")
def _(answer, t):
    books = _books(t, answer, 16, 4)
    prompt = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    books.begin("a", prompt)
    books.grow("a", prompt[:6], remember=False)  # a chunk of the prompt
    books.remember("a", prompt)
    books.begin("b", prompt)
    books.grow("a", prompt[6:], remember=False)
    books.remember("a", prompt)
    books.begin("c", prompt)


@sharing.case("an owner ends, another goes on with the shared blocks")
def _(answer, t):
    books = _books(t, answer, 6, 2)
    books.begin("a", [1, 2, 3, 4, 5])
    books.grow("a", [1, 2, 3, 4, 5])
    books.begin("b", [1, 2, 3, 4, 6])
    books.grow("b", [6])
    books.end("a")
    books.begin("c", [8] * 4)
    books.grow("c", [8] * 4)
    books.read_all()
    books.end("b")
    books.end("c")


@sharing.case("a block that was handed out again is not found for what it held before")
def _(answer, t):
    books = _books(t, answer, 3, 2)
    books.begin("a", [1, 2, 3])
    books.grow("a", [1, 2, 3])
    books.end("a")  # preempted
    books.begin("b", [5] * 6)
    books.grow("b", [5, 6, 7, 8, 5, 5], remember=False)
    books.begin("a", [1, 2, 3])
    books.end("b")
    books.grow("a", [1, 2, 3][len(books.tokens["a"]) :])


@sharing.case("a prefix that nobody uses stays while there is other room, and goes end first")
def _(answer, t):
    books = _books(t, answer, 6, 2)
    books.begin("a", [1, 2, 3, 4, 5, 6])
    books.grow("a", [1, 2, 3, 4, 5, 6])
    books.end("a")
    books.begin("b", [9] * 5)
    books.grow("b", [9] * 5)
    prompt = [1, 2, 3, 4, 5, 6, 7]
    found = books.manager.new_table(prompt)
    books.say(
        found.num_tokens == 6,
        f"new_table({prompt}) found {found.num_tokens} tokens. Three blocks were never "
        "used, and b needed three.\nWanted: 6.",
        "not_kept",
    )
    books.manager.free(found)
    books.begin("c", [8])
    books.grow("c", [8])  # one block of the prefix has to go
    found = books.manager.new_table(prompt)
    books.say(
        found.num_tokens == 4,
        f"One block of a's prefix was needed; new_table({prompt}) then found "
        f"{found.num_tokens} tokens.\nWanted: 4, the end is evicted first.",
        "free_order" if found.num_tokens < 4 else "stale",
    )


@sharing.case("without prefix caching nothing is found")
def _(answer, t):
    books = _books(t, answer, 8, 2, prefix_caching=False)
    books.begin("a", [1, 2, 3, 4])
    books.grow("a", [1, 2, 3, 4])
    books.sure.clear()
    found = books.manager.new_table([1, 2, 3, 4, 5]).num_tokens
    books.say(found == 0, f"{found} tokens were found with prefix_caching=False.\nWanted: 0.", "always_on")


@sharing.case("600 random operations on a tiny pool: sequences begin, grow, end and are preempted")
def _(answer, t):
    for size in (1, 3):
        books, names = _books(t, answer, 7, size), iter(range(10_000))
        for _ in range(300):
            action, running = t.rng.integers(0, 4), list(books.tables)
            if (action == 0 and len(running) < 4) or not running:
                prompt = t.rng.integers(0, 2, int(t.rng.integers(1, 4 * size))).tolist()
                name = f"s{next(names)}"
                found = books.begin(name, prompt)
                if not books.grow(name, prompt[found:]):
                    books.end(name)
            elif action == 1:
                books.end(str(t.rng.choice(running)))
            else:
                name = str(t.rng.choice(running))
                if not books.grow(name, t.rng.integers(0, 2, int(t.rng.integers(1, size + 2))).tolist()):
                    books.end(running[-1])
