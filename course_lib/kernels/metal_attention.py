"""How the rungs of attention in Metal are launched: which threads there are, and what they are handed.

A rung's .metal file has one kernel `attention`, or the two of the split keys. All take [B, H, L, D] and its kin in
row-major order, in float32, float16 or bfloat16, and compute in float32.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import mlx.core as mx

from course_lib.kernels.metal import Inspection, load_metal
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
    device: str | None = field(default=None, repr=False)

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
            options: of a MetalKernel's call: check, strict, order, ...

        Returns:
            [B, H, L, D], of the same dtype.

        Raises:
            ValueError: a shape, dtype or mask that the kernels do not take.
            MetalError: of the kernel.
        """
        return self._launched(self._problem(queries, keys, values, scale, mask), "__call__", options)[0]

    def inspect(self, queries, keys, values, *, scale, mask=None, **options) -> list[Inspection]:
        """What the emulator's sanitizer and profiler see, one Inspection a launch; arguments as in a call."""
        seen = []
        self._launched(self._problem(queries, keys, values, scale, mask), "inspect", options, seen)
        return seen

    def _launched(self, problem: Problem, method: str, options: dict, seen: list | None = None) -> list[mx.array]:
        outputs = []
        for kernel, call in self._launches(problem):
            arrays = call(outputs)
            ran = getattr(self._kernel(kernel), method)(**arrays, **options)
            outputs = ran.outputs if method == "inspect" else ran
            if seen is not None:
                seen.append(ran)
                if not outputs:  # it could not begin, so neither can the next
                    break
        return outputs

    def _kernel(self, name: str):
        path = self.path or EXTENSIONS / "reference" / f"attention_{self.rung}.metal"
        return load_metal(path, name, device=self.device)

    def _launches(self, problem: Problem):
        """(kernel's name, its call given the outputs of the launch before)."""
        if self.rung == "split_keys":
            return [("attend_spans", lambda _: self._spans(problem)), ("merge_spans", lambda parts: self._merge(problem, parts))]
        return [("attention", lambda _: self._attention(problem))]

    def _attention(self, problem: Problem) -> dict:
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

    def _spans(self, problem: Problem) -> dict:
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

    def _problem(self, q: mx.array, k: mx.array, v: mx.array, scale: float, mask) -> Problem:
        dtypes = {a.dtype for a in (q, k, v)}
        if len(dtypes) != 1 or q.dtype not in DTYPES:
            raise ValueError(f"queries, keys and values are {q.dtype}, {k.dtype} and {v.dtype}; give all in one of float32, float16, bfloat16.")
        if not q.ndim == k.ndim == v.ndim == 4 or k.shape != v.shape or q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3]:
            raise ValueError(f"queries {q.shape}, keys {k.shape}, values {v.shape} do not fit: give [B, H, L, D] and twice [B, H_kv, S, D].")
        (_, H, L, D), (_, H_kv, S, _) = q.shape, k.shape
        if 0 in q.shape or 0 in k.shape or H % H_kv:
            raise ValueError(f"{H} query heads of {L} queries, {H_kv} key/value heads of {S} keys: give at least one of each, and a multiple of H_kv heads.")
        if D % FEATURES[self.rung]:
            raise ValueError(f"The head size is {D}; {self.rung} takes multiples of {FEATURES[self.rung]}.")
        if mask not in (None, "causal") if isinstance(mask, str | None) else True:
            raise ValueError(f"mask is {mask if isinstance(mask, str) else type(mask).__name__!r}; these kernels take 'causal' or None.")
        if mask == "causal" and L > S:
            raise ValueError(f"A causal mask for {L} queries and {S} keys: give L <= S.")
        return Problem(q, k, v, float(scale), mask == "causal")


def span_count(S: int) -> int:
    """Spans that `split_keys` cuts S keys into."""
    return max(1, min(MOST_SPANS, S // LEAST_KEYS))
