"""The shortest first, and nobody for ever last."""

from .. import mutant, rival

ORDER = "continuous_batching.order"


@mutant(ORDER, "no_gain")
def first_come(waiting, now):
    return list(waiting)


@mutant(ORDER, "no_gain")
def ages_at_once(waiting, now):
    return sorted(waiting, key=lambda r: r.max_tokens - 1000 * (now - r.arrival_time))


@mutant(ORDER, "worse")
def longest_first(waiting, now):
    return sorted(waiting, key=lambda r: -r.max_tokens)


@mutant(ORDER, "starves")
def shortest_first(waiting, now):
    return sorted(waiting, key=lambda r: r.max_tokens)


@mutant(ORDER, "starves")
def ages_too_slowly(waiting, now):
    return sorted(waiting, key=lambda r: r.max_tokens - 0.01 * (now - r.arrival_time))


@mutant(ORDER, "changes_list")
def sorts_in_place(waiting, now):
    waiting.sort(key=lambda r: r.max_tokens - 0.5 * (now - r.arrival_time))
    return waiting


@mutant(ORDER, "lost")
def only_one(waiting, now):
    return sorted(waiting, key=lambda r: r.max_tokens - 0.5 * (now - r.arrival_time))[:1]


@rival(ORDER)
def the_patient_first(waiting, now):
    """By classes: whoever has waited three seconds for each token goes before all others, the oldest first."""
    tired = [r for r in waiting if now - r.arrival_time > 3 * r.max_tokens]
    fresh = [r for r in waiting if r not in tired]
    return sorted(tired, key=lambda r: r.arrival_time) + sorted(fresh, key=lambda r: r.max_tokens)


@rival(ORDER)
def by_deadline(waiting, now):
    """Now is not needed: if all age at the same pace, the order never changes."""
    return sorted(waiting, key=lambda r: r.arrival_time + 2 * r.max_tokens)


@mutant(ORDER, "starves")
def by_ratio(waiting, now):
    """The highest response ratio next: among many short ones that have to wait, too, a long one never has it."""
    return sorted(waiting, key=lambda r: -(now - r.arrival_time) / r.max_tokens)
