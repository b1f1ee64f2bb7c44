"""Rewinding a cache."""

from os.path import commonprefix

from .. import mutant, rival

REWIND = "kv_cache.rewind"


def _common(a, b):
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return n


def _rewind(cache, held, wanted, *, keep=None, trim=None, unread=None, layers=slice(None)):
    if not wanted:
        raise ValueError("nothing wanted")
    n = min(_common(held, wanted), len(wanted) - 1) if keep is None else keep(held, wanted)
    for layer in cache[layers]:
        layer.trim(len(held) - n if trim is None else trim(held, n))
    return wanted[n:] if unread is None else unread(wanted, n)


@mutant(REWIND, "nothing_left")
def rewind_leaves_nothing(cache, held, wanted):
    return _rewind(cache, held, wanted, keep=_common)


@mutant(REWIND, "one_layer")
def rewind_first_layer(cache, held, wanted):
    return _rewind(cache, held, wanted, layers=slice(0, 1))


@mutant(REWIND, "not_trimmed")
def rewind_does_not_trim(cache, held, wanted):
    return _rewind(cache, held, wanted, trim=lambda held, n: 0)


@mutant(REWIND, "trimmed_common")
def rewind_trims_what_to_keep(cache, held, wanted):
    return _rewind(cache, held, wanted, trim=lambda held, n: n)


@mutant(REWIND, "trimmed_all")
def rewind_empties(cache, held, wanted):
    return _rewind(cache, held, wanted, trim=lambda held, n: len(held))


@mutant(REWIND, "not_a_prefix")
def rewind_counts_equal(cache, held, wanted):
    return _rewind(
        cache, held, wanted,
        keep=lambda held, wanted: min(sum(a == b for a, b in zip(held, wanted)), len(wanted) - 1),
    )  # fmt: skip


@mutant(REWIND, "whole_prompt")
def rewind_reads_all(cache, held, wanted):
    return _rewind(cache, held, wanted, unread=lambda wanted, n: wanted)


@mutant(REWIND, None)
def rewind_without_error(cache, held, wanted):
    return _rewind(cache, held, wanted) if wanted else []


@rival(REWIND)
def rewind_by_commonprefix(cache, held, wanted):
    if len(wanted) == 0:
        raise ValueError("the prompt must have at least one token")
    shared = len(commonprefix([list(held), list(wanted)[:-1]]))
    for layer in cache:
        while layer.offset > shared:
            layer.trim(1)
    return list(wanted)[shared:]
