"""Which blocks hold which tokens."""

from ....techniques.paged_kv import PrefixCache
from ...exercise import Exercise
from ...mismatch import plain
from .diary import Diary
from .names import NAMES

prefix_cache = Exercise(
    "paged_kv_cache.prefix_cache",
    "Find full blocks by what they hold",
    name="PrefixCache",
    reference=PrefixCache,
    names=NAMES,
    mistakes={
        "not_found": "A block that was added is not found behind the same beginning.",
        "no_chain": (
            "The tokens are the same, the ones before them are not. Keys and values depend on everything "
            "before: look a block up by its tokens and by the prefix that it follows."
        ),
        "hash_trusted": (
            "Two different blocks of tokens had the same hash, and one was taken for the other: its reader "
            "gets another user's keys and values. Compare the tokens too; a dict whose key holds them does."
        ),
        "stale": (
            "A forgotten block is still found. It has been given to another sequence and holds other tokens: "
            "`forget` must remove it from everything that `find` looks at."
        ),
        "name_reused": (
            "A new prefix got the name of a forgotten one, and what followed the old one is now found behind "
            "the new one. Names must never be used twice: count on, do not count what is there."
        ),
        "replaced": "Two blocks hold the same tokens. The one known first stays known.",
        "second_name": "Adding what is known already must give the same prefix as the first time.",
        "second_known": "The second block with the same tokens counts as known. Only the first one is found.",
        "not_contained": "`block in prefixes` is wrong: it says whether something is known to be in the block.",
        "list_key": "A list cannot be a key. Make a tuple of the tokens.",
        "forget_unknown": (
            "Forgetting a block that is not known is no error: every block is forgotten when it is handed out."
        ),
    },
)

UNHASHABLE = {"list_key": "TypeError.*unhashable"}


class _Known:
    """Plays a prefix cache. A path is the tuple of the blocks' tokens, from the first block on."""

    def __init__(self, t, make, mistake="no_chain"):
        self.t, self.diary = t, Diary()
        self.cache, self.mistake = make(), mistake
        self.path_of = {}  # block -> what it holds, while known
        self.sure = {}  # path -> block that must be found; others may be
        self.once = {}  # block -> paths it held before it was forgotten
        self.names = {(): self.cache.EMPTY}

    def add(self, path, block):
        before, tokens = path[:-1], path[-1]
        first = self.sure.get(path)
        old = self.names.get(path) if first is not None else None
        name = self.cache.add(self.names[before], list(tokens), block)
        self.diary.add(f"add(prefix {self._say(before)}, {list(tokens)}, block {block})")
        if first is None:
            self.path_of[block] = path
            self.sure[path] = block
        else:
            self.t.true(
                plain(name) == plain(old), self.diary.after(f"The prefix is {name!r}.\nWanted: {old!r}, as before."),
                "second_name",
            )  # fmt: skip
        self.names[path] = name
        alike = any(held != path and held[-1] == path[-1] for held in self.path_of.values())
        known = first is None or first == block
        self.contains(block, known, ("no_chain" if alike else None) if known else "second_known")
        return name

    def find(self, path):
        before, tokens = path[:-1], path[-1]
        given = self.cache.find(self.names[before], list(tokens))
        what = self.diary.after(f"find(prefix {self._say(before)}, {list(tokens)})")
        wanted = self.sure.get(path)
        if given is None:
            self.t.true(wanted is None, f"{what} is None.\nWanted: block {wanted}.", "not_found")
            return
        pair = isinstance(given, (tuple, list)) and len(given) == 2
        self.t.true(pair, f"{what} is {given!r:.60}.\nWanted: None, or a pair: block and prefix.")
        block = plain(given[0])
        if wanted is not None:
            held = self.path_of.get(block)
            name = "replaced" if held is None and block not in self.once else self._why(block, path)
            self.t.true(block == wanted, f"{what} gives block {block}.\nWanted: {wanted}.", name)
            self.names[path] = given[1]
            return
        self.t.true(
            self.path_of.get(block) == path,
            f"{what} gives block {block}, which holds {self._held(block)}.\nWanted: None.",
            self._why(block, path),
        )

    def forget(self, block):
        try:
            self.cache.forget(block)
        except KeyError as raised:
            self.t.true(
                False, self.diary.after(f"forget({block}) raises KeyError: {raised}."), "forget_unknown"
            )
        self.diary.add(f"forget(block {block})")
        path = self.path_of.pop(block, None)
        if path is not None:
            self.once.setdefault(block, []).append(path)
            # What followed it may still be found, or not: it holds what it held.
            self.sure = {p: b for p, b in self.sure.items() if p[: len(path)] != path}
            self.names = {p: n for p, n in self.names.items() if p[: len(path)] != path}
        self.contains(block, False, "stale")

    def contains(self, block, wanted, mistake=None):
        self.t.equal(
            self.diary.after(f"(block {block}) in prefixes"), block in self.cache, bool(wanted),
            mistakes={mistake or "not_contained": lambda y: True},
        )  # fmt: skip

    def _why(self, block, path):
        if path in self.once.get(block, []):
            return "stale"
        held = self.path_of.get(block)
        if held is not None and held[-1] == path[-1]:
            return self.mistake
        return "hash_trusted" if held is not None else "stale"

    def _held(self, block):
        path = self.path_of.get(block)
        return "something else by now" if path is None else f"{list(path[-1])} behind {self._say(path[:-1])}"

    def _say(self, path):
        return [token for tokens in path for token in tokens] if path else "EMPTY"


@prefix_cache.case("what was added is found, what was not is not", errors=UNHASHABLE)
def _(answer, t):
    known = _Known(t, answer)
    known.find(((1, 2),))
    known.add(((1, 2),), 7)
    known.find(((1, 2),))
    known.find(((2, 1),))
    known.contains(3, False)


@prefix_cache.case("a chain of blocks, each behind the one before", errors=UNHASHABLE)
def _(answer, t):
    known = _Known(t, answer)
    path = ()
    for block, tokens in ((4, (1, 2)), (0, (1, 2)), (6, (5, 9))):
        path = (*path, tokens)
        known.add(path, block)
        known.find(path)
    for end in range(1, 4):
        known.find(path[:end])


@prefix_cache.case("the same tokens behind another beginning are another block", errors=UNHASHABLE)
def _(answer, t):
    known = _Known(t, answer)
    known.add(((1, 2),), 0)
    known.add(((3, 4),), 1)
    known.add(((1, 2), (5, 6)), 2)
    known.find(((3, 4), (5, 6)))
    known.find(((5, 6),))


class _Colliding(int):
    """A token whose hash is that of all others: what happens once in a great while, at once."""

    def __hash__(self):
        return 1


@prefix_cache.case("equal hashes do not confuse", errors=UNHASHABLE)
def _(answer, t):
    known = _Known(t, answer, mistake="hash_trusted")
    a, b, c = (tuple(_Colliding(x) for x in pair) for pair in ((1, 2), (3, 4), (5, 6)))
    known.add((a,), 0)
    known.find((b,))
    known.add((b,), 1)
    known.find((b,))
    known.add((a, c), 2)
    known.find((a, b))
    known.find((a, c))


@prefix_cache.case("the same content again: the first block stays", errors=UNHASHABLE)
def _(answer, t):
    known = _Known(t, answer)
    known.add(((1, 2),), 0)
    known.add(((1, 2), (3, 4)), 1)
    known.add(((1, 2),), 0)
    known.find(((1, 2), (3, 4)))
    known.add(((1, 2),), 5)
    known.find(((1, 2),))
    known.find(((1, 2), (3, 4)))


@prefix_cache.case("a forgotten block is not found any more", errors=UNHASHABLE)
def _(answer, t):
    known = _Known(t, answer)
    known.forget(9)
    known.add(((1, 2),), 0)
    known.forget(0)
    known.find(((1, 2),))
    known.add(((8, 8),), 0)
    known.find(((1, 2),))
    known.find(((8, 8),))
    known.forget(0)
    known.add(((1, 2),), 3)
    known.find(((1, 2),))


@prefix_cache.case("what followed a forgotten block is not taken to follow another", errors=UNHASHABLE)
def _(answer, t):
    known = _Known(t, answer, mistake="name_reused")
    known.add(((1, 2),), 0)
    known.add(((3, 4),), 1)
    known.add(((3, 4), (5, 6)), 2)
    known.forget(1)
    known.add(((7, 7),), 1)
    known.find(((7, 7), (5, 6)))
    known.add(((9, 9),), 4)
    known.find(((9, 9), (5, 6)))
    known = _Known(t, answer, mistake="name_reused")
    known.add(((1, 2),), 0)
    known.add(((3, 4),), 1)
    known.add(((3, 4), (5, 6)), 2)
    known.add(((3, 4), (5, 6), (7, 8)), 3)
    known.forget(0)
    known.forget(1)
    known.add(((9, 9),), 1)
    known.find(((9, 9), (7, 8)))


@prefix_cache.case("a block whose known beginning was forgotten is found behind the new one", errors=UNHASHABLE)
def _(answer, t):
    known = _Known(t, answer)
    known.add(((1, 2),), 0)
    known.add(((1, 2), (3, 4)), 1)
    known.forget(0)
    known.add(((1, 2),), 5)
    known.add(((1, 2), (3, 4)), 1)
    known.find(((1, 2), (3, 4)))
    known.forget(1)
    known.find(((1, 2), (3, 4)))


@prefix_cache.case("400 random operations", errors=UNHASHABLE)
def _(answer, t):
    known = _Known(t, answer)
    for _ in range(400):
        path = ()
        for _ in range(int(t.rng.integers(0, 3))):
            longer = (*path, tuple(t.rng.integers(0, 2, 2).tolist()))
            if longer not in known.names:
                break
            path = longer
        path = (*path, tuple(t.rng.integers(0, 2, 2).tolist()))
        action = t.rng.integers(0, 4)
        if action == 0 and known.path_of:
            known.forget(int(t.rng.choice(list(known.path_of))))
        elif action == 1:
            known.find(path)
        else:
            # A block may hold what only a forgotten beginning led to: it is the one to be added again.
            holder = next((b for b, held in known.path_of.items() if held == path), None)
            unknown = [b for b in range(12) if b not in known.path_of]
            if holder is not None and (path not in known.sure or t.rng.random() < 0.5):
                known.add(path, holder)
            elif unknown:
                known.add(path, unknown[0])
