"""The largest block that wastes little."""

from .. import mutant, rival

SIZE = "paged_kv_cache.block_size"


def _held(lengths, size, shared):
    common = shared // size * size
    return common + sum(-(-(n - common) // size) * size for n in lengths)


def _largest(lengths, sizes, *, shared=0, most_waste=0.05, held=_held, choose=max):
    fitting = [s for s in sizes if held(lengths, s, shared) <= (1 + most_waste) * held(lengths, 1, shared)]
    return choose(fitting) if fitting else min(sizes)


@mutant(SIZE, "not_shared")
def shares_nothing(lengths, sizes, *, shared=0, most_waste=0.05):
    return _largest(lengths, sizes, most_waste=most_waste)


@mutant(SIZE, "shared_partly")
def shares_to_the_last_token(lengths, sizes, *, shared=0, most_waste=0.05):
    def held(lengths, size, shared):
        return shared + sum(-(-(n - shared) // size) * size for n in lengths)

    return _largest(lengths, sizes, shared=shared, most_waste=most_waste, held=held)


@mutant(SIZE, "no_waste")
def allows_nothing(lengths, sizes, *, shared=0, most_waste=0.05):
    return _largest(lengths, sizes, shared=shared, most_waste=0)


@mutant(SIZE, "smallest")
def takes_the_smallest(lengths, sizes, *, shared=0, most_waste=0.05):
    return _largest(lengths, sizes, shared=shared, most_waste=most_waste, choose=min)


@mutant(SIZE, "none_fits")
def returns_none(lengths, sizes, *, shared=0, most_waste=0.05):
    needed = (1 + most_waste) * _held(lengths, 1, shared)
    return max((s for s in sizes if _held(lengths, s, shared) <= needed), default=None)


@mutant(SIZE, "order")
def takes_the_last(lengths, sizes, *, shared=0, most_waste=0.05):
    return _largest(lengths, sizes, shared=shared, most_waste=most_waste, choose=lambda fitting: fitting[-1])


@mutant(SIZE, None)
def returns_the_waste(lengths, sizes, *, shared=0, most_waste=0.05):
    size = _largest(lengths, sizes, shared=shared, most_waste=most_waste)
    return _held(lengths, size, shared) / _held(lengths, 1, shared) - 1


@rival(SIZE)
def descends(lengths, sizes, *, shared=0, most_waste=0.05):
    needed = shared + sum(n - shared for n in lengths)
    for size in sorted(sizes, reverse=True):
        full = shared // size
        blocks = full + sum((n - full * size + size - 1) // size for n in lengths)
        if blocks * size <= needed * (1 + most_waste):
            return size
    return size
