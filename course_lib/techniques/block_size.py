"""How large should a block be?

A sequence fills its last block only in part, and shares a common beginning only in whole blocks: both speak
for small blocks. Large ones make tables short and the runs long that a kernel reads at once. So take the
largest that wastes little on the lengths that are really served.
"""

from collections.abc import Iterable, Sequence


def slots_held(lengths: Sequence[int], block_size: int, shared: int = 0) -> int:
    """Slots in the blocks of all sequences together.

    Args:
        lengths: tokens of each sequence, more than `shared`.
        block_size: tokens a block.
        shared: tokens at the beginning that all have in common; its full blocks are held once.
    """
    common = shared // block_size * block_size
    own = sum(-(-(length - common) // block_size) * block_size for length in lengths)
    return common + own


def largest_block_size(
    lengths: Sequence[int], sizes: Iterable[int], *, shared: int = 0, most_waste: float = 0.05
) -> int:
    """The largest block size that holds at most `most_waste` more slots than blocks of one token do.

    Args:
        lengths, shared: as in `slots_held`.
        sizes: to choose from.
        most_waste: 0.05 allows one slot more for every twenty that are needed.

    Returns:
        One of `sizes`: the smallest of them where none wastes so little.
    """
    sizes = sorted(sizes)
    allowed = (1 + most_waste) * slots_held(lengths, 1, shared)
    fitting = [size for size in sizes if slots_held(lengths, size, shared) <= allowed]
    return fitting[-1] if fitting else sizes[0]
