"""What a case holds in its hands: make inputs, compare results, watch for changed inputs.

A case is a function `case(answer, t)`. It makes its inputs with `t`, calls the answer, and compares with
`t.close` or `t.equal` against an oracle. Every comparison may name known mistakes and the value that each
would give: when the learner's value equals one of them, the panel shows the hint for that mistake.
"""

from collections.abc import Callable, Mapping

import mlx.core as mx
import numpy as np

from .mismatch import Mismatch, array_difference, as_numpy, default_tolerance, same_value, value_difference


class Trial:
    """One run of one case.

    Attributes:
        rng: a seeded NumPy generator, the same at every run of the check.
    """

    def __init__(self, seed: int = 0):
        self.rng = np.random.default_rng(seed)
        self._inputs: dict[str, tuple[mx.array, np.ndarray]] = {}

    # -- inputs ------------------------------------------------------------------------------------------

    def normal(self, name: str, *shape: int, scale: float = 1.0, dtype=mx.float32) -> mx.array:
        """A random input array of `shape`, watched under `name`."""
        values = (self.rng.standard_normal(shape) * scale).astype(np.float32)
        return self.watch(name, mx.array(values).astype(dtype))

    def tokens(self, name: str, *shape: int, vocab_size: int) -> mx.array:
        """Random token ids in [0, vocab_size), watched under `name`."""
        return self.watch(name, mx.array(self.rng.integers(0, vocab_size, shape).astype(np.int32)))

    def watch(self, name: str, array: mx.array) -> mx.array:
        """Remember what is in `array`: changing it in place (`scores += mask`) fails the case.

        An MLX array is updated in place by `+=` and by `x[i] = ...`, so that a caller's array changes
        under its hands. This is a mistake in every exercise that does not ask for it.
        """
        self._inputs[name] = (array, as_numpy(array))
        return array

    def check_inputs(self) -> None:
        """Raise if a watched input has changed."""
        for name, (array, before) in self._inputs.items():
            if not np.array_equal(as_numpy(array), before, equal_nan=before.dtype.kind == "f"):
                raise Mismatch(
                    f"Your code changed its input `{name}` in place: the caller's array is now different.",
                    "changed_input",
                )

    # -- comparisons -------------------------------------------------------------------------------------

    def close(
        self,
        what: str,
        given,
        wanted: mx.array,
        *,
        mistakes: Mapping[str, object] | None = None,
        atol: float | None = None,
        rtol: float | None = None,
    ) -> None:
        """Want an array equal to the oracle's, within a tolerance that follows from its dtype.

        Args:
            what: the expression, as the learner would write it.
            given: what the answer returned.
            wanted: the oracle's array; its shape and dtype are wanted too.
            mistakes: name of a known mistake -> the array it would give, or a predicate on `given`.
            atol, rtol: override the tolerance.
        """
        default_atol, default_rtol = default_tolerance(wanted.dtype)
        atol = default_atol if atol is None else atol
        rtol = default_rtol if rtol is None else rtol
        message = array_difference(what, given, wanted, atol, rtol)
        # A learner who changed an input in place has often ruined the oracle's input too: say this first.
        self.check_inputs()
        if message is None:
            return
        for name, other in (mistakes or {}).items():
            if other(given) if callable(other) else same_value(given, other, atol, rtol):
                raise Mismatch(message, name)
        raise Mismatch(message)

    def equal(self, what: str, given, wanted, *, mistakes: Mapping[str, object] | None = None) -> None:
        """Want a plain value: a number, a string, a list. `mistakes` as in `close`."""
        message = value_difference(what, given, wanted)
        self.check_inputs()
        if message is None:
            return
        for name, other in (mistakes or {}).items():
            if other(given) if callable(other) else value_difference(what, given, other) is None:
                raise Mismatch(message, name)
        raise Mismatch(message)

    def true(self, condition, message: str, mistake: str | None = None) -> None:
        """Want a condition; `message` says what was given and what was wanted."""
        self.check_inputs()
        if not condition:
            raise Mismatch(message, mistake)

    def raises(
        self, error: type[Exception], call: Callable, what: str, *, mistake: str | None = None
    ) -> None:
        """Want `call()` to raise `error` with a message."""
        try:
            value = call()
        except NotImplementedError:
            raise
        except error as raised:
            if not str(raised).strip():
                raise Mismatch(
                    f"{what} raises {error.__name__} without a message: say what was given and what was wanted."
                ) from None
        except Exception as raised:
            raise Mismatch(
                f"{what} raises {type(raised).__name__}: {raised}\nWanted: {error.__name__}.", mistake
            ) from raised
        else:
            raise Mismatch(
                f"{what} should raise {error.__name__}, but gives {value!r:.80}.", mistake
            )
