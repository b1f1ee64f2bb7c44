"""Where a sequence's tokens lie."""

from ....techniques.paged_kv import BlockTable
from ...exercise import Exercise
from ...mismatch import plain
from .names import NAMES

block_table = Exercise(
    "paged_kv_cache.block_table",
    "A block table and its slots",
    name="BlockTable",
    reference=BlockTable,
    names=NAMES,
    mistakes={
        "token_number": (
            "These are the tokens' numbers, as if the blocks lay one behind the other. Ask the table: the "
            "block of token t is `blocks[t // block_size]`."
        ),
        "block_numbers": "These are blocks. A slot is a place inside one: block * block_size + the place.",
        "no_offset": (
            "All tokens of a block fall into its first slot. Add the token's place in its block, "
            "`t % block_size`."
        ),
        "not_scaled": "A block has `block_size` slots, so block b begins at slot b * block_size, not at b.",
        "next_block": (
            "The table is read one block off: token t lies in entry t // block_size, so that tokens 0 to "
            "block_size - 1 are in entry 0."
        ),
        "start_ignored": "`start` is ignored: only the slots of the tokens from there on are wanted.",
        "end_included": "`end` is left out, as in Python's ranges: slots(2, 5) are those of tokens 2, 3 and 4.",
        "all_slots": (
            "The slots of whole blocks come back, some of which hold no token yet. The last one wanted is "
            "that of token num_tokens - 1."
        ),
        "partial_counted": "A block that still has room was counted as full: num_full is num_tokens // block_size.",
        "shared": (
            "Two tables hold the same list: a default argument is made only once. Make a new list in "
            "`__init__`, and copy the one that is given."
        ),
    },
)


def _slots(blocks, size, tokens):
    """Pool places by walking the blocks: the oracle."""
    places = [b * size + i for b in blocks for i in range(size)]
    return [places[t] for t in tokens]


def _check(answer, t, size, blocks, num_tokens, start=0, end=None):
    table = answer(size, list(blocks), num_tokens)
    tokens = range(start, num_tokens if end is None else end)
    wanted = _slots(blocks, size, tokens)
    call = {(0, None): "slots()"}.get(
        (start, end), f"slots({start})" if end is None else f"slots({start}, {end})"
    )
    given = (
        table.slots() if call == "slots()" else table.slots(start) if end is None else table.slots(start, end)
    )
    given = [plain(slot) for slot in given]
    neighbours = [[*blocks[1:], *blocks[:1]], [*blocks[-1:], *blocks[:-1]]]  # one block off, either way
    until = [*tokens, tokens.stop] if tokens.stop < len(blocks) * size else None
    mistakes = {
        "token_number": list(tokens),
        "block_numbers": lambda y: (
            y == [blocks[i // size] for i in tokens] or (bool(blocks) and y == list(blocks))
        ),
        "no_offset": [blocks[i // size] * size for i in tokens],
        "not_scaled": [blocks[i // size] + i % size for i in tokens],
        "next_block": lambda y: (
            len(blocks) > 1
            and y in (*(_slots(b, size, tokens) for b in neighbours), [_late(blocks, size, i) for i in tokens])
        ),
        "start_ignored": lambda y: start and y == _slots(blocks, size, range(0, tokens.stop)),
        "end_included": until and _slots(blocks, size, until),
        "all_slots": lambda y: end is None and y == _slots(blocks, size, range(start, len(blocks) * size)),
    }
    # Where a mistake would give the right value it is none; size 1 and the like.
    mistakes = {k: v for k, v in mistakes.items() if callable(v) or (v and v != wanted)}
    t.equal(f"{call} of BlockTable({size}, {list(blocks)}, {num_tokens})", given, wanted, mistakes=mistakes)


def _late(blocks, size, token):
    """Counts tokens from 1, so that the last of each block falls into the next."""
    entry = (token + 1) // size
    return (blocks[entry] if entry < len(blocks) else 0) * size + token % size


@block_table.case("three blocks, somewhere in the pool", errors={"next_block": "IndexError"})
def _(answer, t):
    _check(answer, t, 4, [5, 0, 2], 12)
    _check(answer, t, 4, [5, 0, 2], 10)


@block_table.case("an empty table")
def _(answer, t):
    table = answer(4)
    t.equal("list(BlockTable(4).slots())", [plain(s) for s in table.slots()], [])
    t.equal(
        "blocks, num_tokens and block_size of BlockTable(4)",
        [plain(table.blocks), table.num_tokens, table.block_size],
        [[], 0, 4],
    )


@block_table.case("a part of the tokens")
def _(answer, t):
    _check(answer, t, 4, [5, 0, 2], 10, 3)
    _check(answer, t, 4, [5, 0, 2], 10, 3, 6)
    _check(answer, t, 4, [5, 0, 2], 10, 2, 2)


@block_table.case("blocks of one token, and of many")
def _(answer, t):
    _check(answer, t, 1, [3, 7, 1], 3)
    _check(answer, t, 16, [2, 9], 17)
    _check(answer, t, 16, [2, 9], 17, 15)


@block_table.case("num_full counts the blocks that have no room left")
def _(answer, t):
    for blocks, num_tokens in (([], 0), ([5], 3), ([5], 4), ([5, 0, 2], 10), ([5, 0, 2], 12)):
        table = answer(4, list(blocks), num_tokens)
        t.equal(
            f"num_full of BlockTable(4, {blocks}, {num_tokens})",
            plain(table.num_full),
            num_tokens // 4,
            mistakes={"partial_counted": len(blocks)},
        )


@block_table.case("it changes as blocks and tokens come, and two tables share nothing")
def _(answer, t):
    one, other = answer(2), answer(2)
    one.blocks.append(6)
    one.num_tokens += 1
    t.equal(
        "blocks of a second BlockTable(2) after one.blocks.append(6)",
        plain(other.blocks),
        [],
        mistakes={"shared": [6]},
    )
    t.equal("list(one.slots())", [plain(s) for s in one.slots()], [12])
    one.num_tokens += 1
    t.equal("list(one.slots()) after one more token", [plain(s) for s in one.slots()], [12, 13])


@block_table.case("random tables")
def _(answer, t):
    for _ in range(20):
        size, count = int(t.rng.integers(2, 9)), int(t.rng.integers(1, 6))
        blocks = t.rng.permutation(20)[:count].tolist()
        num_tokens = int(t.rng.integers((count - 1) * size + 1, count * size + 1))
        start = int(t.rng.integers(0, num_tokens))
        _check(answer, t, size, blocks, num_tokens, start)
