"""A router that knows who has read what."""

from .. import mutant, rival

CHOOSE = "build_your_own_vllm.choose_replica"


def _common(a, b):
    length = 0
    while length < min(len(a), len(b)) and a[length] == b[length]:
        length += 1
    return length


def _found(prompt, held):
    return max((_common(prompt, other) for other in held), default=0)


@mutant(CHOOSE, "ignores_cache")
def least_loaded(prompt, known, loads):
    return loads.index(min(loads))


@mutant(CHOOSE, "ignores_load")
def longest_prefix(prompt, known, loads):
    return min(range(len(loads)), key=lambda r: (-_found(prompt, known[r]), loads[r]))


@mutant(CHOOSE, "most_loaded")
def longest_prefix_then_busiest(prompt, known, loads):
    return max(range(len(loads)), key=lambda r: (_found(prompt, known[r]), loads[r]))


@mutant(CHOOSE, "index")
def gives_the_load(prompt, known, loads):
    return loads[0] + 100 if any(known) and loads[0] else loads.index(min(loads))


@mutant(CHOOSE, "changes_lists")
def counts_itself(prompt, known, loads):
    replica = min(range(len(loads)), key=lambda r: loads[r] + len(prompt) - _found(prompt, known[r]))
    loads[replica] += len(prompt)
    return replica


@mutant(CHOOSE, "ignores_cache")
def by_hash(prompt, known, loads):
    return loads.index(min(loads)) if not any(known) or max(loads) < 50 else sum(prompt) % len(loads)


@rival(CHOOSE)
def least_work_before_the_end(prompt, known, loads):
    """What is before it, and what is new to it: the time until it has been read."""
    return min(range(len(loads)), key=lambda r: loads[r] + len(prompt) - _found(prompt, known[r]))
