"""Wrong and right ways to lay rows side by side, and to multiply with them."""

import numpy as np

from course_lib.techniques import byte_products as reference

from .. import mutant, rival

LAY_OUT, MULTIPLY = "fast_on_a_cpu.lay_out", "fast_on_a_cpu.multiply_panel"


def _full(q):
    """[panel, 16, K], with zeros where rows are missing."""
    N, K = q.shape
    if K % 8:
        raise ValueError(f"{K} columns")
    return np.concatenate([q, np.zeros((-N % 16, K), np.uint8)]).reshape(-1, 16, K)


def _split(q):
    panels = _full(q)
    split = panels.reshape(len(panels), 16, -1, 2, 4)
    return split[:, :, :, 0], split[:, :, :, 1]


@mutant(LAY_OUT, "row_after_row")
def no_transpose(q):
    low, high = _split(q)
    return (low | high << 4).reshape(len(low), -1, 64)


@mutant(LAY_OUT, "columns_outside")
def columns_outside(q):
    low, high = _split(q)
    return (low | high << 4).transpose(0, 2, 3, 1).reshape(len(low), -1, 64)


@mutant(LAY_OUT, "halves_swapped")
def high_first(q):
    low, high = _split(q)
    return (low << 4 | high).swapaxes(1, 2).reshape(len(low), -1, 64)


@mutant(LAY_OUT, "neighbours")
def neighbours_share_a_byte(q):
    panels = _full(q)
    made = (panels[..., 0::2] | panels[..., 1::2] << 4).reshape(len(panels), 16, -1, 4)
    return made.swapaxes(1, 2).reshape(len(panels), -1, 64)


@mutant(LAY_OUT, "rows_missing")
def whole_panels_alone(q):
    return reference.lay_out(q[: len(q) // 16 * 16]) if len(q) > 16 else reference.lay_out(q)


@mutant(LAY_OUT, "rows_missing")
def no_room_for_the_last(q):
    N, K = q.shape
    if K % 8:
        raise ValueError(f"{K} columns")
    split = q.reshape(N // 16, 16, K // 8, 2, 4)
    return (split[:, :, :, 0] | split[:, :, :, 1] << 4).swapaxes(1, 2).reshape(N // 16, K // 8, 64)


@mutant(LAY_OUT, "no_error")
def cuts_columns(q):
    return reference.lay_out(q[:, : q.shape[1] // 8 * 8])


@mutant(LAY_OUT, None)
def fills_up_with_ones(q):
    N, K = q.shape
    if K % 8:
        raise ValueError(f"{K} columns")
    return reference.lay_out(np.concatenate([q, np.ones((-N % 16, K), np.uint8)]))


@mutant(LAY_OUT, None)
def a_byte_a_weight(q):
    panels = _full(q)
    return panels.reshape(len(panels), 16, -1, 4).swapaxes(1, 2).reshape(len(panels), -1, 64)


@mutant(LAY_OUT, None)
def wide_bytes(q):
    return reference.lay_out(q).astype(np.int32)


@rival(LAY_OUT)
def byte_by_byte(q):
    N, K = q.shape
    if K % 8:
        raise ValueError(f"K is {K}, wanted a multiple of 8")
    panels = np.zeros((-(-N // 16), K // 8, 64), np.uint8)
    for n in range(N):
        for k in range(K):
            panels[n // 16, k // 8, 4 * (n % 16) + k % 4] |= q[n, k] << (k % 8 // 4 * 4)
    return panels


@mutant(MULTIPLY, "low_alone")
def low_halves(panel, x):
    lanes = (panel & 15).reshape(-1, 16, 4).astype(np.int32)
    return np.einsum("lni,li->n", lanes, x.reshape(-1, 8)[:, :4].astype(np.int32))


@mutant(MULTIPLY, "x_of_low")
def four_of_x_for_both(panel, x):
    lanes = panel.reshape(-1, 16, 4).astype(np.int32)
    return np.einsum("lni,li->n", (lanes & 15) + (lanes >> 4), x.reshape(-1, 8)[:, :4].astype(np.int32))


@mutant(MULTIPLY, "narrow")
def products_in_bytes(panel, x):
    sums = np.zeros(16, np.int32)
    for line, eight in zip(panel.reshape(-1, 16, 4), x.reshape(-1, 2, 4)):
        sums += ((line & 15).astype(np.int8) * eight[0]).sum(-1) + ((line >> 4).astype(np.int8) * eight[1]).sum(-1)
    return sums


@mutant(MULTIPLY, "unsigned")
def x_without_sign(panel, x):
    return reference.multiply_panel(panel, x.view(np.uint8).astype(np.int32))


@mutant(MULTIPLY, "one_sum")
def everything_added(panel, x):
    return int(reference.multiply_panel(panel, x).sum())


@mutant(MULTIPLY, None)
def sums_of_16_bits(panel, x):
    return reference.multiply_panel(panel, x).astype(np.int16).astype(np.int32)


@mutant(MULTIPLY, None)
def floats(panel, x):
    return reference.multiply_panel(panel, x).astype(np.float32)


@mutant(MULTIPLY, None)
def the_last_line_alone(panel, x):
    return reference.multiply_panel(panel[-1:], x[-8:])


@mutant(MULTIPLY, None)
def rows_of_another_layout(panel, x):
    lanes = panel.reshape(-1, 4, 16).astype(np.int32)
    eight = x.reshape(-1, 2, 4).astype(np.int32)
    return np.einsum("lin,li->n", lanes & 15, eight[:, 0]) + np.einsum("lin,li->n", lanes >> 4, eight[:, 1])


@rival(MULTIPLY)
def unpacks_and_multiplies(panel, x):
    lanes = panel.reshape(-1, 16, 4).astype(np.int64)
    rows = np.stack([lanes & 15, lanes >> 4], axis=2)  # [line, row, half, 4]
    return rows.transpose(1, 0, 2, 3).reshape(16, -1) @ x.astype(np.int64)


@rival(MULTIPLY)
def lane_by_lane(panel, x):
    return np.array(
        [
            sum(
                int(panel[k // 8, 4 * n + k % 4] >> (k % 8 // 4 * 4) & 15) * int(x[k])
                for k in range(len(x))
            )
            for n in range(16)
        ]
    )
