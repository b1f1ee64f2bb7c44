"""How the rungs of attention in Metal are launched: which threads there are, and what they are handed.

A rung's .metal file has one kernel, that of the split keys two. All take [B, H, L, D] and its kin in
row-major order, in float32, float16 or bfloat16, and compute in float32.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import mlx.core as mx

from course_lib.kernels.metal import Inspection, MetalKernel, load_metal
from course_lib.paths import EXTENSIONS

LANES = 32
SIMDGROUPS = 4  # of a threadgroup, in the rungs with tiles
QUERIES = {"tiles": 16, "matrices": 32}  # of a threadgroup, unless a call says otherwise
MOST_SPANS, LEAST_KEYS = 32, 32  # of the split keys: so many spans at most, and none shorter
FEATURES = {"one_thread": 1, "simd_group": LANES, "tiles": LANES, "matrices": 8, "split_keys": LANES}  # D's divisors
RUNGS = tuple(FEATURES)
DTYPES = (mx.float32, mx.float16, mx.bfloat16)


@dataclass(frozen=True)
class Problem:
    """One call's arrays and what they mean."""

    queries: mx.array  # [B, H, L, D]
    keys: mx.array  # [B, H_kv, S, D]
    values: mx.array  # [B, H_kv, S, D]
    scale: float
    causal: bool

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.queries.shape

    @property
    def inputs(self) -> list:
        _, H, L, _ = self.shape
        H_kv, S = self.keys.shape[1:3]
        return [self.queries, self.keys, self.values, L, S, H, H_kv, self.scale, int(self.causal)]

    @property
    def template(self) -> list[tuple]:
        return [("T", self.queries.dtype), ("D", self.shape[3])]


@dataclass(frozen=True)
class MetalAttention:
    """Attention by one .metal file, in the convention of `mx.fast.scaled_dot_product_attention`.

    On an Apple GPU it runs there, elsewhere in the emulator (course_lib/kernels/metal/README.md).

    Attributes:
        rung: "one_thread", "simd_group", "tiles", "matrices" or "split_keys": how it is launched.
        path: the .metal file; None for the reference's.
        queries: of a threadgroup, for "tiles" (a multiple of 4) and "matrices" (of 8); None for 16 and 32.
        device: "emulator" for the CPU on every machine; None to go by the stream.
    """

    rung: str
    path: Path | None = None
    queries: int | None = None
    device: str | None = None
    _kernels: tuple[MetalKernel, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        if self.rung not in FEATURES:
            raise ValueError(f"There is no rung {self.rung!r}; give one of {', '.join(RUNGS)}.")
        path = self.path or EXTENSIONS / "reference" / f"attention_{self.rung}.metal"
        names = ("attend_spans", "merge_spans") if self.rung == "split_keys" else (f"attention_{self.rung}",)
        # Loaded now: what happens to the file later does not matter.
        kernels = tuple(load_metal(path, name, device=self.device) for name in names)
        object.__setattr__(self, "_kernels", kernels)

    def __call__(
        self,
        queries: mx.array,
        keys: mx.array,
        values: mx.array,
        *,
        scale: float,
        mask: Literal["causal"] | None = None,
        **options,
    ) -> mx.array:
        """softmax(scale * queries keys^T) values.

        Args:
            queries: [B, H, L, D]; keys, values: [B, H_kv, S, D], all of one dtype: float32, float16 or bfloat16. What is
                not row-contiguous is copied.
            scale: of the scores.
            mask: "causal", aligned to the end (L <= S), or None.
            options: of a MetalKernel's call: check, strict, order, stream, ...

        Returns:
            [B, H, L, D], of the same dtype.

        Raises:
            ValueError: a shape, dtype or mask that the kernels do not take.
            MetalError: of the kernel.
        """
        problem = _problem(self.rung, queries, keys, values, scale, mask)
        outputs = []
        for kernel, launch in self._launches():
            outputs = kernel(**launch(problem, outputs), **options)
        return outputs[0]

    def inspect(self, queries, keys, values, *, scale, mask=None, **options) -> list[Inspection]:
        """What the emulator's sanitizer and profiler see, one Inspection a launch.

        Arguments as in a call; options of MetalKernel.inspect.
        """
        problem = _problem(self.rung, queries, keys, values, scale, mask)
        seen, outputs = [], []
        for kernel, launch in self._launches():
            seen.append(kernel.inspect(**launch(problem, outputs), **options))
            outputs = seen[-1].outputs
            if not outputs:  # it could not begin, so neither can the next
                break
        return seen

    def check_types(self, queries, keys, values, *, scale, mask=None) -> None:
        """Compile what a call would run, and reject what Metal's compiler would; nothing runs.

        Raises:
            MetalSyntaxError: it does not compile.
            MetalError: strict mode is not there.
        """
        problem = _problem(self.rung, queries, keys, values, scale, mask)
        B, H, L, D = problem.shape
        parts = mx.zeros((B, H, L, span_count(problem.keys.shape[2]), D + 2))
        for kernel, launch in self._launches():
            kernel.check_types(**launch(problem, [parts]))

    def _launches(self):
        """Each kernel with its launch: the problem, and the outputs of the launch before, to the kernel's call."""
        launches = (self._spans, self._merge) if self.rung == "split_keys" else (self._attention,)
        return zip(self._kernels, launches, strict=True)

    def _attention(self, problem: Problem, _: list) -> dict:
        B, H, L, _ = problem.shape
        template, queries = problem.template, self.queries or QUERIES.get(self.rung)
        if self.rung == "one_thread":
            grid, threadgroup = (L, H, B), (min(L, LANES), 1, 1)
        elif self.rung == "simd_group":
            grid, threadgroup = (LANES * L, H, B), (LANES, 1, 1)
        else:
            groups = SIMDGROUPS if self.rung == "tiles" else queries // 8
            blocks = -(-L // queries)
            grid, threadgroup = (blocks * groups * LANES, H, B), (groups * LANES, 1, 1)
            template = [*template, ("QUERIES", queries) if self.rung == "tiles" else ("SIMDGROUPS", groups)]
        return {
            "inputs": problem.inputs, "template": template, "grid": grid, "threadgroup": threadgroup,
            "output_shapes": [problem.shape], "output_dtypes": [problem.queries.dtype],
        }  # fmt: skip

    def _spans(self, problem: Problem, _: list) -> dict:
        B, H, L, D = problem.shape
        spans = span_count(problem.keys.shape[2])
        return {
            "inputs": [*problem.inputs, spans], "template": problem.template, "grid": (LANES * L * spans, H, B),
            "threadgroup": (LANES, 1, 1), "output_shapes": [(B, H, L, spans, D + 2)], "output_dtypes": [mx.float32],
        }  # fmt: skip

    def _merge(self, problem: Problem, parts: list[mx.array]) -> dict:
        B, H, L, _ = problem.shape
        return {
            "inputs": [parts[0], parts[0].shape[3]], "template": problem.template, "grid": (LANES * B * H * L, 1, 1),
            "threadgroup": (LANES, 1, 1), "output_shapes": [problem.shape], "output_dtypes": [problem.queries.dtype],
        }  # fmt: skip


def span_count(S: int) -> int:
    """Spans that `split_keys` cuts S keys into."""
    return max(1, min(MOST_SPANS, S // LEAST_KEYS))


def _problem(rung: str, q: mx.array, k: mx.array, v: mx.array, scale: float, mask) -> Problem:
    if {q.dtype, k.dtype, v.dtype} not in [{dtype} for dtype in DTYPES]:
        raise ValueError(
            f"queries, keys and values are {q.dtype}, {k.dtype} and {v.dtype}; give all in one of float32, float16, bfloat16."
        )
    fits = q.ndim == k.ndim == v.ndim == 4 and k.shape == v.shape and q.shape[0] == k.shape[0] and q.shape[3] == k.shape[3]
    if not fits:
        raise ValueError(
            f"queries {q.shape}, keys {k.shape} and values {v.shape} do not fit: give [B, H, L, D] and twice [B, H_kv, S, D]."
        )
    (_, H, L, D), (_, H_kv, S, _) = q.shape, k.shape
    if 0 in q.shape or 0 in k.shape or H % H_kv:
        raise ValueError(
            f"queries {q.shape}, keys {k.shape}: give at least one of each, and a multiple of {H_kv} key/value heads."
        )
    if D % FEATURES[rung]:
        raise ValueError(f"The head size is {D}; {rung} takes multiples of {FEATURES[rung]}.")
    if not (mask is None or isinstance(mask, str) and mask == "causal"):
        given = repr(mask) if isinstance(mask, str) else f"of type {type(mask).__name__}"
        raise ValueError(f"mask is {given}; these kernels take 'causal' or None.")
    if mask == "causal" and L > S:
        raise ValueError(f"A causal mask for {L} queries and {S} keys: give L <= S.")
    return Problem(q, k, v, float(scale), mask == "causal")
