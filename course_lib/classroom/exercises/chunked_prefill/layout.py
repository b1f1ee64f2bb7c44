"""A step's tokens in one line, and who gets a token from it."""

from ....techniques import chunked_prefill as reference
from ....techniques.scheduling import Work
from ...exercise import Exercise
from .layer import NAMES

lay_out = Exercise(
    "chunked_prefill.lay_out",
    "A mixed step in one line of tokens",
    name="lay_out",
    reference=reference.lay_out,
    names=NAMES,
    mistakes={
        "early": (
            "A request whose prompt is not read to its end gets a token: it would answer a question that it has heard half of. "
            "Only where `num_tokens == request.num_new_tokens` does the step reach the newest token."
        ),
        "restart": "The positions begin at 0 again in every chunk. The first new token stands at `request.num_computed_tokens`.",
        "in_step": "The positions count the tokens of the step. Each token's position is the one in its own request's text.",
        "same_tokens": "The chunk begins with the prompt's first token again. `request.next_tokens(num_tokens)` gives those that come next.",
        "last_of_request": "`last` holds positions in the requests' own texts. Wanted are indices into the step's tokens: `len(tokens) - 1` after a request's tokens were added.",
        "off_by_one": "`last` points one behind the last token of a request.",
        "all_tokens": "All new tokens of a request were taken. The step works on `num_tokens` of them.",
        "advanced": "`num_computed_tokens` has changed. The tokens are not computed yet: the engine counts them after the model has run.",
    },
)


class Asked:
    """A request with a prompt, an answer so far, and what of them is in the cache."""

    def __init__(self, name, prompt, computed=0, generated=()):
        self.name, self.prompt, self.generated = name, list(prompt), list(generated)
        self.num_computed_tokens = computed

    @property
    def num_new_tokens(self):
        return len(self.prompt) + len(self.generated) - self.num_computed_tokens

    def next_tokens(self, count):
        return [*self.prompt, *self.generated][self.num_computed_tokens :][:count]

    def __repr__(self):
        return self.name


def _oracle(work, *, position=lambda r, i, n: r.num_computed_tokens + i, sampled=lambda r, n: n == r.num_new_tokens):
    """The layout one token at a time."""
    line = [(r, i) for r, n in work for i in range(n)]
    tokens = [[*r.prompt, *r.generated][r.num_computed_tokens + i] for r, i in line]
    positions = [position(r, i, at) for at, (r, i) in enumerate(line)]
    ends = [max(at for at, (r, _) in enumerate(line) if r is who) for who, n in work if sampled(who, n)]
    return tokens, positions, ends, [r for r, n in work if sampled(r, n)]


def _judge(answer, t, work):
    work = [Work(*item) for item in work]
    tokens, positions, last, sampled = _oracle(work)
    before = [r.num_computed_tokens for r, _ in work]
    given = answer(work)
    shown = ", ".join(f"({r.name}, {n})" for r, n in work)
    fine = isinstance(given, tuple) and len(given) == 4
    t.true(fine, f"lay_out(work) is {given!r:.100}.\nWanted: a tuple of four lists: tokens, positions, last, sampled.")
    t.true([r.num_computed_tokens for r, _ in work] == before, "A request's num_computed_tokens has changed.", "advanced")
    from_start = [token for r, n in work for token in [*r.prompt, *r.generated][:n]]
    t.equal(
        f"tokens of lay_out([{shown}])", given[0], tokens,
        mistakes={"same_tokens": from_start, "all_tokens": lambda y: len(y) > len(tokens)},
    )  # fmt: skip
    t.equal(
        f"positions of lay_out([{shown}])", given[1], positions,
        mistakes={
            "restart": _oracle(work, position=lambda r, i, at: i)[1],
            "in_step": _oracle(work, position=lambda r, i, at: at)[1],
        },
    )  # fmt: skip
    everyone = _oracle(work, sampled=lambda r, n: True)
    names = [getattr(r, "name", repr(r)) for r in given[3]]
    t.equal(
        f"sampled of lay_out([{shown}])", names, [r.name for r in sampled],
        mistakes={"early": lambda y: set(y) > {r.name for r in sampled}},
    )  # fmt: skip
    own = [r.num_computed_tokens + n - 1 for r, n in work if n == r.num_new_tokens]
    t.equal(
        f"last of lay_out([{shown}])", given[2], last,
        mistakes={"off_by_one": [i + 1 for i in last], "early": everyone[2], "last_of_request": own},
    )  # fmt: skip


@lay_out.case("a prompt read whole: its last token decides the next")
def _(answer, t):
    _judge(answer, t, [(Asked("a", [7, 8, 9]), 3)])


@lay_out.case("one decodes, and a prompt of seven has its second chunk at positions 3 and 4: nobody else is sampled")
def _(answer, t):
    prompt = Asked("prompt", [11, 12, 13, 14, 15, 16, 17], computed=3)
    _judge(answer, t, [(Asked("d0", [1, 2], 2, [3]), 1), (prompt, 2)])


@lay_out.case("two decode, one prompt begins, one ends")
def _(answer, t):
    d0, d1 = Asked("d0", [1, 2, 3], 4, [4, 5]), Asked("d1", [6, 7], 2, [8])
    _judge(answer, t, [(d0, 1), (d1, 1), (Asked("begins", range(20, 40)), 6), (Asked("ends", range(50, 60), 7), 3)])


@lay_out.case("any step")
def _(answer, t):
    for _ in range(40):
        work = []
        for i in range(int(t.rng.integers(1, 6))):
            prompt = [int(x) for x in t.rng.integers(0, 99, size=t.rng.integers(1, 12))]
            if t.rng.random() < 0.5:
                generated = [int(x) for x in t.rng.integers(0, 99, size=t.rng.integers(1, 4))]
                request = Asked(f"d{i}", prompt, len(prompt) + len(generated) - 1, generated)
            else:
                request = Asked(f"p{i}", prompt, int(t.rng.integers(0, len(prompt))))
            work.append((request, int(t.rng.integers(1, request.num_new_tokens + 1))))
        _judge(answer, t, work)
