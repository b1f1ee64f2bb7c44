"""Drawings of notebook 08: rows and blocks, tables and slots, and a pool whose blocks are coloured by owner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Patch, Rectangle

from ..style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, YELLOW, ink_on, new_figure

EMPTY = "white"
RESERVED = "#E4E4E4"
EDGE = "#BBBBBB"
OWNERS = [BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW]


def rows_and_blocks(lengths: Mapping[str, int], longest: int = 16, block_size: int = 4) -> Figure:
    """The same sequences in contiguous rows and in blocks of one pool.

    Args:
        lengths: name -> tokens held.
        longest: tokens that a row has room for.
    """
    figure, (left, right) = new_figure(0.42 * len(lengths) + 1.5, width=9, columns=2)
    colours = dict(zip(lengths, OWNERS, strict=False))
    for row, (name, length) in enumerate(lengths.items()):
        for place in range(longest):
            _cell(left, place, row, colours[name] if place < length else RESERVED)
        left.text(-0.4, row + 0.5, name, ha="right", va="center", fontsize=11)
    _bare(left, longest, len(lengths))
    left.set_title(f"rows of {longest}", fontsize=12, loc="center")
    blocks = [  # turn by turn, as the sequences grew
        (name, min(block_size, length - start))
        for start in range(0, longest, block_size)
        for name, length in lengths.items()
        if length > start
    ]
    across = longest // block_size
    for i in range(len(lengths) * across):
        name, held = blocks[i] if i < len(blocks) else ("", 0)
        for place in range(block_size):
            fill = EMPTY if i >= len(blocks) else colours[name] if place < held else RESERVED
            _cell(right, i % across * (block_size + 0.5) + place, i // across, fill)
    _bare(right, across * (block_size + 0.5), len(lengths))
    right.set_title(f"blocks of {block_size}", fontsize=12, loc="center")
    handles = [
        *(Patch(facecolor=colour, label=f"{name}'s tokens") for name, colour in colours.items()),
        Patch(facecolor=RESERVED, edgecolor=EDGE, label="reserved, empty"),
        Patch(facecolor=EMPTY, edgecolor=EDGE, label="free for anybody"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=10)
    return figure


def table_and_slots(words: Sequence[str], blocks: Sequence[int], block_size: int, num_blocks: int) -> Figure:
    """A sequence's tokens above, the pool below, and which block of it holds which tokens."""
    figure, axis = new_figure(2.9, width=9)
    step = block_size + 0.6
    begin = (num_blocks * step - len(blocks) * step) / 2
    for index, block in enumerate(blocks):
        colour, left = OWNERS[index % len(OWNERS)], begin + index * step
        for place in range(block_size):
            token = index * block_size + place
            inside = token < len(words)
            _cell(axis, left + place, 0, colour if inside else EMPTY, words[token] if inside else "")
        axis.text(
            left + block_size / 2, -0.15, f"table[{index}] = {block}", ha="center", va="bottom", fontsize=9
        )
        axis.add_patch(
            ConnectionPatch(
                (left + block_size / 2, 1.05), (block * step + block_size / 2, 2.95), "data", "data",
                arrowstyle="-|>", mutation_scale=11, color=colour, lw=1.8,
            )
        )  # fmt: skip
    for block in range(num_blocks):
        entry = blocks.index(block) if block in blocks else None
        for place in range(block_size):
            token = None if entry is None else entry * block_size + place
            here = token is not None and token < len(words)
            _cell(
                axis,
                block * step + place,
                3,
                OWNERS[entry % len(OWNERS)] if here else EMPTY,
                words[token] if here else "",
            )
            axis.text(
                block * step + place + 0.5, 4.1, str(block * block_size + place), ha="center", va="top", fontsize=8,
                color=GREY,
            )  # fmt: skip
        axis.text(block * step + block_size / 2, 4.75, f"block {block}", ha="center", va="top", fontsize=9)
    axis.text(-0.3, 4.1, "slot", ha="right", va="top", fontsize=8, color=GREY)
    _bare(axis, num_blocks * step, 5.4, top=-0.8, left=-1.4)
    return figure


@dataclass(frozen=True)
class Frame:
    """A pool at one moment.

    Attributes:
        title: what has just happened.
        block_size: tokens a block.
        owners: for each block the names of the sequences that hold it.
        held: for each block how many tokens its owners have in it.
        known: for each block whether it can be found by what it holds.
        changed: blocks that look different from the frame before.
    """

    title: str
    block_size: int
    owners: tuple[tuple[str, ...], ...]
    held: tuple[int, ...]
    known: tuple[bool, ...]
    changed: frozenset[int] = frozenset()


class PoolStory:
    """Takes a picture of a block manager's pool after each thing that happens.

    Args:
        manager: `techniques.paged_kv.BlockManager`, or another with its methods and `prefixes`.

    Attributes:
        frames (list[Frame]): the pictures.
        tables (dict[str, BlockTable]): the sequences that are there, by name.
    """

    def __init__(self, manager: Any) -> None:
        self.manager = manager
        self.frames: list[Frame] = []
        self.tables: dict[str, Any] = {}
        self._tokens: dict[str, list[int]] = {}

    def begin(self, name: str, tokens: Sequence[int]) -> None:
        """A sequence comes with its prompt."""
        table = self.manager.new_table(list(tokens))
        found = table.num_tokens
        self.manager.append(table, len(tokens) - found)
        self.tables[name], self._tokens[name] = table, list(tokens)
        self.manager.remember(table, tokens)
        self._picture(f"{name} comes with {len(tokens)} tokens" + (f", {found} found" if found else ""))

    def grow(self, name: str, tokens: Sequence[int]) -> None:
        """It writes more tokens."""
        copies = self.manager.append(self.tables[name], len(tokens))
        self._tokens[name] += tokens
        self.manager.remember(self.tables[name], self._tokens[name])
        copied = "".join(f": block {source} is copied to {target}" for source, target in copies)
        self._picture(f"{name} writes {len(tokens)} token{'s' * (len(tokens) > 1)}{copied}")

    def fork(self, name: str, new: str) -> None:
        """A second sequence goes on from the same tokens."""
        self.tables[new], self._tokens[new] = self.manager.fork(self.tables[name]), list(self._tokens[name])
        self._picture(f"{new} forks off {name}")

    def end(self, name: str) -> None:
        """It has finished."""
        self.manager.free(self.tables.pop(name))
        del self._tokens[name]
        self._picture(f"{name} ends")

    def _picture(self, title: str) -> None:
        size, allocator = self.manager.block_size, self.manager.allocator
        owners, held = [], []
        for block in range(allocator.num_blocks):
            holding = {name: table for name, table in self.tables.items() if block in table.blocks}
            owners.append(tuple(holding))
            tokens = [min(size, t.num_tokens - t.blocks.index(block) * size) for t in holding.values()]
            held.append(max(tokens, default=0))
        known = tuple(block in self.manager.prefixes for block in range(allocator.num_blocks))
        frame = Frame(title, size, tuple(owners), tuple(held), known)
        before = self.frames[-1] if self.frames else None
        changed = {
            b for b in range(len(owners))
            if before is not None and (before.owners[b], before.held[b]) != (frame.owners[b], frame.held[b])
        }  # fmt: skip
        self.frames.append(Frame(title, size, tuple(owners), tuple(held), known, frozenset(changed)))

    @property
    def names(self) -> list[str]:
        """All that ever held a block, in the order in which they came."""
        return list(dict.fromkeys(n for frame in self.frames for owners in frame.owners for n in owners))


def pool_picture(story: PoolStory, index: int) -> Figure:
    """One frame of the story."""
    figure, axis = new_figure(2.0, width=9)
    _pool(axis, story.frames[index], story.names)
    axis.set_title(f"{index + 1}. {story.frames[index].title}", fontsize=12)
    _legend(figure, story.names)
    return figure


def pool_strip(story: PoolStory, columns: int = 2) -> Figure:
    """All frames, one below the other, to be read row by row."""
    rows = -(-len(story.frames) // columns)
    figure, axes = new_figure(0.95 * rows + 0.6, width=10, rows=rows, columns=columns, squeeze=False)
    for index, axis in enumerate(axes.flat):
        if index < len(story.frames):
            _pool(axis, story.frames[index], story.names)
            axis.set_title(f"{index + 1}. {story.frames[index].title}", fontsize=10, pad=2)
        else:
            axis.axis("off")
    _legend(figure, story.names)
    return figure


def _pool(axis: Axes, frame: Frame, names: Sequence[str]) -> None:
    """Blocks in a row. Each owner of a block has a stripe of it, filled as far as its tokens reach."""
    colours = dict(zip(names, OWNERS, strict=False))
    step = frame.block_size + 0.8
    for block, owners in enumerate(frame.owners):
        left, size = block * step, frame.block_size
        hatch = "////" if not owners and frame.known[block] else None
        axis.add_patch(Rectangle((left, 0), size, 2, facecolor=EMPTY, edgecolor=EDGE, lw=0.8, hatch=hatch))
        for stripe, name in enumerate(owners):
            height = 2 / len(owners)
            axis.add_patch(
                Rectangle((left, stripe * height), frame.held[block], height, facecolor=colours[name], lw=0)
            )
        for place in range(1, size):
            axis.plot([left + place] * 2, [0, 2], color="white" if place < frame.held[block] else EDGE, lw=0.6)
        strong = block in frame.changed
        axis.add_patch(
            Rectangle(
                (left, 0), size, 2, fill=False, edgecolor="black" if strong else EDGE, lw=1.6 if strong else 0.8
            )
        )
        for stripe, name in enumerate(owners):
            height = 2 / len(owners)
            axis.text(
                left + min(frame.held[block], 1) / 2, (stripe + 0.5) * height, name, ha="center", va="center",
                fontsize=8 if len(owners) < 3 else 6.5, color=ink_on(colours[name]),
            )  # fmt: skip
        axis.text(left + size / 2, 2.15, str(block), ha="center", va="top", fontsize=8, color=GREY)
    _bare(axis, len(frame.owners) * step, 3.0, top=-0.15)


def _legend(figure: Figure, names: Sequence[str]) -> None:
    handles = [
        *(Patch(facecolor=OWNERS[i % len(OWNERS)], label=name) for i, name in enumerate(names)),
        Patch(facecolor=EMPTY, edgecolor=EDGE, label="free"),
        Patch(facecolor=EMPTY, edgecolor=EDGE, hatch="////", label="free, still known"),
        Patch(facecolor=EMPTY, edgecolor="black", linewidth=1.6, label="just changed"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9)


def _cell(axis: Axes, x: float, y: float, colour: str, word: str = "") -> None:
    axis.add_patch(Rectangle((x + 0.04, y + 0.04), 0.92, 0.92, facecolor=colour, edgecolor=EDGE, lw=0.6))
    if word:
        axis.text(x + 0.5, y + 0.5, word, ha="center", va="center", fontsize=8.5, color=ink_on(colour))


def _bare(axis: Axes, width: float, height: float, top: float = -0.1, left: float = -1.4) -> None:
    axis.set_xlim(left, width + 0.1)
    axis.set_ylim(height + 0.1, top)
    axis.axis("off")
