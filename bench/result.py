"""One comparison, and how it is shown and stored."""

from dataclasses import dataclass, field
from typing import Any

from course_lib.lab.timing import Comparison
from course_lib.lab.units import number_text, seconds_text


@dataclass(frozen=True)
class Result:
    """Contenders that did the same work, in turns.

    Attributes:
        suite: what was measured: "model", "quantized_matmul", ...
        case: with what: "prefill 37", "M=8 N=576 K=1536", ...
        peer: the contender that the others are compared with.
        comparison: seconds by contender and round.
        work: how much of `unit` one call does.
        unit: what a rate counts: "tok", "GFLOP", "GB".
        goals: contender -> the ratio to the peer that it is to reach.
    """

    suite: str
    case: str
    peer: str
    comparison: Comparison
    work: float
    unit: str
    goals: dict[str, float] = field(default_factory=dict)

    def times_faster(self, name: str) -> float:
        """Median over the rounds of peer's time / contender's."""
        return self.comparison.ratio(self.peer, name)

    def rows(self) -> list[tuple[str, ...]]:
        rows = []
        for name, median in self.comparison.median.items():
            low, high = self.comparison.spread[name]
            goal = f"{self.goals[name]:g}" if name in self.goals else ""
            rows.append((
                f"{self.suite}, {self.case}", name, seconds_text(median),
                f"{seconds_text(low)} to {seconds_text(high)}",
                f"{number_text(self.work / median)} {self.unit}/s",
                "1 (peer)" if name == self.peer else number_text(self.times_faster(name)), goal,
            ))  # fmt: skip
        return rows

    def as_json(self) -> dict[str, Any]:
        contenders = {}
        for name, samples in self.comparison.samples.items():
            contenders[name] = {
                "seconds": samples.tolist(),
                "median": self.comparison.median[name],
                "quartiles": list(self.comparison.spread[name]),
                "rate": self.work / self.comparison.median[name],
                "times_peer": self.times_faster(name),
                "goal": self.goals.get(name),
            }
        return {
            "suite": self.suite, "case": self.case, "peer": self.peer, "unit": f"{self.unit}/s",
            "contenders": contenders,
        }  # fmt: skip


HEAD = ("", "", "median", "half of the rounds", "rate", "times as fast", "goal")


def table(results: list[Result]) -> str:
    """All results as text, aligned. What is the same as above is left out."""
    rows, before = [HEAD], ""
    for result in results:
        for row in result.rows():
            rows.append(("" if row[0] == before else row[0], *row[1:]))
            before = row[0]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = []
    for row in rows:
        cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
