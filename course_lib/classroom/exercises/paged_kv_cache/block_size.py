"""How large should a block be?"""

from ....techniques import block_size as reference
from ...exercise import Exercise
from ...mismatch import plain
from .names import NAMES

block_size = Exercise(
    "paged_kv_cache.block_size",
    "The largest block that wastes little",
    name="largest_block_size",
    reference=reference.largest_block_size,
    names=NAMES,
    stretch=True,
    mistakes={
        "not_shared": "The common beginning is counted for every sequence. Its full blocks are held once.",
        "shared_partly": (
            "The common beginning is counted to its last token. Only whole blocks are shared: the rest of it "
            "each sequence holds itself."
        ),
        "no_waste": "No waste at all is allowed, or the last blocks are counted as if they were full.",
        "smallest": (
            "A smaller block size was chosen than need be: wanted is the largest that still wastes little enough."
        ),
        "none_fits": "Where every size wastes too much, the smallest of them is the answer.",
        "order": "The sizes come in any order.",
    },
)


def _slots(lengths, size, shared):
    """Hand blocks out one by one: the oracle. A block is known by its first token and, if shared, to all."""
    blocks = set()
    for who, length in enumerate(lengths):
        for token in range(length):
            index = token // size
            everybodys = (index + 1) * size <= shared
            blocks.add((index, None if everybodys else who))
    return len(blocks) * size


def _choose(lengths, sizes, shared, most_waste, slots=_slots):
    allowed = (1 + most_waste) * slots(lengths, 1, shared)
    fitting = [size for size in sizes if slots(lengths, size, shared) <= allowed]
    return max(fitting) if fitting else min(sizes)


def _check(answer, t, lengths, sizes, shared=0, most_waste=0.05):
    options = {"shared": shared} if shared else {}
    if most_waste != 0.05:
        options["most_waste"] = most_waste
    wanted = _choose(lengths, sizes, shared, most_waste)
    allowed = (1 + most_waste) * _slots(lengths, 1, shared)
    fitting = [size for size in sizes if _slots(lengths, size, shared) <= allowed]

    def partly(lengths, size, shared):
        return shared + sum(-(-(n - shared) // size) * size for n in lengths)

    guesses = {
        "none_fits": lambda y: not fitting and (y is None or y == max(sizes)),
        "not_shared": shared and _choose(lengths, sizes, shared, most_waste, lambda n, s, _: _slots(n, s, 0)),
        "shared_partly": shared and _choose(lengths, sizes, shared, most_waste, partly),
        "no_waste": _choose(lengths, sizes, shared, 0),
        "order": lambda y: sorted(sizes) != list(sizes) and fitting and y in (fitting[0], fitting[-1]),
        "smallest": lambda y: y in fitting and y < wanted,
    }
    # What two mistakes would give names neither.
    sizes_guessed = [guess for guess in guesses.values() if not callable(guess)]
    guesses = {
        name: guess
        for name, guess in guesses.items()
        if callable(guess) or (guess and guess != wanted and sizes_guessed.count(guess) == 1)
    }
    text = "".join(f", {name}={value}" for name, value in options.items())
    t.equal(
        f"largest_block_size({list(lengths)}, {list(sizes)}{text})",
        plain(answer(list(lengths), list(sizes), **options)),
        wanted,
        mistakes=guesses,
    )


@block_size.case("the last blocks' empty places are what counts")
def _(answer, t):
    _check(answer, t, [96, 104], [2, 4, 8, 16, 32])
    _check(answer, t, [96, 101], [1, 2, 4, 8, 16])
    _check(answer, t, [1000, 30, 480], [2, 4, 8, 16, 32])
    _check(answer, t, [64, 128], [8, 16, 32, 64, 128])


@block_size.case("another limit on the waste")
def _(answer, t):
    for most_waste in (0.0, 0.2, 1.0):
        _check(answer, t, [65, 129, 40], [4, 8, 16, 32], most_waste=most_waste)


@block_size.case("a common beginning is held once, in whole blocks")
def _(answer, t):
    _check(answer, t, [79, 87, 57, 33], [2, 4, 8, 16, 32], shared=30, most_waste=0.2)
    _check(answer, t, [69, 70, 72], [1, 4, 16, 32, 64], shared=64, most_waste=0.3)
    _check(answer, t, [108, 104, 112], [1, 2, 4, 8, 16], shared=100, most_waste=0.4)
    _check(answer, t, [220, 216, 250, 300], [4, 8, 16, 32, 64, 128], shared=200, most_waste=0.15)


@block_size.case("where all waste too much, the smallest")
def _(answer, t):
    _check(answer, t, [3, 5], [16, 32, 64])


@block_size.case("sizes in any order, and random lengths")
def _(answer, t):
    _check(answer, t, [65, 129], [32, 8, 16], most_waste=0.3)
    for _ in range(20):
        lengths = t.rng.integers(40, 400, int(t.rng.integers(1, 9))).tolist()
        _check(
            answer,
            t,
            lengths,
            t.rng.permutation([1, 2, 4, 8, 16, 32, 64]).tolist(),
            shared=int(t.rng.choice([0, 39])),
            most_waste=float(t.rng.choice([0.02, 0.1, 0.3])),
        )
