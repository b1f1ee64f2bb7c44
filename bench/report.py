"""python -m bench.report: the runs kept in bench/results become RESULTS.md and the scoreboard of the README.

A run is kept by writing it there: `python -m bench cpu --json bench/results/cpu.json`. Nothing here measures, and no
two runs are mixed: each panel of the scoreboard shows the contenders of one run.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.result import HEAD, Result
from course_lib.lab.style import BLUE, GREY, new_figure
from course_lib.lab.timing import Comparison
from course_lib.lab.units import number_text

HERE = Path(__file__).parent
RUNS, TABLES, FIGURE = HERE / "results", HERE / "RESULTS.md", HERE / "scoreboard.svg"

PREFACE = """# What was measured

Written by `python -m bench.report` from the runs in `bench/results`. To measure another machine: `make bench`, and
`python -m bench --help` for the rest.

Contenders take turns in every round, after a warm-up. Shown are medians, between which values half of the rounds lie, and
how many times as fast as the peer a contender is: the median of the ratios within rounds. "Goal" is the ratio that the
course set itself.
"""


@dataclass(frozen=True)
class Panel:
    """One question of the scoreboard.

    Attributes:
        suite: whose run answers it; case likewise.
        title: what a reader is told.
        names: contender -> what a reader calls it, in the order shown.
    """

    suite: str
    case: str
    title: str
    names: dict[str, str]


OURS = "this course"
PANELS = (
    Panel("model", "decode after 37", "One stream\ngenerated tokens/s", {"native parts": OURS, "stock mlx-lm": "mlx-lm"}),
    Panel("cpu", "decode after 37", "One stream\ngenerated tokens/s", {"f32 activations": OURS, "llama.cpp": "llama.cpp"}),
    Panel("cpu", "first token after 128", "A prompt of 128\ntokens read/s", {"f32 activations": OURS, "llama.cpp": "llama.cpp"}),
    Panel("server", "16 clients, 16 tokens in, 16 out", "16 clients over HTTP\ngenerated tokens/s",
          {"course serve": OURS, "llama.cpp's server": "llama.cpp", "mlx_lm.server": "mlx-lm"}),
)  # fmt: skip


def kept() -> dict[str, dict]:
    """Name of a run -> what it wrote, in the order of the names."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RUNS.glob("*.json"))}


def results_of(run: dict) -> list[Result]:
    return [_result(raw) for raw in run["results"]]


def _result(raw: dict) -> Result:
    contenders = raw["contenders"]
    samples = {name: np.array(c["seconds"]) for name, c in contenders.items()}
    peer = contenders[raw["peer"]]
    goals = {name: c["goal"] for name, c in contenders.items() if c["goal"] is not None}
    work = peer["rate"] * peer["median"]
    return Result(raw["suite"], raw["case"], raw["peer"], Comparison(samples), work, raw["unit"].removesuffix("/s"), goals)


def tables(runs: dict[str, dict]) -> str:
    """All runs as Markdown."""
    parts = [PREFACE]
    for name, run in runs.items():
        versions = ", ".join(f"{package} {number}" for package, number in run["versions"].items())
        parts.append(f"## {name}\n\n{run['machine']}; {run['threads']} threads; {versions}; {run['time'].split()[0]}.\n")
        parts.append(_table(results_of(run)))
    return "\n".join(parts)


def _table(results: Iterable[Result]) -> str:
    lines = [_row(HEAD), "|---|---|" + "---:|" * (len(HEAD) - 2)]
    for result in results:
        before = ""
        for row in result.rows():
            lines.append(_row(("" if row[0] == before else row[0].partition(", ")[2], *row[1:])))
            before = row[0]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def scoreboard(runs: dict[str, dict]):
    """The figure: what a second brings, ours and the others'."""
    found = [(panel, result) for panel in PANELS for run in runs.values() for result in results_of(run)
             if (result.suite, result.case) == (panel.suite, panel.case)]  # fmt: skip
    figure, axes = new_figure(2.2, 12.5, columns=len(found), squeeze=False)
    for ax, (panel, result) in zip(axes[0], found, strict=True):
        names = [name for name in panel.names if name in result.comparison.median]
        rates = [result.work / result.comparison.median[name] for name in names]
        shown = [panel.names[name] for name in names]
        ax.barh(shown[::-1], rates[::-1], color=[BLUE if s == OURS else GREY for s in shown[::-1]], height=0.62)
        for k, rate in enumerate(rates[::-1]):
            ax.text(rate, k, f" {number_text(rate)}", va="center", ha="left", fontweight="bold" if shown[::-1][k] == OURS else None)
        ax.set_title(panel.title, fontsize=12)
        ax.set_xlim(0, max(rates) * 1.3)
        ax.set_xticks([])
        ax.spines["bottom"].set_visible(False)
        ax.spines["left"].set_visible(False)
        ax.tick_params(left=False)
        ax.set_ylim(-0.6, 2.6)
    return figure


def main() -> None:
    runs = kept()
    TABLES.write_text(tables(runs))
    # The same runs give the same file.
    scoreboard(runs).savefig(FIGURE, metadata={"Date": None})
    print(f"{', '.join(runs)}: written to {TABLES} and {FIGURE}")


if __name__ == "__main__":
    main()
