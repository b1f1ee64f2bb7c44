"""The stretch exercise: send a prompt where its beginning is known, and keep nobody idle for it."""

import numpy as np

from ....techniques.routing import choose_replica as reference
from ...exercise import Exercise

# Tokens that may be computed, of those that the least-loaded replica would compute.
COMPUTED = 0.7
# What the busiest replica may have computed, of the mean.
SHARE = 1.5
REPLICAS, HELD = 4, 6  # a replica's cache holds so many prompts
DONE = 6  # tokens that a replica computes between two arrivals: a busy service

choose_replica = Exercise(
    "build_your_own_vllm.choose_replica",
    "A router that knows who has read what",
    name="choose_replica",
    reference=reference,
    names={"np": np},
    stretch=True,
    mistakes={
        "index": "Return the replica's number, from 0 to len(loads) - 1.",
        "ignores_cache": "As much is computed as if nobody knew who has read what. Prefer a replica that knows the prompt's beginning.",
        "ignores_load": (
            "One replica does most of the work: wherever a beginning was read first, all that begin so go. "
            "Leave out the replicas that have far more left than the idlest."
        ),
        "most_loaded": "Of replicas that know equally little, the one with the least left is wanted.",
        "changes_lists": "`known` or `loads` has changed; they are the router's.",
    },
)


def _load(t, count, groups, skew):
    """Prompts of a few groups, each with a common beginning of 60 to 120 tokens; some groups are popular."""
    systems = [t.rng.integers(0, 50, int(t.rng.integers(60, 120))).tolist() for _ in range(groups)]
    weights = np.arange(1, groups + 1) ** -float(skew)
    chosen = t.rng.choice(groups, count, p=weights / weights.sum())
    return [systems[g] + t.rng.integers(50, 99, int(t.rng.integers(5, 25))).tolist() for g in chosen]


def _serve(choose, prompts, t=None):
    """(tokens computed, of each replica). A replica computes DONE tokens while the next prompt arrives."""
    known, loads, computed = [[] for _ in range(REPLICAS)], [0] * REPLICAS, [0] * REPLICAS
    for prompt in prompts:
        before = [[list(p) for p in held] for held in known], list(loads)
        replica = choose(prompt, known, loads)
        if t is not None:
            fine = isinstance(replica, (int, np.integer)) and 0 <= replica < REPLICAS
            t.true(fine, f"choose_replica gives {replica!r:.40}; there are {REPLICAS} replicas.", "index")
            t.true((known, loads) == before, "`known` or `loads` has changed.", "changes_lists")
        found = max((_common(prompt, other) for other in known[replica]), default=0)
        new = len(prompt) - found
        loads[replica] += new
        computed[replica] += new
        known[replica] = [*known[replica], prompt][-HELD:]
        loads = [max(load - DONE, 0) for load in loads]
    return computed


def _common(a, b):
    pairs = [x == y for x, y in zip(a, b, strict=False)]
    return pairs.index(False) if False in pairs else len(pairs)


def _least_loaded(prompt, known, loads):
    return loads.index(min(loads))


def _check(answer, t, groups, skew):
    prompts = _load(t, 240, groups, skew)
    ours, plain = _serve(answer, prompts, t), _serve(_least_loaded, prompts)
    share = max(ours) / (sum(ours) / REPLICAS)
    part = sum(ours) / sum(plain)
    story = (
        f"240 prompts with {groups} common beginnings on {REPLICAS} replicas: {sum(ours)} tokens were computed, {part:.0%} of what the "
        f"least-loaded replica computes; the busiest computed {share:.2f} times the mean.\n"
    )
    t.true(share <= SHARE, f"{story}Wanted: at most {SHARE} times.", "ignores_load")
    t.true(part <= COMPUTED, f"{story}Wanted: at most {COMPUTED:.0%}.", "ignores_cache")


@choose_replica.case("a prompt that nobody knows goes to the idlest")
def _(answer, t):
    given = answer([1, 2, 3], [[], [[7, 8]], [], []], [50, 40, 10, 30])
    t.equal("choose_replica([1, 2, 3], nothing known, loads=[50, 40, 10, 30])", given, 2, mistakes={"most_loaded": 0})


@choose_replica.case(f"common beginnings: at most {COMPUTED:.0%} of the tokens, and no replica above {SHARE} times the mean")
def _(answer, t):
    _check(answer, t, groups=8, skew=0)
    _check(answer, t, groups=6, skew=0.7)


@choose_replica.case("one beginning that nearly everybody has: it must not all go to one replica")
def _(answer, t):
    _check(answer, t, groups=5, skew=2.0)
