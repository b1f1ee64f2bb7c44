"""Sixteen rows side by side, and a product with them."""

import numpy as np

from ....techniques import byte_products as techniques
from ...exercise import Exercise
from .whole_numbers import as_integers, same_integers

NAMES = {"np": np}
ROWS = 16


def by_definition(q, *, first=4, byte=lambda n, i: 4 * n + i) -> np.ndarray:
    """The panels, byte by byte, with Python's integers.

    Args:
        q: [N, K].
        first: bits by which a line's second four weights are shifted, less 4 that of the first four.
        byte: where row n's weight i lies in a line.
    """
    rows = np.array(q).tolist()
    N, K = len(rows), len(rows[0])
    panels = -(-N // ROWS)
    made = np.zeros((panels, K // 8, 4 * ROWS), np.int64)
    for row, weights in enumerate(rows):
        p, n = divmod(row, ROWS)
        for line in range(K // 8):
            for i in range(4):
                low, high = weights[8 * line + i], weights[8 * line + 4 + i]
                made[p, line, byte(n, i)] = (low << (4 - first)) + (high << first)
    return made


def weights(t, N, K):
    q = t.rng.integers(0, 16, (N, K)).astype(np.uint8)
    return t.watch("q", q)


lay_out = Exercise(
    "fast_on_a_cpu.lay_out",
    "Sixteen rows side by side",
    name="lay_out",
    reference=techniques.lay_out,
    names=NAMES,
    mistakes={
        "row_after_row": "Row still comes after row: the lanes of a line belong to one row. The line's 64 bytes are to hold four from each of the 16 rows.",
        "columns_outside": "A row's four bytes are not neighbours: byte 16 i + n holds weight i of row n. Wanted is byte 4 n + i, so that a lane of 32 bits is one row's.",
        "halves_swapped": "The halves of the bytes have changed places: weights 8 l to 8 l + 3 go into the lower halves, the next four into the upper.",
        "neighbours": "A byte holds two neighbours, as in MLX's format. Here weight 8 l + i shares it with 8 l + 4 + i, so that one mask brings out four neighbours for each lane.",
        "rows_missing": "The last rows are missing. N is no multiple of 16: the last panel is filled up with zeros.",
        "no_error": "A K that is no multiple of 8 is an error: raise ValueError.",
    },
)


def check_lay_out(answer, t, N, K):
    q = weights(t, N, K)
    rows = np.concatenate([q, np.zeros((-N % ROWS, K), np.uint8)]).astype(np.int64)
    split = rows.reshape(-1, K // 8, 2, 4)  # [row, line, half, i]
    one_row = split[:, :, 0] + 16 * split[:, :, 1]
    pairs = (rows[:, 0::2] + 16 * rows[:, 1::2]).reshape(-1, ROWS, K // 8, 4)
    mistakes = {
        "row_after_row": one_row.reshape(-1, K // 8, 64),
        "columns_outside": by_definition(q, byte=lambda n, i: ROWS * i + n),
        "halves_swapped": by_definition(q, first=0),
        "neighbours": pairs.swapaxes(1, 2).reshape(-1, K // 8, 64),
    }
    if N % ROWS and N > ROWS:
        mistakes["rows_missing"] = by_definition(q[: N // ROWS * ROWS])
    same_integers(
        t, f"lay_out(q) for q [{N}, {K}]", answer(q), by_definition(q), dtype=np.uint8,
        mistakes={name: as_integers(value, np.uint8) for name, value in mistakes.items()},
    )  # fmt: skip


@lay_out.case("one panel of 16 rows")
def _(answer, t):
    check_lay_out(answer, t, 16, 32)


@lay_out.case("several panels")
def _(answer, t):
    check_lay_out(answer, t, 48, 64)
    check_lay_out(answer, t, 32, 8)


@lay_out.case("a last panel that is not full", errors={"rows_missing": r"ValueError.*reshape"})
def _(answer, t):
    check_lay_out(answer, t, 37, 64)
    check_lay_out(answer, t, 1, 32)


@lay_out.case("columns that fill no whole line are an error")
def _(answer, t):
    q = weights(t, 16, 36)
    t.raises(ValueError, lambda: answer(q), "lay_out of [16, 36]", mistake="no_error")


multiply_panel = Exercise(
    "fast_on_a_cpu.multiply_panel",
    "A product that adds nothing across lanes",
    name="multiply_panel",
    reference=techniques.multiply_panel,
    names=NAMES,
    mistakes={
        "low_alone": "Only the lower halves of the bytes are used: `line >> 4` are four more weights of each row.",
        "x_of_low": "The upper halves meet the x of the lower. Line l's upper halves are weights 8 l + 4 to 8 l + 7.",
        "narrow": "Products of bytes need more than 8 bits: NumPy keeps the type of what it multiplies. `.astype(np.int32)` first, both of them.",
        "unsigned": "x has a sign: its bytes go from -128 to 127. (The weights' have none.)",
        "one_sum": "All rows' products are in one sum. Each row has a sum of its own: 16 of them.",
    },
)


def check_multiply(answer, t, K, extremes=False):
    q = t.rng.integers(0, 16, (ROWS, K)).astype(np.uint8)
    x = t.rng.integers(-128, 128, K).astype(np.int8)
    if extremes:
        q[:], x[:] = 15, -128
    panel = t.watch("panel", by_definition(q)[0].astype(np.uint8))
    t.watch("x", x)
    wide, signed = q.astype(np.int64), x.astype(np.int64)
    low = wide.reshape(ROWS, -1, 2, 4)[:, :, 0]
    high = wide.reshape(ROWS, -1, 2, 4)[:, :, 1]
    eight = signed.reshape(-1, 2, 4)
    wanted = wide @ signed
    narrow_low = (low * eight[:, 0]).astype(np.int8).astype(np.int64)
    narrow_high = (high * eight[:, 1]).astype(np.int8).astype(np.int64)
    mistakes = {
        "low_alone": (low * eight[:, 0]).sum((1, 2)),
        "x_of_low": (low * eight[:, 0] + high * eight[:, 0]).sum((1, 2)),
        "narrow": (narrow_low + narrow_high).sum((1, 2)),
        "unsigned": wide @ (signed % 256),
    }
    mistakes = {name: as_integers(value) for name, value in mistakes.items()}
    total = int(wanted.sum())
    mistakes["one_sum"] = lambda given: np.size(given) == 1 and np.array(given).item() == total
    given = answer(panel, x)
    # A bare number is what a sum across lanes gives.
    given = np.array(given) if isinstance(given, int | np.generic) else given
    same_integers(t, f"multiply_panel(panel, x) with {K} columns", given, wanted, mistakes=mistakes)


@multiply_panel.case("one line: eight columns")
def _(answer, t):
    check_multiply(answer, t, 8)


@multiply_panel.case("many lines")
def _(answer, t):
    for K in (32, 64, 576):
        check_multiply(answer, t, K)


@multiply_panel.case("the largest sums that there can be")
def _(answer, t):
    check_multiply(answer, t, 4096, extremes=True)
