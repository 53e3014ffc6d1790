"""How cost grows: prepare, run and table against scans, evaluation against its questions.

Writes growth.json and draws growth.svg and growth.png. A row says with which power of its axis a cost grew
between the last two points (1 is linear), and how much memory grew from the fewest to the most scans. Exit
status 1 where something grows worse than linear, or memory is not flat.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from made import spec_like, written_store
from matplotlib.figure import Figure
from measuring import TINY, Row, best, printed, row
from memory_cost import held

from episodes.io.nifti import write_nifti
from episodes.phantoms.generate import phantom_scan, phantom_spec
from episodes.plan.plan import EvaluationPlan, make_plan
from episodes.store.slices import SliceReader, normalisation
from episodes.store.store import Store
from fewshot.base.malloc import keep_memory
from fewshot.files.atomic_io import write_json
from protocols.cells.evaluate import evaluate
from protocols.rules.spec import load_protocol
from protocols.training.method_config import build_method_config
from protocols.training.models import build_learner
from results.figures.board_figures import COLOURS, MARKERS, STROKES, save, style

SIDE, SLICES = 64, 8
SPACING, ORIGIN = (8.0, 5.0, 5.0), (0.0, 0.0, 0.0)
DIRECTION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
FACTS = """modality = "mr"
image_size = 64
patient_threshold = 50
superpixel_min_size = 25
folds = 5

[classes]
liver = 1
right-kidney = 2
left-kidney = 3
spleen = 4

[groups]
all = ["liver", "right-kidney", "left-kidney", "spleen"]
"""
PROTOCOLS = ("alpnet-ep1", "adnet-ep1", "adnet-ep2", "catnet-ep1", "qnet-ep1")
ROUNDS = 3
BODIES = 20  # phantoms that are painted; the others are these under other noise
Point = dict[str, float]  # "x", "seconds" and, where measured, "memory_mb"
Series = list[Point]
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
    """Draw time and memory against scans, and evaluation against its questions; return the files."""
    with style():
        figure = Figure(figsize=(10.4, 3.4), layout="constrained")
        time, memory, evaluation = figure.subplots(1, 3)
        _lines(time, scans, "seconds")
        top = max(scans, key=lambda name: scans[name][-1]["seconds"])
        _guide(time, scans[top])
        time.set(
            title="Commands", xlabel="scans of 64 x 64 x 8", ylabel="seconds", xscale="log", yscale="log"
        )
        _lines(memory, scans, "memory_mb")
        memory.set(title="Memory", xlabel="scans", ylabel="most memory of its own, MB", xscale="log")
        memory.set_ylim(bottom=0)
        _lines(evaluation, question, "seconds")
        _guide(evaluation, question["supports"])
        evaluation.set(
            title="Evaluation", xlabel="times as many", ylabel="seconds", xscale="log", yscale="log"
        )
        for axes in (time, memory, evaluation):
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


def phantom_folders(folder: Path, counts: Sequence[int]) -> dict[int, Path]:
    """Write the most phantoms needed once, and a folder with links to the first n for every n."""
    spec = phantom_spec("phantom-mri", SIDE)
    bodies = [phantom_scan(spec, str(number), SLICES) for number in range(min(BODIES, max(counts)))]
    every = folder / "every"
    every.mkdir(parents=True)
    for number in range(1, max(counts) + 1):
        body, labels = bodies[number % len(bodies)]
        noise = np.random.Generator(np.random.PCG64(number)).integers(0, 9, body.shape)
        image = (body + noise).astype(body.dtype)  # no two scans may hold the same image
        write_nifti(every / f"image_{number}.nii.gz", image, SPACING, ORIGIN, DIRECTION)
        write_nifti(every / f"label_{number}.nii.gz", labels, SPACING, ORIGIN, DIRECTION)
    folders = {count: folder / f"of-{count}" for count in counts}
    for count, one in folders.items():
        one.mkdir()
        for number in range(1, count + 1):
            for name in (f"image_{number}.nii.gz", f"label_{number}.nii.gz"):
                (one / name).hardlink_to(every / name)
    return folders


def command(*arguments: str) -> Point:
    """Run `fewshot` and return its seconds and the most memory of its own it held, in MB.

    Pages of mapped files are not its own: the system takes them back when it needs them.
    """
    with Path("/dev/null").open("w") as nowhere:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "fewshot", *arguments], stdout=nowhere, stderr=subprocess.PIPE, text=True
        )
        memory = 0.0
        while process.poll() is None:
            with contextlib.suppress(StopIteration, OSError):  # it has just ended, or not yet begun
                memory = max(memory, held("RssAnon", str(process.pid)))
            time.sleep(0.01)
        seconds = time.perf_counter() - started
    _out, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"fewshot {' '.join(arguments)} failed:\n{errors}")
    return {"seconds": seconds, "memory_mb": memory}


def by_scans(folder: Path, counts: Sequence[int]) -> dict[str, Series]:
    """Return time and memory of `prepare`, `run` (copy-support) and `table` against the number of scans."""
    found: dict[str, Series] = {"prepare": [], "run": [], "table": []}
    facts = folder / "facts.toml"
    facts.write_text(FACTS)
    for count, scans in phantom_folders(folder / "scans", counts).items():
        work = folder / f"work-{count}"
        where = ("--work", str(work))
        options = ("--dataset", "grown", "--method", "copy-support")
        steps = {
            "prepare": ("prepare", "grown", str(scans), "--spec", str(facts), *where),
            "run": ("run", *options, *where),
            "table": ("table", *where),
        }
        for name, typed in steps.items():
            found[name].append({"x": count, **command(*typed)})
    return found


def by_question(folder: Path, most: int) -> dict[str, Series]:
    """Return evaluation's time against slices of the query, classes, supports, and protocols of one model.

    ResNet-18 at 64 x 64; slices and supports go up to `most` times their least, the rest staying as it is.
    """
    steps = [2**power for power in range(most.bit_length())]
    return {
        "slices": [_point(n, *_whole_scans(folder / f"slices-{n}", 8 * n, 3)) for n in steps],
        "classes": [
            _point(n, store, _plans(store, "open-ep", classes=n))
            for store in [_whole_scans(folder / "classes", 16, 3)[0]]
            for n in range(1, 5)
        ],
        "supports": [_point(2 * n, *_whole_scans(folder / f"supports-{n}", 16, 1 + 2 * n)) for n in steps],
        "protocols": [
            _point(n, store, [plan for name in PROTOCOLS[:n] for plan in _plans(store, name)])
            for store in [_whole_scans(folder / "protocols", 16, 10, queries=4)[0]]
            for n in range(1, 1 + len(PROTOCOLS))
        ],
    }


def _whole_scans(path: Path, depth: int, scans: int, queries: int = 1) -> tuple[Store, list[EvaluationPlan]]:
    """Return a store of query scans and their supports, and its plan under open-ep: all slices count."""
    shapes = [(depth, [range(1, depth - 1)] * 4)] * scans
    store = written_store(path, spec_like("chaost2", (0, queries, scans), TINY), shapes, felzenszwalb=False)
    return store, _plans(store, "open-ep")


def _plans(store: Store, protocol: str, classes: int = 4) -> list[EvaluationPlan]:
    rules = load_protocol(protocol).evaluation
    tested = store.spec.tested[:classes]
    return [make_plan(store.index, store.spec, store.hash, rules, 1, 0, "all", tested).evaluation]


def _point(x: int, store: Store, plans: list[EvaluationPlan]) -> Point:
    method = build_method_config("ssl-alpnet", {}, encoder="resnet18", weights="random", steps=0)
    learner = build_learner(method).eval()
    reader = SliceReader(store, normalisation(store, "per-scan", store.index.scans))
    calls = {"evaluate": lambda: evaluate(learner, plans, reader, device=torch.device("cpu"), batch=2)}
    return {"x": x, "seconds": best(calls, ROUNDS)["evaluate"]}


if __name__ == "__main__":
    sys.exit(main())
