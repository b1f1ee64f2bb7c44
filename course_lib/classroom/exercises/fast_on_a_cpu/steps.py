"""How long a step takes at least."""

from ....techniques import byte_products as techniques
from ...exercise import Exercise

predict_step = Exercise(
    "fast_on_a_cpu.predict_step",
    "A step's time, predicted",
    name="predict_step",
    reference=techniques.predict_step,
    names={},
    mistakes={
        "one_after_the_other": "Reading and multiplying are added up. A processor does both at once: the longer of the two counts.",
        "free": "The operations cost nothing. Each takes `overhead` seconds, whatever it does.",
        "all_at_once": "The overhead is hidden behind the work. While an operation is being made and handed over, its own work has not begun: it comes on top.",
        "read_for_each": "The weights are read once for each token. All tokens of a step share one pass over them.",
        "once_for_all": "The multiplications do not grow with the tokens: each token meets every weight.",
        "overhead_a_token": "The overhead grows with the tokens. An operation takes all tokens of the step.",
    },
)


def check_step(answer, t, tokens, weights, weight_bytes, operations, bandwidth, rate, overhead):
    reading, multiplying, empty = weight_bytes / bandwidth, tokens * weights / rate, operations * overhead
    wanted = empty + (reading if reading > multiplying else multiplying)
    made = {
        "one_after_the_other": reading + multiplying + empty,
        "free": max(reading, multiplying),
        "all_at_once": max(reading, multiplying, empty),
        "read_for_each": max(tokens * reading, multiplying) + empty,
        "once_for_all": max(reading, weights / rate) + empty,
        "overhead_a_token": max(reading, multiplying) + tokens * empty,
    }
    given = answer(tokens, weights, weight_bytes, operations, bandwidth=bandwidth, rate=rate, overhead=overhead)
    number = isinstance(given, int | float)
    t.true(number, f"predict_step({tokens}, ...) is {given!r:.40}.\nWanted: a number of seconds.")
    close = lambda value: abs(given - value) <= 1e-9 * abs(value)  # noqa: E731
    found = next((name for name, value in made.items() if close(value) and not abs(value - wanted) <= 1e-9 * wanted), None)
    t.true(close(wanted), f"predict_step({tokens}, {weights}, {weight_bytes}, {operations}, bandwidth={bandwidth:g}, rate={rate:g}, "
           f"overhead={overhead:g}) is {given:.6g} s.\nWanted: {wanted:.6g} s.", found)  # fmt: skip


@predict_step.case("one token: reading takes longest")
def _(answer, t):
    check_step(answer, t, 1, 1_000_000, 625_000, 0, 1e9, 1e10, 1e-6)


@predict_step.case("many tokens: multiplying takes longest")
def _(answer, t):
    check_step(answer, t, 64, 1_000_000, 625_000, 0, 1e9, 1e10, 1e-6)


@predict_step.case("operations that do nothing take time, too")
def _(answer, t):
    check_step(answer, t, 1, 1_000_000, 625_000, 300, 1e9, 1e10, 1e-5)
    check_step(answer, t, 8, 1_000_000, 625_000, 50, 1e9, 1e10, 1e-6)


@predict_step.case("any machine, any model")
def _(answer, t):
    for _ in range(50):
        tokens, operations = int(t.rng.integers(1, 600)), int(t.rng.integers(1, 3000))
        weights = int(t.rng.integers(10**6, 10**9))
        bandwidth, rate = 10.0 ** t.rng.uniform(9, 12), 10.0 ** t.rng.uniform(10, 13)
        check_step(answer, t, tokens, weights, weights * 5 // 8, operations, float(bandwidth), float(rate), float(10.0 ** t.rng.uniform(-7, -5)))
