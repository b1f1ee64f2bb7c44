"""Exercises of notebook 00."""

import statistics
import time

import mlx.core as mx
import numpy as np

from ...techniques import first_steps
from ..exercise import Exercise
from .toy_model import ToyModel, V

NAMES = {"mx": mx, "np": np, "time": time, "statistics": statistics}

rms_norm = Exercise(
    "start_here.rms_norm",
    "RMSNorm in any dtype",
    name="rms_norm",
    reference=first_steps.rms_norm,
    names=NAMES,
    mistakes={
        "mean_not_square": "You divide by the mean, or by the square root of the mean. It is the mean of the *squares*: `mx.mean(x * x, ...)`.",
        "wrong_axis": "The mean runs over another axis than the last. Each vector of E numbers is normed on its own: `axis=-1, keepdims=True`.",
        "global_mean": "One mean for the whole array. Each vector of E numbers has its own: `axis=-1, keepdims=True`.",
        "no_weight": "The result is normed but not scaled: multiply by `weight` last.",
        "no_root": "You divide by the mean square itself. The *root* mean square is wanted: `mx.rsqrt(mean_square + eps)`.",
        "eps_missing": "A zero vector gives NaN: 0 / 0. `eps` goes inside the root: `mx.rsqrt(mean_square + eps)`.",
        "eps_outside": "`eps` is added to the root. It belongs to the mean square, inside the root.",
        "narrow": "The squares are computed in float16, which overflows above 65504 (and 300 * 300 is 90000). Go to float32 first, and back to `x.dtype` at the end.",
        "wide_result": "The numbers are right, but the result stays float32. Cast back: `.astype(x.dtype)`.",
    },
)


def _rms_oracle(x, weight, eps=1e-5):
    return mx.fast.rms_norm(x, weight, eps)


@rms_norm.case("one vector you can follow by hand: [3, 4] with weight [1, 1]")
def _(answer, t):
    x, weight = t.watch("x", mx.array([[3.0, 4.0]])), t.watch("weight", mx.array([1.0, 1.0]))
    t.close(
        "rms_norm(x, weight)",
        answer(x, weight),
        _rms_oracle(x, weight),
        mistakes={
            "mean_not_square": lambda y: _near(y, x / 3.5) or _near(y, x / 3.5**0.5),
            "no_root": x / 12.5,
        },
    )


@rms_norm.case("each vector of a batch on its own, scaled by the weight")
def _(answer, t):
    x, weight = t.normal("x", 2, 3, 8, scale=3.0), t.normal("weight", 8)
    normed = _rms_oracle(x, mx.ones(8))
    first_axis = x * mx.rsqrt(mx.mean(x * x, axis=0, keepdims=True) + 1e-5)
    second_axis = x * mx.rsqrt(mx.mean(x * x, axis=1, keepdims=True) + 1e-5)
    t.close(
        "rms_norm(x, weight)",
        answer(x, weight),
        _rms_oracle(x, weight),
        mistakes={
            "no_weight": normed,
            "global_mean": x * mx.rsqrt(mx.mean(x * x) + 1e-5) * weight,
            "wrong_axis": lambda y: _near(y, first_axis * weight) or _near(y, second_axis * weight),
        },
    )


@rms_norm.case("a zero vector stays zero")
def _(answer, t):
    x, weight = t.watch("x", mx.zeros((1, 4))), t.watch("weight", mx.ones(4))
    t.close(
        "rms_norm(zeros, ones)",
        answer(x, weight),
        mx.zeros((1, 4)),
        mistakes={"eps_missing": lambda y: bool(mx.isnan(y).any())},
    )


@rms_norm.case("a small vector: eps counts, inside the root")
def _(answer, t):
    x, weight = t.normal("x", 2, 16, scale=1e-3), t.watch("weight", mx.ones(16))
    mean_square = mx.mean(x * x, axis=-1, keepdims=True)
    t.close(
        "rms_norm(x, weight, eps=1e-5)",
        answer(x, weight, 1e-5),
        _rms_oracle(x, weight),
        mistakes={
            "eps_outside": x / (mx.sqrt(mean_square) + 1e-5),
            "eps_missing": x * mx.rsqrt(mean_square),
        },
    )


@rms_norm.case("eps is the argument, not a constant")
def _(answer, t):
    x, weight = t.normal("x", 2, 16, scale=0.1), t.watch("weight", mx.ones(16))
    t.close("rms_norm(x, weight, eps=0.5)", answer(x, weight, 0.5), _rms_oracle(x, weight, 0.5))


@rms_norm.case("float16 with an entry of 300, whose square float16 cannot hold")
def _(answer, t):
    x = t.normal("x", 2, 32)
    x[:, 5] = 300.0
    x = t.watch("x", x.astype(mx.float16))
    weight = t.watch("weight", mx.ones(32, dtype=mx.float16))
    wanted = _rms_oracle(x.astype(mx.float32), weight.astype(mx.float32)).astype(mx.float16)
    t.close(
        "rms_norm(x, weight)",
        answer(x, weight),
        wanted,
        mistakes={
            "narrow": lambda y: isinstance(y, mx.array) and (y.dtype == mx.float16 or bool(mx.isnan(y).any())),
            "wide_result": lambda y: isinstance(y, mx.array) and y.dtype == mx.float32,
        },
    )


@rms_norm.case("bfloat16 in, bfloat16 out, with an entry of 30000, whose square only float16 cannot hold")
def _(answer, t):
    x = t.normal("x", 2, 32)
    x[:, 5] = 30_000.0
    x, weight = t.watch("x", x.astype(mx.bfloat16)), t.normal("weight", 32, dtype=mx.bfloat16)
    wanted = _rms_oracle(x.astype(mx.float32), weight.astype(mx.float32)).astype(mx.bfloat16)
    t.close(
        "rms_norm(x, weight), both bfloat16",
        answer(x, weight),
        wanted,
        mistakes={"wide_result": lambda y: isinstance(y, mx.array) and y.dtype == mx.float32},
    )


median_time = Exercise(
    "start_here.median_time",
    "Time a lazy computation honestly",
    name="median_time",
    reference=first_steps.median_time,
    names=NAMES,
    mistakes={
        "not_evaluated": "The clock stops before MLX has computed anything: `fn()` only builds a graph. Call `mx.eval(fn())` between the two readings.",
        "no_warm_up": "The first, slow call is among the timed ones. Call `mx.eval(fn())` once before the first reading.",
        "mean": "You return the mean. One disturbed round moves the mean and leaves the median alone: `statistics.median`.",
        "minimum": "You return the fastest round. The median says what to expect; the minimum what luck can do.",
        "total": "You return the total of all rounds, not the time of one call.",
    },
)


class _Workload:
    """A function with a clock of its own: each call takes the seconds it is told, and makes a lazy array.

    Each array is a megabyte larger than the one before, so evaluating it raises the peak memory even when
    the one before is freed for it; the peak between two readings of the clock tells where that happened.
    """

    STEP = 1 << 18  # each result has so many float32 entries more than the one before: 1 MiB

    def __init__(self, seconds):
        self.seconds = list(seconds)
        self.now = 100.0
        self.calls = 0
        self.readings = []  # (calls so far, bytes allocated since the reading before)
        mx.reset_peak_memory()
        self.active = mx.get_active_memory()

    def __call__(self):
        self.now += self.seconds[min(self.calls, len(self.seconds) - 1)]
        self.calls += 1
        return mx.arange(self.STEP * self.calls, dtype=mx.float32) + 1.0

    def clock(self):
        mx.synchronize()
        self.readings.append((self.calls, mx.get_peak_memory() - self.active))
        self.active = mx.get_active_memory()
        mx.reset_peak_memory()
        return self.now

    def evaluated_inside(self) -> bool:
        """Did every timed interval that called the function also allocate its result?"""
        pairs = zip(self.readings, self.readings[1:])
        return all(grown >= self.STEP * 4 for (before, _), (after, grown) in pairs if after > before)


@median_time.case("the time of one call, not of all rounds")
def _(answer, t):
    work = _Workload([2.0])
    t.equal("median_time(fn, rounds=5)", round(answer(work, 5, work.clock), 6), 2.0, mistakes={"total": 10.0})


@median_time.case("a slow first call (kernels compile, buffers are made) is not counted")
def _(answer, t):
    work = _Workload([90.0, 1.0])
    seconds = answer(work, 1, work.clock)
    t.equal(
        "median_time(fn, rounds=1), first call 90 s, later calls 1 s",
        round(seconds, 6),
        1.0,
        mistakes={"no_warm_up": lambda s: s >= 45.0},
    )


@median_time.case("the median of the rounds: a disturbed round does not matter")
def _(answer, t):
    work = _Workload([1.5, 4.0, 1.0, 3.0, 50.0, 2.0])
    t.equal(
        "median_time(fn, rounds=5), rounds of 4, 1, 3, 50 and 2 s",
        round(answer(work, 5, work.clock), 6),
        3.0,
        mistakes={"mean": 12.0, "minimum": 1.0, "total": 60.0},
    )


@median_time.case("the result is evaluated between the two readings of the clock")
def _(answer, t):
    work = _Workload([1.0])
    answer(work, 3, work.clock)
    t.true(len(work.readings) >= 2, "The clock was never read: use the `clock` argument, `begin = clock()`.")
    t.true(
        work.evaluated_inside(),
        "Nothing was computed between two readings of the clock: the array was still a graph.",
        "not_evaluated",
    )


@median_time.case("so many rounds as asked for, after one warm-up")
def _(answer, t):
    work = _Workload([1.0])
    answer(work, 7, work.clock)
    t.true(8 <= work.calls <= 12, f"median_time(fn, rounds=7) called fn {work.calls} times.\nWanted: 7, and a warm-up.")


greedy_generate = Exercise(
    "start_here.greedy_generate",
    "Greedy generation, the naive way",
    name="greedy_generate",
    reference=first_steps.greedy_generate,
    names=NAMES,
    mistakes={
        "first_position": "You read the logits of the first position. Position i predicts token i + 1, so the next token is predicted by the last: `logits[0, -1]`.",
        "argmin": "You take the least likely token: `mx.argmax`.",
        "prompt_included": "The result starts with the prompt. Return the new tokens alone.",
        "stop_included": "The stop token is in the result. Stop before you append it.",
        "never_stops": "A stop token was chosen and generation went on.",
        "not_fed_back": "Every step sees the prompt alone. The model must see what it has said: prompt and generated tokens.",
        "only_last": "The model sees the last token alone. Without a cache it needs everything so far.",
        "one_too_few": "You return one token too few: generate exactly `max_tokens` unless a stop token is chosen.",
        "arrays": "The result holds arrays. `.item()` makes a Python int of a 0-d array.",
    },
)


PROMPT = [3, 1, 4, 1, 5]


@greedy_generate.case("the likeliest token after the prompt")
def _(answer, t):
    toy = ToyModel()
    wanted = toy.next(PROMPT)
    t.equal(
        "greedy_generate(model, tokens, max_tokens=1)",
        answer(toy, PROMPT, 1),
        [wanted],
        mistakes={
            "first_position": [toy.next(PROMPT[:1])],
            "argmin": lambda got: _ints(got) == [toy.least(PROMPT)],
            "only_last": [toy.next(PROMPT[-1:])],
            "prompt_included": [*PROMPT, wanted],
            "one_too_few": [],
            "arrays": lambda got: any(isinstance(x, mx.array) for x in got),
        },
    )


@greedy_generate.case("twelve tokens, each seeing all before it")
def _(answer, t):
    toy = ToyModel()
    wanted = toy.run(PROMPT, 12)
    given = answer(toy, PROMPT, 12)
    t.true(
        not any(isinstance(x, mx.array) for x in given),
        "The result is a list of MLX arrays.\nWanted: a list of Python ints.",
        "arrays",
    )
    t.equal(
        "greedy_generate(model, tokens, max_tokens=12)",
        given,
        wanted,
        mistakes={
            "prompt_included": [*PROMPT, *wanted],
            "not_fed_back": [wanted[0]] * 12,
            "only_last": lambda got: got[1:] == toy.run(got[:1], 11, lambda p, n: [*p, *n][-1:]),
            "one_too_few": wanted[:-1],
        },
    )


@greedy_generate.case("a stop token ends it and is not part of the result")
def _(answer, t):
    toy = ToyModel()
    free = toy.run(PROMPT, 12)
    stop = free[4]
    wanted = free[: free.index(stop)]
    t.equal(
        f"greedy_generate(model, tokens, 12, stop_tokens=[{stop}])",
        answer(toy, PROMPT, 12, [stop]),
        wanted,
        mistakes={"stop_included": [*wanted, stop], "never_stops": lambda got: len(got) > len(wanted) + 1},
    )


@greedy_generate.case("several stop tokens, and one of them comes first")
def _(answer, t):
    toy = ToyModel()
    first = toy.next(PROMPT)
    stops = [(first - 1) % V, first]  # the text goes on without either
    t.equal(
        f"greedy_generate(model, tokens, 12, stop_tokens={stops})",
        answer(toy, PROMPT, 12, stops),
        [],
        mistakes={"stop_included": [first], "never_stops": lambda got: len(got) > 1},
    )


@greedy_generate.case("max_tokens=0 gives nothing, and the prompt is left as it was")
def _(answer, t):
    prompt = list(PROMPT)
    t.equal("greedy_generate(model, tokens, max_tokens=0)", answer(ToyModel(), prompt, 0), [])
    answer(ToyModel(), prompt, 3)
    t.true(prompt == PROMPT, "The caller's list `tokens` grew: generated ids were appended to it.", "changed_input")


top_p_filter = Exercise(
    "start_here.top_p",
    "Nucleus (top-p) sampling",
    name="top_p_filter",
    reference=first_steps.top_p_filter,
    names=NAMES,
    stretch=True,
    mistakes={
        "too_few": "The kept tokens sum to less than `top_p`: the token that crosses the line belongs to the set.",
        "one_too_many": "One token too many is kept: compare the probability *before* a token with `top_p`.",
        "sorted_order": "The kept logits are in sorted order. Put each back where it came from.",
        "probabilities": "You return probabilities. Return logits, with -inf for what is cut.",
        "zeros": "Cut tokens have logit 0, which is not unlikely at all. exp(-inf) is 0: use -inf.",
    },
)


def _nucleus(logits, top_p):
    """The kept set, one token at a time in float64."""
    values = np.array(logits, dtype=np.float64)
    probabilities = np.exp(values - values.max())
    probabilities /= probabilities.sum()
    kept, total = [], 0.0
    for token in np.argsort(-values, kind="stable"):
        if total >= top_p:
            break
        kept.append(int(token))
        total += probabilities[token]
    return kept


def _masked(logits, kept):
    out = np.full(logits.shape, -np.inf, dtype=np.float32)
    out[kept] = np.array(logits)[kept]
    return mx.array(out)


def _top_p_mistakes(logits, top_p):
    kept = _nucleus(logits, top_p)
    values = np.array(logits)
    wanted = np.array(_masked(logits, kept))
    ordered = sorted(range(len(values)), key=lambda i: -values[i])
    return {
        "too_few": _masked(logits, kept[:-1]) if len(kept) > 1 else mx.array([]),
        "one_too_many": _masked(logits, ordered[: len(kept) + 1]),
        "sorted_order": mx.array(np.sort(wanted)[::-1].copy()),
        "zeros": mx.array(np.where(np.isinf(wanted), 0.0, wanted).astype(np.float32)),
        "probabilities": lambda y: isinstance(y, mx.array)
        and bool((y >= 0).all().item())
        and abs(y.sum().item() - 1) < 0.7,
    }


@top_p_filter.case("probabilities 0.5, 0.25, 0.125, ...: top_p=0.7 keeps two")
def _(answer, t):
    logits = t.watch("logits", mx.log(mx.array([0.125, 0.5, 0.0625, 0.25, 0.0625])))
    t.close("top_p_filter(logits, 0.7)", answer(logits, 0.7), _masked(logits, [1, 3]), mistakes=_top_p_mistakes(logits, 0.7))


@top_p_filter.case("the likeliest token is always kept")
def _(answer, t):
    logits = t.watch("logits", mx.array([0.0, 5.0, 1.0]))
    t.close("top_p_filter(logits, 0.1)", answer(logits, 0.1), _masked(logits, [1]), mistakes=_top_p_mistakes(logits, 0.1))


@top_p_filter.case("top_p=1 keeps everything")
def _(answer, t):
    logits = t.normal("logits", 50)
    t.close("top_p_filter(logits, 1.0)", answer(logits, 1.0), logits + 0)


@top_p_filter.case("200 random logits, cut at several places")
def _(answer, t):
    for top_p in (0.3, 0.6, 0.9):
        logits = t.normal("logits", 200, scale=2.0)
        t.close(
            f"top_p_filter(logits, {top_p})",
            answer(logits, top_p),
            _masked(logits, _nucleus(logits, top_p)),
            mistakes=_top_p_mistakes(logits, top_p),
        )


def _near(y, other) -> bool:
    return isinstance(y, mx.array) and y.shape == other.shape and bool(mx.allclose(y, other, atol=1e-4).item())


def _ints(values) -> list:
    return [x.item() if isinstance(x, mx.array) else x for x in values]
