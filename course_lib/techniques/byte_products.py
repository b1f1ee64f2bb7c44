"""Products of floats with small integers, by instructions that multiply bytes.

Processors multiply bytes several times as fast as floats. Weights are small integers already; here floats become
integers, too, a group at a time and with a shared unit, and the integers become bytes:

    x[k]  =  unit * integer[k]  =  unit * (65536 first[k] + 256 second[k] + third[k]),   each digit from -128 to 127

    sum_k x[k] q[k]  =  unit * (65536 sum_k first[k] q[k] + 256 sum_k second[k] q[k] + sum_k third[k] q[k])

The sums of products of bytes are exact, so nothing depends on the order in which they are added, nor on the instruction
that does it. One digit is what is usually called int8 activations; three are as good as float32.

Splitting floats into pieces whose products a faster unit sums exactly is known as the Ozaki scheme; on units for bytes:
Ootomo, Ozaki, Yokota, "DGEMM on Integer Matrix Multiplication Unit", https://arxiv.org/abs/2306.11975

The course's kernels do the same in C++: `extensions/reference/digits.h`, `panels.h`, `panel_matmul.cpp`.
"""

import numpy as np

PANEL_ROWS = 16
GROUP = 32


def lay_out(q: np.ndarray) -> np.ndarray:
    """Integers of 4 bits in panels of 16 rows, so that every lane of a vector belongs to a row of its own.

    Args:
        q: uint8 [N, K], values below 16; K is a multiple of 8.

    Returns:
        uint8 [P, K / 8, 64], P = N / 16 rounded up. Byte 4 n + i of line l of panel p holds, of row 16 p + n, weight
        8 l + i in its lower half and weight 8 l + 4 + i in its upper half. Rows that are not there are zeros.

    Raises:
        ValueError: K is not a multiple of 8.
    """
    N, K = q.shape
    if K % 8:
        raise ValueError(f"{K} columns; wanted a multiple of 8")
    rows = np.concatenate([q, np.zeros((-N % PANEL_ROWS, K), np.uint8)])
    split = rows.reshape(-1, PANEL_ROWS, K // 8, 2, 4)  # [panel, row, line, half, i]
    low, high = split[:, :, :, 0], split[:, :, :, 1]
    return (low | high << 4).swapaxes(1, 2).reshape(-1, K // 8, 4 * PANEL_ROWS)


def multiply_panel(panel: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The dot products of a panel's 16 rows with integers of one byte.

    Args:
        panel: uint8 [K / 8, 64], one of `lay_out`'s.
        x: int8 [K].

    Returns:
        int32 [16]. Every line adds to all 16 sums, each in a lane of its own: nothing is summed across lanes.
    """
    sums = np.zeros(PANEL_ROWS, np.int32)
    for line, eight in zip(panel, x.astype(np.int32).reshape(-1, 2, 4), strict=True):
        lanes = line.reshape(PANEL_ROWS, 4).astype(np.int32)
        sums += (lanes & 15) @ eight[0]
        sums += (lanes >> 4) @ eight[1]
    return sums


def to_integers(x: np.ndarray, digits: int) -> tuple[np.ndarray, np.ndarray]:
    """Each group of floats as whole numbers of a unit that the group shares.

    Args:
        x: float32 [..., group].
        digits: bytes that an integer may take: 1, 2 or 3.

    Returns:
        Integers int32 [..., group], and units float64 [...]: of each group the smallest power of two for which its
        integers, rounded to the nearest, fit `digits` digits from -127 to 127. A group of zeros has unit 1.
    """
    most = 127 * sum(256**d for d in range(digits))
    largest = np.abs(x.astype(np.float64)).max(axis=-1)
    ratio = np.where(largest > 0, largest / most, 1.0)
    units = 2.0 ** np.ceil(np.log2(ratio))
    return np.rint(x / units[..., None]).astype(np.int32), units


def to_digits(integers: np.ndarray, count: int) -> np.ndarray:
    """Integers to the base 256, with digits from -128 to 127.

    Args:
        integers: int32 [...].
        count: of digits.

    Returns:
        int8 [count, ...], the highest digit first.

    Raises:
        ValueError: an integer needs more digits.
    """
    rest, digits = integers.astype(np.int64), []
    for _ in range(count):
        digit = (rest + 128) % 256 - 128
        digits.append(digit.astype(np.int8))
        rest = (rest - digit) // 256
    if rest.any():
        raise ValueError(f"integers up to {np.abs(integers).max()} do not fit {count} digits")
    return np.stack(digits[::-1])


def multiply_by_bytes(
    x: np.ndarray, q: np.ndarray, scales: np.ndarray, biases: np.ndarray, digits: int = 3
) -> np.ndarray:
    """A token times a quantized matrix, in which all sums over columns are sums of products of bytes.

    Args:
        x: float32 [K], K a multiple of 32.
        q: uint8 [N, K], the matrix's integers.
        scales, biases: float32 [N, K / 32].
        digits: for each x: 1, 2 or 3.

    Returns:
        float32 [N]. The same to the last bit in whatever order the columns of a group are.
    """
    groups = x.reshape(-1, GROUP)
    integers, units = to_integers(groups, digits)  # [G, 32], [G]
    bytes_of_x = to_digits(integers, digits).astype(np.int64)  # [digits, G, 32]
    bytes_of_w = q.reshape(len(q), -1, GROUP).astype(np.int64)  # [N, G, 32]
    sums = np.zeros(scales.shape, np.int64)  # [N, G]
    for digit in bytes_of_x:
        sums = 256 * sums + (bytes_of_w * digit).sum(axis=-1)
    # Floats from here on: a group's sum becomes one, and the groups are added in their order.
    y = scales * (units * sums) + biases * (units * integers.sum(axis=-1))
    return y.sum(axis=-1).astype(np.float32)


def predict_step(
    tokens: int, weights: int, weight_bytes: float, operations: int, *, bandwidth: float, rate: float, overhead: float
) -> float:
    """Seconds that a step of a model takes at least: the roofline, and what its operations cost by themselves.

    Args:
        tokens: in the step; all share one pass over the weights.
        weights: numbers in the model's matrices.
        weight_bytes: that all of them take.
        operations: calls of kernels.
        bandwidth: bytes read a second.
        rate: multiplications a second.
        overhead: seconds that an operation takes which does nothing.

    Roofline: Williams, Waterman, Patterson, https://doi.org/10.1145/1498765.1498785
    """
    return max(weight_bytes / bandwidth, tokens * weights / rate) + operations * overhead


def to_pairs(integers: np.ndarray) -> np.ndarray:
    """Integers as two numbers of 12 bits, each of those as sixteen times one byte plus another.

    With 4-bit weights q, which leave half of a byte empty, two products of bytes, one with 16 q and one with q, can be
    parts of the same sum. So three bytes of x take two sums, not three.

    Args:
        integers: int32 [...], from -8,353,783 to 8,353,783.

    Returns:
        int8 [2, 2, ...]: [first or second number, its high or its low part]. An integer is 4096 first + second, a
        number 16 high + low with low from -8 to 7.

    Raises:
        ValueError: an integer is too large.
    """
    most = np.abs(integers).max(initial=0)
    if most > 4097 * (16 * 127 + 7):
        raise ValueError(f"integers up to {most}; wanted at most 8353783")
    rest, parts = integers.astype(np.int64), []
    for base in (16, 256, 16):
        part = (rest + base // 2) % base - base // 2
        parts.append(part)
        rest = (rest - part) // base
    low, high, first_low = parts
    return np.stack([np.stack([rest, first_low]), np.stack([high, low])]).astype(np.int8)
