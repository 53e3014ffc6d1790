"""How cost grows: prepare, run and table against scans, evaluation against what is asked.

Writes growth.json and draws growth.svg and growth.png. A row says with which power of its axis a cost grew
between the last two points (1 is linear), and how much memory grew from the fewest to the most scans. Exit
status 1 where something grows worse than linear, or memory is not flat.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

from growing import Series, by_question, by_scans
from matplotlib.figure import Figure
from measuring import Row, printed, row

from fewshot.base.atomic_io import write_json
from fewshot.base.malloc import keep_memory
from results.figures.board_figures import COLOURS, MARKERS, STROKES, save, style

HERE = Path(__file__).resolve().parent
SCANS = (5, 10, 20, 50, 100, 200, 500)
EXPONENT = 1.1  # linear, with what a machine's noise adds
FLAT = 1.25  # most memory at 500 scans to that at 5


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write and draw; return 0 if all is linear or better and memory flat."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="few scans, to try the program out")
    parser.add_argument("--folder", type=Path, default=HERE, help="of growth.json (default: this one)")
    parser.add_argument("--pictures", type=Path, default=HERE.parent / "docs", help="default: docs")
    args = parser.parse_args(argv)
    keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        scans = by_scans(Path(folder), SCANS[:2] if args.tiny else SCANS)
        question = by_question(Path(folder), 2 if args.tiny else 16)
    rows = [*growth_rows(scans, "scans"), *growth_rows(question, "")]
    print(printed(rows))
    write_json(args.folder / "growth.json", {"scans": scans, "evaluation": question, "rows": rows})
    draw(scans, question, args.pictures / "growth")
    return 0 if all(one["ok"] for one in rows) else 1


def growth_rows(series: dict[str, Series], against: str) -> list[Row]:
    """Return a row per series: the exponent between its last two points, and how memory grew in all."""
    rows = []
    for name, points in series.items():
        what = f"time of {name} against {against}" if against else f"time of evaluation against {name}"
        rows.append(row(f"{what} (exponent)", exponent(points), EXPONENT))
        if "memory_mb" in points[0]:
            grew = points[-1]["memory_mb"] / points[0]["memory_mb"]
            rows.append(row(f"memory of {name}, most scans to fewest (ratio)", grew, FLAT))
    return rows


def exponent(points: Series) -> float:
    """Return p of seconds ~ x^p between the last two points: 1 is linear, below 1 is better."""
    last, before = points[-1], points[-2]
    return math.log(last["seconds"] / before["seconds"]) / math.log(last["x"] / before["x"])


def draw(scans: dict[str, Series], question: dict[str, Series], stem: Path) -> list[Path]:
    """Draw time and memory against scans, and evaluation against what is asked; return the files."""
    with style():
        figure = Figure(figsize=(10.4, 3.4), layout="constrained")
        time, memory, asked = figure.subplots(1, 3)
        _lines(time, scans, "seconds")
        top = max(scans, key=lambda name: scans[name][-1]["seconds"])
        _guide(time, scans[top])
        time.set(
            title="Commands", xlabel="scans of 64 x 64 x 8", ylabel="seconds", xscale="log", yscale="log"
        )
        _lines(memory, scans, "memory_mb")
        memory.set(title="Memory", xlabel="scans", ylabel="most memory of its own, MB", xscale="log")
        memory.set_ylim(bottom=0)
        _lines(asked, question, "seconds")
        _guide(asked, question["supports"])
        asked.set(title="Evaluation", xlabel="times as many", ylabel="seconds", xscale="log", yscale="log")
        for axes in (time, memory, asked):
            axes.grid(alpha=0.3)
            axes.legend(fontsize=8)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
        return save(figure, stem)


def _lines(axes: Any, series: dict[str, Series], key: str) -> None:
    for number, (name, points) in enumerate(series.items()):
        axes.plot(
            [one["x"] for one in points], [one[key] for one in points], label=name, color=COLOURS[number],
            marker=MARKERS[number], linestyle=STROKES[number], markersize=4, linewidth=1.3,
        )  # fmt: skip


def _guide(axes: Any, points: Series) -> None:
    """Draw a grey line of slope 1 that ends where the series ends."""
    first, last = points[0]["x"], points[-1]["x"]
    top = points[-1]["seconds"]
    axes.plot([first, last], [top * first / last, top], color="0.7", linewidth=4, zorder=0, label="linear")


if __name__ == "__main__":
    sys.exit(main())
