"""A KV cache for sequences of different lengths that come and go.

Row r of the buffers belongs to one sequence, whose tokens lie at places 0, 1, 2, ... of it: no
padding on the left, and each row has its own length. A step appends one token to each row, each at its own
place; attention reads the rows up to the longest and masks what lies beyond the end of the shorter ones.

Rows in use are always the first ones, without gaps, so that a step reads them as one slice. A sequence
that joins takes the next row; when one leaves, the last row moves into its place. Neither touches any
other row.

(mlx-lm's BatchKVCache pads on the left instead, and gathers all rows when one leaves:
https://github.com/ml-explore/mlx-lm/blob/main/mlx_lm/models/cache.py. vLLM's input batch closes its
gaps in the same way as here, in `condense`: https://github.com/vllm-project/vllm/blob/main/vllm/v1/worker/gpu_input_batch.py)
"""

import mlx.core as mx

from course_lib.techniques.kv_cache import check_update


class BatchedKVCache:
    """One layer's keys and values of up to `max_rows` sequences.

    It serves as a model's cache, where every row gets L new tokens: `offset`, `make_mask`,
    `update_and_fetch`. `append` and `fetch` do the same for some neighbouring rows.

    Attributes:
        max_rows (int): sequences it has room for.
        step (int): the room of all rows is a multiple of so many tokens; it at least doubles when it grows.
        lengths (list[int]): tokens held, one number a row in use.
    """

    def __init__(self, max_rows: int, step: int = 256) -> None:
        if max_rows < 1 or step < 1:
            raise ValueError(f"max_rows is {max_rows} and step {step}; both must be at least 1")
        self.max_rows = max_rows
        self.step = step
        self.lengths: list[int] = []
        self._keys: mx.array | None = None  # [max_rows, H_kv, capacity, D]
        self._values: mx.array | None = None

    @property
    def capacity(self) -> int:
        """Tokens that each row has room for."""
        return 0 if self._keys is None else self._keys.shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes reserved, used or not."""
        return 0 if self._keys is None else self._keys.nbytes + self._values.nbytes

    @property
    def nbytes_used(self) -> int:
        """Bytes of the keys and values that the rows hold."""
        if self._keys is None:
            return 0
        return self.nbytes // (self.max_rows * self.capacity) * sum(self.lengths)

    def add(self) -> int:
        """A new, empty row behind the others. Returns its index.

        Raises:
            ValueError: all rows are in use.
        """
        if len(self.lengths) == self.max_rows:
            raise ValueError(f"all {self.max_rows} rows are in use; remove one first")
        self.lengths.append(0)
        return len(self.lengths) - 1

    def remove(self, row: int) -> int:
        """Forget a row. The last row takes its index.

        With the last sequence the buffers go, too.

        Returns:
            The index that the moved row had, which is `row` itself where the last row was removed.

        Raises:
            ValueError: no such row.
        """
        last = len(self.lengths) - 1
        if not 0 <= row <= last:
            raise ValueError(f"there is no row {row}; rows 0 to {last} are in use")
        length = self.lengths.pop()
        if row != last:
            self.lengths[row] = length
            if self._keys is not None:
                # The row is copied out first, and at once. MLX writes in place only while nobody else refers to
                # the buffer; a view of it, or a copy still to be made, would have all rows copied.
                moved = [mx.take(held, mx.array([last]), axis=0) for held in (self._keys, self._values)]
                mx.eval(moved)
                self._keys[row : row + 1], self._values[row : row + 1] = moved
        if not self.lengths:
            self._keys = self._values = None
        return last

    def append(self, first: int, keys: mx.array, values: mx.array) -> None:
        """Append L tokens to each of R neighbouring rows, to each at its own end.

        Args:
            first: the first of the rows.
            keys: [R, H_kv, L, D], with RoPE applied at each row's own positions.
            values: [R, H_kv, L, D_v].

        Raises:
            ValueError: rows that are not in use, or shapes or dtypes that do not fit.
        """
        check_update(keys, values)  # before its shape is unpacked
        R, _, L, _ = keys.shape
        if not 0 <= first < first + R <= len(self.lengths):
            raise ValueError(
                f"keys for rows {first} to {first + R - 1}; rows 0 to {len(self.lengths) - 1} are in use"
            )
        lengths = self.lengths[first : first + R]
        self._make_room(keys, values, max(lengths) + L)
        if R == 1:
            place = (slice(first, first + 1), slice(None), slice(lengths[0], lengths[0] + L))
        else:
            rows = mx.arange(first, first + R)[:, None, None]
            heads = mx.arange(keys.shape[1])[None, :, None]
            place = (rows, heads, mx.array(lengths)[:, None, None] + mx.arange(L))
        self._keys[place] = keys
        self._values[place] = values
        self.lengths[first : first + R] = [length + L for length in lengths]

    def fetch(self, first: int, rows: int) -> tuple[mx.array, mx.array]:
        """What `rows` neighbouring rows hold, up to the longest of them.

        Returns:
            keys [rows, H_kv, S, D] and values [rows, H_kv, S, D_v]. Behind a shorter row's end lies
            whatever was there before: mask it.
        """
        S = max(self.lengths[first : first + rows])
        return self._keys[first : first + rows, :, :S], self._values[first : first + rows, :, :S]

    @property
    def offset(self) -> mx.array:
        """The position of each row's next token, [B]."""
        return mx.array(self.lengths)

    def make_mask(self, L: int) -> mx.array | None:
        """Which keys the next L tokens of each row may attend to; to be called before they are appended.

        Returns:
            Booleans [B, 1, L, S], or None where all may see all.
        """
        return length_mask(self.lengths, L)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Append L tokens to every row and return what all rows hold: `append`, then `fetch`."""
        self.append(0, keys, values)
        return self.fetch(0, len(self.lengths))

    def _make_room(self, keys: mx.array, values: mx.array, tokens: int) -> None:
        if self._keys is not None:
            R = keys.shape[0]
            check_update(keys, values, self._keys[:R], self._values[:R])
        if tokens <= self.capacity:
            return
        # Growing copies all rows. Twice the room each time: however long they get, less than as much again.
        missing = max(-(-tokens // self.step) * self.step, 2 * self.capacity) - self.capacity

        def grown(held: mx.array | None, new: mx.array) -> mx.array:
            spare = mx.zeros((self.max_rows, new.shape[1], missing, new.shape[3]), new.dtype)
            return spare if held is None else mx.concatenate([held, spare], axis=2)

        self._keys, self._values = grown(self._keys, keys), grown(self._values, values)


def length_mask(lengths: list[int], L: int = 1) -> mx.array | None:
    """The mask of L new tokens in each row of a batch whose rows have their own lengths.

    Args:
        lengths: tokens that each row holds before the new ones.
        L: new tokens a row.

    Returns:
        Booleans [B, 1, L, S] with S = max(lengths) + L, True where the query may attend: query i of row b
        stands at position lengths[b] + i and sees keys 0 to there. None where nothing is hidden.
    """
    if L == 1 and min(lengths) == max(lengths):
        return None
    positions = mx.array(lengths)[:, None] + mx.arange(L)  # [B, L]
    keys = mx.arange(max(lengths) + L)
    return (keys <= positions[:, :, None])[:, None]
