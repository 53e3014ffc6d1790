"""What growth is measured on: folders of small phantoms, a command's time and memory, small evaluations."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from made import spec_like, written_store
from measuring import TINY, best
from memory_cost import held

from episodes.io.nifti import write_nifti
from episodes.phantoms.generate import phantom_scan, phantom_spec
from episodes.plan.plan import EvaluationPlan, make_plan
from episodes.store.slices import SliceReader, normalisation
from episodes.store.store import Store
from protocols.cells.evaluate import evaluate
from protocols.rules.spec import load_protocol
from protocols.training.method_config import build_method_config
from protocols.training.models import build_learner

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


def phantom_folders(folder: Path, counts: Sequence[int]) -> dict[int, Path]:
    """Write the most phantoms asked for once, and a folder with links to the first n for every n."""
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
        asked = ("--dataset", "grown", "--method", "copy-support")
        steps = {
            "prepare": ("prepare", "grown", str(scans), "--spec", str(facts), *where),
            "run": ("run", *asked, *where),
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
    calls = {"asked": lambda: evaluate(learner, plans, reader, device=torch.device("cpu"), batch=2)}
    return {"x": x, "seconds": best(calls, ROUNDS)["asked"]}
