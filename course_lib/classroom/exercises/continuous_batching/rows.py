"""A cache whose rows have lengths of their own, and come and go."""

import mlx.core as mx
import numpy as np

from ....lab.model_batch import ModelBatch
from ....lab.serving import shortfall
from ....techniques.batched_kv_cache import BatchedKVCache
from ....techniques.scheduling import Limits, schedule_continuous
from ....techniques.serving_loop import Request, ServingLoop
from ...exercise import Exercise
from ...mismatch import as_numpy, plain
from ..kv_cache.tiny_transformer import tiny_transformer

batched_cache = Exercise(
    "continuous_batching.batched_cache",
    "A cache whose rows come and go",
    name="BatchedKVCache",
    reference=BatchedKVCache,
    names={"mx": mx, "np": np},
    mistakes={
        "not_cleared": (
            "A row that is used again still has the tokens of the request before. A new row holds nothing: "
            "its length is 0, and what lies in its places is written over."
        ),
        "not_moved": (
            "The last row's length has taken the removed row's place, its keys and values have not (or not "
            "all of them): copy both, in all columns that it holds."
        ),
        "moved_down": (
            "The rows behind the removed one have all moved down. Only the last row moves, into the free "
            "place: one copy, however many rows there are."
        ),
        "ghost": (
            "The removed row is still there, and a finished request goes on being attended to. Take its "
            "length out of `lengths`."
        ),
        "same_place": (
            "All rows write into the same column. Each row has its own end: row `first + i` writes at "
            "`lengths[first + i]`."
        ),
        "from_start": "New tokens are written over the first ones. They belong at the row's end, its length.",
        "first_ignored": "The call is about the rows from `first` on, and other rows were used.",
        "not_advanced": "`lengths` does not move on. After an append each of its rows holds L more.",
        "all_advanced": "The lengths of rows that got nothing have changed too.",
        "shortest": "Tokens of a longer row are missing. Up to the longest of the rows asked for: S = max.",
        "whole_room": (
            "More columns come back than the longest of the rows asked for holds, S of them. The mask has S "
            "columns, too."
        ),
        "overfull": "There are only `max_rows` rows. Raise ValueError when all are in use.",
        "swapped": "Keys and values have changed places: return the keys first.",
        "returns_row": (
            "`add` returns the new row's index, `remove` the index that the row had which moved into the gap: the "
            "last one."
        ),
    },
)

H_KV, D = 2, 4


class _Rows:
    """The learner's cache, and beside it what each row must hold, as a list of columns."""

    def __init__(self, t, answer, max_rows=4, step=4, D_v=D, dtype=mx.float32):
        self.t, self.cache = t, answer(max_rows, step)
        self.D_v, self.dtype = D_v, dtype
        self.rows: list[list[tuple[np.ndarray, np.ndarray]]] = []
        self.gone: list = []  # what the rows that were removed held
        self.before: list[int] = []

    def add(self):
        given = self.cache.add()
        self.t.equal("add()", given, len(self.rows), mistakes={"returns_row": lambda r: True})
        self.rows.append([])
        self.lengths("after add()", {"not_cleared": lambda y: len(y) == len(self.rows) and y[-1] != 0})

    def remove(self, row):
        last = len(self.rows) - 1
        given = self.cache.remove(row)
        before = [len(r) for r in self.rows]
        self.gone.append(self.rows[row])
        self.rows[row] = self.rows[last]
        self.rows.pop()
        ghost = {"ghost": lambda y: len(y) > len(self.rows)}
        down = {"moved_down": before[:row] + before[row + 1 :]}
        self.lengths(f"after remove({row}) of rows that hold {before}", ghost | down)
        self.t.equal(
            f"remove({row}) of {last + 1} rows", given, last, mistakes={"returns_row": lambda r: True}
        )

    def append(self, first, count, L):
        before = [len(r) for r in self.rows]
        shape = (count, H_KV, L)
        keys = self.t.normal("keys", *shape, D, dtype=self.dtype)
        values = self.t.normal("values", *shape, self.D_v, dtype=self.dtype)
        self.cache.append(first, keys, values)
        for i in range(count):
            pair = as_numpy(keys)[i], as_numpy(values)[i]
            self.rows[first + i] += [tuple(x[:, j] for x in pair) for j in range(L)]
        touched = range(first, first + count)
        mistakes = {
            "not_advanced": before,
            "first_ignored": first and [n + L * (i < count) for i, n in enumerate(before)],
            "all_advanced": lambda y: (
                len(y) == len(before)
                and any(y[i] != before[i] for i in range(len(before)) if i not in touched)
            ),
            "same_place": lambda y: len(y) == len(before) and len({y[i] for i in touched}) == 1,
        }
        what = f"after append({first}, ...) of {L} tokens to {count} rows, of rows that held {before},"
        self.lengths(what, mistakes)

    def lengths(self, when, mistakes=None):
        self.t.equal(
            f"lengths {when}", plain(self.cache.lengths), [len(r) for r in self.rows], mistakes=mistakes
        )

    def fetch(self, first, count, moved=False):
        """Compare what some rows hold; what lies behind a row's end is nobody's business."""
        wanted = self.rows[first : first + count]
        S = max(map(len, wanted))
        given = self.cache.fetch(first, count)
        held = [len(r) for r in self.rows]
        call = f"fetch({first}, {count}) of rows that hold {held}"
        pair = isinstance(given, (tuple, list)) and len(given) == 2
        self.t.true(pair, f"{call} is {given!r:.80}.\nWanted: a pair, keys and values.")
        wants = [np.zeros((count, H_KV, S, size), np.float32) for size in (D, self.D_v)]
        for i, row in enumerate(wanted):
            for j, column in enumerate(row):
                for which in (0, 1):
                    wants[which][i, :, j] = column[which]
        swapped = all(self._same(given[i], wants[1 - i], wanted) for i in (0, 1))
        for which, name in enumerate(("keys", "values")):
            self._one(f"{name} of {call}", given[which], wants[which], wanted, which, first, moved, swapped)

    def _one(self, what, given, want, rows, which, first, moved, swapped):
        t, shape = self.t, list(want.shape)
        is_array = isinstance(given, mx.array) and given.ndim == 4
        t.true(is_array, f"{what}: {given!r:.60}.\nWanted: an array {shape}.")
        columns = {"shortest": given.shape[2] < want.shape[2], "whole_room": given.shape[2] > want.shape[2]}
        named = next((name for name, so in columns.items() if so), None)
        named = "first_ignored" if given.shape[0] != want.shape[0] else named
        t.true(given.shape == want.shape, f"{what}: shape {list(given.shape)}.\nWanted: {shape}.", named)
        t.true(given.dtype == self.dtype, f"{what} are {given.dtype}.\nWanted: {self.dtype}.")
        # Behind the end of a shorter row may lie anything.
        inside = np.zeros(want.shape, bool)
        for i, row in enumerate(rows):
            inside[i, :, : len(row)] = True
        seen = np.where(inside, as_numpy(given), 0)
        other = [r for i, r in enumerate(self.rows) if not first <= i < first + len(rows)]

        def starts_with(columns):
            return lambda y: self._begins(as_numpy(given), columns, which, rows)

        mistakes = {
            "swapped": lambda y: swapped,
            "first_ignored": lambda y: first and starts_with(other)(y),
            "not_cleared": lambda y: starts_with([r for r in self.gone if r])(y) and not moved,
            "not_moved": lambda y: moved,
            "from_start": lambda y: self._newest_first(as_numpy(given), rows, which),
            "same_place": lambda y: self._ends_elsewhere(as_numpy(given), rows, which),
        }
        t.close(
            what, mx.array(seen.astype(np.float32)), mx.array(want),
            mistakes=mistakes,
        )  # fmt: skip

    def _begins(self, given, others, which, rows):
        """Does a row begin with the first columns of another?"""
        heads = [r[0][which] for r in others if r]
        return any(
            row and np.allclose(given[i, :, 0], head) and not np.allclose(row[0][which], head)
            for i, row in enumerate(rows)
            for head in heads
        )

    def _newest_first(self, given, rows, which):
        return any(
            len(row) > 1 and any(np.allclose(given[i, :, 0], column[which]) for column in row[1:])
            for i, row in enumerate(rows)
        )

    def _ends_elsewhere(self, given, rows, which):
        """Is row 0 right, and are there columns in other rows that were never written?"""
        own = as_numpy(self.cache.fetch(0, 1)[which])
        right = all(np.allclose(own[0, :, j], column[which]) for j, column in enumerate(self.rows[0]))
        return right and any(
            not given[i, :, j].any() and column[which].any()
            for i, row in enumerate(rows)
            for j, column in enumerate(row)
        )

    def _same(self, given, want, rows):
        if not isinstance(given, mx.array) or given.shape != want.shape:
            return False
        seen = as_numpy(given)
        return all(np.allclose(seen[i, :, : len(r)], want[i, :, : len(r)]) for i, r in enumerate(rows))


@batched_cache.case("add: new rows are empty, and there are only max_rows")
def _(answer, t):
    rows = _Rows(t, answer, max_rows=3)
    t.equal("lengths of a new cache", plain(rows.cache.lengths), [])
    for _ in range(3):
        rows.add()
    t.raises(ValueError, rows.cache.add, "add() with all 3 rows in use", mistake="overfull")


@batched_cache.case("a prompt goes into one row, and comes back")
def _(answer, t):
    rows = _Rows(t, answer)
    rows.add()
    rows.append(0, 1, 3)
    rows.fetch(0, 1)
    rows.append(0, 1, 1)
    rows.fetch(0, 1)
    rows.add()
    rows.append(1, 1, 2)
    rows.fetch(1, 1)
    rows.fetch(0, 1)


@batched_cache.case("one token to each row, at its own end; fetch reads up to the longest")
def _(answer, t):
    rows = _Rows(t, answer, step=8)
    for length in (3, 5, 1):
        rows.add()
        rows.append(len(rows.rows) - 1, 1, length)
    for _ in range(2):
        rows.append(0, 3, 1)
        rows.fetch(0, 3)


@batched_cache.case("some neighbouring rows, and several tokens at once: the others stay as they are")
def _(answer, t):
    rows = _Rows(t, answer, step=16)
    for length in (4, 2, 6, 1):
        rows.add()
        rows.append(len(rows.rows) - 1, 1, length)
    rows.append(1, 2, 1)
    rows.fetch(1, 2)
    rows.append(2, 2, 3)
    rows.fetch(2, 2)
    rows.fetch(0, 4)


@batched_cache.case("remove: the last row takes the place, and its keys and values come along")
def _(answer, t):
    rows = _Rows(t, answer, step=8)
    for length in (3, 5, 2, 4):
        rows.add()
        rows.append(len(rows.rows) - 1, 1, length)
    rows.remove(3)
    rows.fetch(0, 3)
    rows.remove(0)
    rows.fetch(0, 2, moved=True)
    rows.append(0, 2, 1)
    rows.fetch(0, 2, moved=True)
    rows.remove(0)
    rows.fetch(0, 1, moved=True)


@batched_cache.case("a row that is used again begins empty")
def _(answer, t):
    rows = _Rows(t, answer, max_rows=2, step=8)
    for length in (2, 5):
        rows.add()
        rows.append(len(rows.rows) - 1, 1, length)
    rows.remove(1)
    rows.add()
    rows.append(1, 1, 3)
    rows.fetch(0, 2)
    rows.remove(1)
    rows.remove(0)
    rows.add()
    rows.append(0, 1, 2)
    rows.fetch(0, 1)


@batched_cache.case("a row that does not exist cannot be removed")
def _(answer, t):
    rows = _Rows(t, answer)
    t.raises(ValueError, lambda: rows.cache.remove(0), "remove(0) of an empty cache")
    rows.add()
    t.raises(ValueError, lambda: rows.cache.remove(1), "remove(1) with one row in use")


@batched_cache.case("300 random steps: rows join, grow past the room, and leave")
def _(answer, t):
    rows = _Rows(t, answer, max_rows=4, step=4)
    for _ in range(300):
        action = t.rng.integers(0, 8)
        count = len(rows.rows)
        if count < 4 and (action == 0 or not count):
            rows.add()
            rows.append(count, 1, int(t.rng.integers(1, 6)))
        elif action == 1 or max(map(len, rows.rows)) > 40:
            rows.remove(int(t.rng.integers(0, count)))
        elif count:
            first = int(t.rng.integers(0, count))
            rows.append(first, int(t.rng.integers(1, count - first + 1)), int(t.rng.choice([1, 1, 1, 2])))
        if rows.rows and any(rows.rows):
            rows.fetch(0, len(rows.rows), moved=False)


@batched_cache.case("float16, and values of another head size than the keys")
def _(answer, t):
    for options in ({"dtype": mx.float16}, {"D_v": 6}):
        rows = _Rows(t, answer, **options)
        for length in (3, 6):
            rows.add()
            rows.append(len(rows.rows) - 1, 1, length)
        rows.append(0, 2, 1)
        rows.fetch(0, 2)
        rows.remove(0)
        rows.fetch(0, 1, moved=True)


@batched_cache.case("two caches share nothing")
def _(answer, t):
    one, other = _Rows(t, answer), _Rows(t, answer)
    for rows in (one, other):
        rows.add()
    one.append(0, 1, 3)
    other.append(0, 1, 2)
    one.fetch(0, 1)
    other.fetch(0, 1)


@batched_cache.case("nbytes_used counts the tokens held, and returns to 0")
def _(answer, t):
    rows = _Rows(t, answer)
    for length in (3, 1):
        rows.add()
        rows.append(len(rows.rows) - 1, 1, length)
    per_token = 2 * H_KV * D * 4
    t.equal("nbytes_used of rows that hold [3, 1]", rows.cache.nbytes_used, 4 * per_token)
    rows.remove(0)
    t.equal("nbytes_used after remove(0)", rows.cache.nbytes_used, per_token)
    rows.remove(0)
    t.equal("nbytes_used when all have left", rows.cache.nbytes_used, 0)


@batched_cache.case("in a transformer: seven requests share three rows, and each says what it says alone")
def _(answer, t):
    model = tiny_transformer(None)
    batch = ModelBatch(model, lambda: answer(3, 8))
    loop = ServingLoop(batch, schedule_continuous, Limits(3))
    requests = [
        Request(
            t.rng.integers(1, 61, int(t.rng.integers(1, 9))).tolist(), int(t.rng.integers(1, 9)), float(i)
        )
        for i in range(7)
    ]
    for request in requests:
        loop.add(request)
    for now in range(100):
        loop.step(float(now))
    for i, request in enumerate(requests):
        t.equal(f"tokens of request {i}", len(request.generated), request.max_tokens)
        off = shortfall(model, request.prompt, request.generated)
        t.true(
            off < 1e-3, f"Request {i} says something else than alone: a logit lies {off:.3g} below the best."
        )
    t.equal("nbytes_used of a layer in the end", batch.layers[0].nbytes_used, 0)
