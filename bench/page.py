"""Writes docs/performance.md from the results beside this file: no number on that page is typed."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

from measuring import Row

from fewshot.files.atomic_io import atomic_write

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"
TEXT = """# What it costs

Written by `python bench/page.py` from the results in `bench/`; each section names the command that measured
it. The unit U is one float32 forward of the ResNet-101 encoder (stride 8) on one 256 x 256 slice, batch 1, on
the same machine and in the same process; every figure is the best of five alternating runs. The released
SSL-ALPNet program was measured to cost 8.8 U per query slice when both groups are tested, 6.9 U a training
step and 0.066 U an augmented view.

What makes the difference: each distinct slice is encoded once for all classes, parts, supports, groups and
protocols; channels-last memory; freed memory is used again (`fewshot/base/malloc.py`); a random view blurs
its field by shifted sums; momentum, decay and weights move in one pass. Where memory does not hold a batch of
slices, the evaluation halves the batch, logs it and continues. A training step is the encoder's
forward and backward pass of two slices and little more (the ratio below), so a step over its target is an
encoder that takes so many U on that machine. In bf16 (`--precision`, `--eval-precision`) the encoder is
faster where the processor knows the type; records and tables say so.
"""


NO_GPU = """Not measured yet: no machine with a GPU has run it, so the aims of 100 steps and 1,500 slices a
second are open. The program supports bf16 autocast in training and evaluation (`--precision`,
`--eval-precision`), channels-last memory, pseudo-labels and views drawn on the device, no wait inside a step,
the step compiled and replayed as CUDA graphs (`--compile`), and a process per GPU. Tests on the CPU compare
drawn episodes, compiled steps and masks in bf16 with the plain way. torch's `meta` device shows that a step
mixes no devices and reads no value. No test here reaches CUDA graphs and the kernels themselves."""


def main(folder: Path = HERE, page: Path = PAGE) -> int:
    """Write the page; return 0."""
    parts = [
        TEXT,
        *_demo(folder),
        *_folds(folder),
        *_machines(folder),
        _growth(folder),
        _precision(folder),
        _gpu(folder),
        *_queue(folder),
    ]
    with atomic_write(page) as stream:
        stream.write("\n".join(part.rstrip("\n") + "\n" for part in parts))
    return 0


def _machines(folder: Path) -> list[str]:
    """Return a section for every machine that `make bench` was run on."""
    parts = []
    for path in sorted(folder.glob("*.json")):
        if path.stem not in ("growth", "precision") and not path.name.startswith("gpu-"):
            where = path.with_suffix(".txt")
            parts.append(f"## {path.stem}: `make bench`\n{_table(json.loads(path.read_text()))}")
            if where.exists():
                parts.append(f"Where the time goes:\n```\n{where.read_text().rstrip()}\n```")
    return parts


def _measured_in_demo(folder: Path, name: str, title: str, text: str) -> list[str]:
    """Return the section of a result in bench/demo, if it was measured."""
    path = folder / "demo" / f"{name}.json"
    return [f"{title}\n{text}\n\n{_table(json.loads(path.read_text()))}"] if path.exists() else []


def _demo(folder: Path) -> list[str]:
    title = "## The demo: `python bench/demo/demo_cost.py`"
    text = "Processor time of one thread, from the command to its end, phantoms included."
    return _measured_in_demo(folder, "demo", title, text)


def _folds(folder: Path) -> list[str]:
    title = "## A fold of the supervised systems: `python bench/demo/fold_cost.py`"
    text = "Phantoms, the commands of docs/supervised.md, docs/mptpn.md and docs/immseg.md for one fold."
    return _measured_in_demo(folder, "folds", title, text)


def _growth(folder: Path) -> str:
    path = folder / "growth.json"
    if not path.exists():
        return "## Growth: `python bench/growth.py`\nNot measured yet."
    rows = _table(json.loads(path.read_text())["rows"])
    return f"""## Growth: `python bench/growth.py`
Phantoms of 64 x 64 from the fewest to the most scans in the figure. An exponent of 1 is linear, below 1 is
better; it is taken between the last two points. Memory is the most of its own that the command's
process held, without pages of mapped files.

![time and memory against scans, evaluation against slices, classes, supports and protocols](growth.svg)

{rows}"""


def _precision(folder: Path) -> str:
    title = "## bf16 beside float32: `python bench/precision.py`"
    path = folder / "precision.json"
    if not path.exists():
        return f"{title}\nNot measured yet."
    rows = _table(json.loads(path.read_text()))
    return f"{title}\nThe same trainings in both precisions, under several seeds each.\n\n{rows}"


def _gpu(folder: Path) -> str:
    title = "## A GPU: `bench/gpu.sh`"
    found = [
        path
        for name in ("gpu-check", "gpu-speed", "gpu-precision")
        if (path := folder / f"{name}.json").exists()
    ]
    if not found:
        return f"{title}\n{NO_GPU}"
    return "\n\n".join([title, *(_table(json.loads(path.read_text())) for path in found)])


def _queue(folder: Path) -> list[str]:
    """Return the section of folds trained at once on one GPU, if they were measured."""
    path = folder / "campaign" / "h200-queue.json"
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    seconds: dict[tuple[str, str, str], list[int]] = {}
    for one in found["commands"]:
        seconds.setdefault((one["dataset"], one["method"], one["recipe"]), []).append(one["seconds"])
    rows = [
        f"| {dataset} | {method} | {recipe} | {len(own)} | {statistics.median(own):g} |"
        for (dataset, method, recipe), own in seconds.items()
    ]
    text = f"""## Many trainings on one GPU: `bench/campaign/run_queue.py`
Seconds from the start of `fewshot run` for one fold to its records, training and evaluation, while
{found["processes_at_once"]} such processes shared one {found["device"]} through NVIDIA's MPS, a thread
each."""
    head = "| dataset | method | recipe | folds | median seconds a fold |\n|---|---|---|---:|---:|"
    return ["\n".join([text, "", head, *rows])]


def _table(rows: list[Row]) -> str:
    """Return rows as Markdown; a missed target is said plainly, with by how much."""
    lines = ["| what | measured | target | |", "|---|---|---|---|"]
    for one in rows:
        value, target = one["value_U"], one["target_U"]
        told = "" if one["ok"] else f"**missed** by {abs(value - target):.3g}"
        lines.append(f"| {one['name']} | {value:.4g} | {'' if target is None else f'{target:g}'} | {told} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
