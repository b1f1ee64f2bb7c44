"""Counting what a static batch computes."""

import numpy as np

from .. import mutant, rival

WASTE = "continuous_batching.waste"


def _batches(prompts, answers, size):
    for start in range(0, len(prompts), size):
        yield prompts[start : start + size], answers[start : start + size]


@mutant(WASTE, "first_token")
def counts_every_answer_token(prompts, answers, size):
    useful = padding = waiting = 0
    for p, a in _batches(prompts, answers, size):
        useful += sum(p) + sum(a)
        padding += max(p) * len(p) - sum(p)
        waiting += max(a) * len(a) - sum(a)
    return useful, padding, waiting


@mutant(WASTE, "one_batch")
def all_in_one(prompts, answers, size):
    p, a = prompts, [n - 1 for n in answers]
    return sum(p) + sum(a), max(p) * len(p) - sum(p), max(a) * len(a) - sum(a)


@mutant(WASTE, "one_batch")
def longest_of_all(prompts, answers, size):
    useful = padding = waiting = 0
    for p, a in _batches(prompts, answers, size):
        useful += sum(p) + sum(a) - len(a)
        padding += max(prompts) * len(p) - sum(p)
        waiting += max(answers) * len(a) - sum(a)
    return useful, padding, waiting


@mutant(WASTE, "full_batch")
def always_full(prompts, answers, size):
    useful = padding = waiting = 0
    for p, a in _batches(prompts, answers, size):
        useful += sum(p) + sum(a) - len(a)
        padding += max(p) * size - sum(p)
        waiting += (max(a) - 1) * size - (sum(a) - len(a))
    return useful, padding, waiting


@mutant(WASTE, "swapped")
def swaps(prompts, answers, size):
    useful, padding, waiting = by_arrays(prompts, answers, size)
    return useful, waiting, padding


@mutant(WASTE, "all_positions")
def counts_all(prompts, answers, size):
    useful, padding, waiting = by_arrays(prompts, answers, size)
    return useful + padding + waiting, padding, waiting


@rival(WASTE)
def by_arrays(prompts, answers, size):
    useful = padding = waiting = 0
    for p, a in _batches(np.array(prompts), np.array(answers) - 1, size):
        useful += p.sum() + a.sum()
        padding += (p.max() - p).sum()
        waiting += (a.max() - a).sum()
    return useful, padding, waiting
