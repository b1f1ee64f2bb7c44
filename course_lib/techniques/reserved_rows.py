"""Room for the keys and values of several sequences: what notebook 06 gives to the cache that a learner writes.

Growing in steps is notebook 01's subject (`techniques.kv_cache`); here the room has a row for each sequence.
"""

import mlx.core as mx


class ReservedRows:
    """Arrays with `max_rows` rows, that grow by `step` columns at a time.

    Attributes:
        lengths (list[int]): tokens held by each row in use; whoever writes the rows keeps it.
        keys, values: [max_rows, H_kv, columns, D], None until the first `make_room`.
    """

    def __init__(self, max_rows: int, step: int = 256) -> None:
        self.max_rows, self.step = max_rows, step
        self.lengths: list[int] = []
        self.keys: mx.array | None = None
        self.values: mx.array | None = None

    def make_room(self, keys: mx.array, values: mx.array, columns: int) -> None:
        """See that rows have room for so many columns of such keys and values; what is held stays."""
        self.keys, self.values = self._room(self.keys, keys, columns), self._room(self.values, values, columns)

    def _room(self, held: mx.array | None, new: mx.array, columns: int) -> mx.array:
        _, H_kv, _, D = new.shape
        missing = -(-columns // self.step) * self.step - (0 if held is None else held.shape[2])
        if missing <= 0:
            return held
        spare = mx.zeros((self.max_rows, H_kv, missing, D), new.dtype)
        return spare if held is None else mx.concatenate([held, spare], axis=2)

    @property
    def nbytes(self) -> int:
        """Bytes of the room, used or not."""
        return 0 if self.keys is None else self.keys.nbytes + self.values.nbytes

    @property
    def nbytes_used(self) -> int:
        """Bytes of the tokens that the rows hold."""
        if self.keys is None:
            return 0
        return self.nbytes // (self.max_rows * self.keys.shape[2]) * sum(self.lengths)
