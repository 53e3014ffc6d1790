"""The table of a nearest-neighbour probe: recall of cells in three arms, with intervals over seeds.

The arms are the weights before pre-training, random weights with BatchNorm statistics of the training
slices, and the weights after it. "after - calibrated" is what pre-training adds to statistics that fit the
images.

Recall of a class in a scan is the share of query cells that get the right class. It is undefined, never 0, if
the scan shows no cell of the class. The number of a class is the mean over folds of the mean over scans. The
last column is the mean over folds of the mean over classes, background included, of the mean over scans. The
interval is a t interval over seeds; it does not cover the choice of folds and scans. One seed has none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from results.summary.arrays import Floats, divided, mean_of_defined
from results.tables.text_table import Grid, render_text

BACKGROUND = "background"
LEVEL = 0.95
MEAN = "mean"
ARMS = ("before", "calibrated", "after")
DIFFERENCES = (("calibrated", "before"), ("after", "calibrated"), ("after", "before"))  # later, earlier

Interval = tuple[float, float] | None


@dataclass(frozen=True)
class ScanRecall:
    """One query scan: per class, the query cells (`cells`) and the correct ones in each arm."""

    scan: str
    cells: tuple[int, ...]
    before: tuple[int, ...]
    calibrated: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class Trial:
    """One seed and fold: keys per class, sha256 of the weight files (None: random), its query scans."""

    seed: int
    fold: int
    keys_per_class: int
    before_sha256: str | None
    after_sha256: str
    scans: tuple[ScanRecall, ...]


@dataclass(frozen=True)
class Probe:
    """A probe; every seed has the same folds and scans.

    Attributes:
        before: name of the weights before pre-training.
        pretraining: options of the pre-training.
        classes: the tested classes and the background.
        neighbours: number of nearest keys that vote.
        most_cells: largest number of cells drawn per class and scan.
        every_cell: number of cells of the scans.
        left_out: number of cells without a class.
    """

    dataset: str
    dataset_hash: str
    protocol: str
    encoder: str
    before: str
    pretraining: Mapping[str, Any]
    classes: tuple[str, ...]
    neighbours: int
    most_cells: int
    every_cell: int
    left_out: int
    trials: tuple[Trial, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds, in order."""
        return tuple(dict.fromkeys(trial.seed for trial in self.trials))

    @property
    def folds(self) -> tuple[int, ...]:
        """Return the folds, in order."""
        return tuple(dict.fromkeys(trial.fold for trial in self.trials))

    @property
    def chance(self) -> float:
        """Return the mean recall of a random guess, in [0, 1]."""
        return 1 / len(self.classes)


def recalls(probe: Probe, arm: str) -> dict[int, Floats]:
    """Return fold -> recall (seeds, scans, classes) of one of `ARMS`, in [0, 1], NaN if undefined."""
    by_fold = {}
    for fold in probe.folds:
        trials = [trial for trial in probe.trials if trial.fold == fold]
        hits = np.array([[getattr(scan, arm) for scan in trial.scans] for trial in trials], dtype=np.float64)
        cells = np.array([[scan.cells for scan in trial.scans] for trial in trials])
        by_fold[fold] = divided(hits, cells)
    return by_fold


def recall_differences(probe: Probe, later: str, earlier: str) -> dict[int, Floats]:
    """Return fold -> recall of one arm minus another (seeds, scans, classes), NaN if undefined."""
    first, second = recalls(probe, later), recalls(probe, earlier)
    return {fold: first[fold] - second[fold] for fold in probe.folds}


def summary(values: Mapping[int, Floats], seed: int | None = None) -> Floats:
    """Return (classes+1,): the mean of every class, then the mean over classes.

    Args:
        values: fold -> (seeds, scans, classes).
        seed: index of one seed; None takes all.
    """
    folds = np.stack(
        [
            mean_of_defined((array if seed is None else array[[seed]]).reshape(-1, array.shape[-1]), 0)
            for array in values.values()
        ]
    )
    overall = mean_of_defined(mean_of_defined(folds, 1), 0)
    means: Floats = np.append(mean_of_defined(folds, 0), overall)
    return means


def difference_intervals(probe: Probe, later: str, earlier: str, level: float = LEVEL) -> list[Interval]:
    """Return the t interval over seeds of a difference for every class, then for the mean over classes.

    The observation of a seed is its difference averaged over scans and folds. The interval is None with one
    seed, or if the difference of a seed is undefined.
    """
    count = len(probe.seeds)
    if count < 2:
        return [None] * (len(probe.classes) + 1)
    values = recall_differences(probe, later, earlier)
    by_seed = np.stack([summary(values, place) for place in range(count)])
    half = stats.t.ppf((1 + level) / 2, count - 1) * by_seed.std(axis=0, ddof=1) / math.sqrt(count)
    return [
        None if np.isnan(mean) else (float(mean - width), float(mean + width))
        for mean, width in zip(by_seed.mean(axis=0), half, strict=True)
    ]


def probe_table(probe: Probe) -> str:
    """Return the probe as text: each arm of every seed, the means, differences and intervals, in percent."""
    arms = {arm: recalls(probe, arm) for arm in ARMS}
    rows = [
        (f"seed {seed}", arm, *map(_percent, summary(values, place)))
        for place, seed in enumerate(probe.seeds)
        for arm, values in arms.items()
    ]
    rows += [(MEAN, arm, *map(_percent, summary(values))) for arm, values in arms.items()]
    for later, earlier in DIFFERENCES:
        values = recall_differences(probe, later, earlier)
        rows.append((MEAN, f"{later} - {earlier}", *map(_signed, summary(values))))
    if len(probe.seeds) > 1:
        rows += [
            (
                f"{100 * LEVEL:.0f} % over seeds", f"{later} - {earlier}",
                *map(_ends, difference_intervals(probe, later, earlier)),
            )
            for later, earlier in DIFFERENCES
        ]  # fmt: skip
    title = (
        f"nearest-neighbour probe of dense features: {probe.encoder} on {probe.dataset}, fold "
        f"{', '.join(map(str, probe.folds))}, {probe.protocol}"
    )
    options = " ".join(f"{name}={value}" for name, value in sorted(probe.pretraining.items()))
    subtitle = (
        f"before: {probe.before} weights; calibrated: random weights, BatchNorm statistics of the training "
        f"slices; after: pre-training from random weights, {options or 'no options'}"
    )
    grid = Grid(("", "", *probe.classes, MEAN), tuple(rows), None)
    return render_text(title, subtitle, grid, _notes(probe))


def probe_json(probe: Probe) -> dict[str, Any]:
    """Return counts, recalls, differences and intervals as plain JSON, in [-1, 1]; None if undefined."""
    columns = (*probe.classes, MEAN)

    def named(numbers: Floats) -> dict[str, float | None]:
        return {
            name: None if np.isnan(one) else float(one) for name, one in zip(columns, numbers, strict=True)
        }

    return {
        "probe": dataclasses.asdict(probe),
        "chance": probe.chance,
        "recall": {arm: named(summary(recalls(probe, arm))) for arm in ARMS},
        "differences": {
            f"{later} - {earlier}": {
                "mean": named(summary(recall_differences(probe, later, earlier))),
                "interval": dict(zip(columns, difference_intervals(probe, later, earlier), strict=True)),
            }
            for later, earlier in DIFFERENCES
        },
        "level": LEVEL if len(probe.seeds) > 1 else None,
        "interval_over": "seeds",
    }


def _notes(probe: Probe) -> list[str]:
    """Return the notes: how the numbers are computed, chance, arms, omissions, undefined values."""
    keys = "/".join(str(t.keys_per_class) for t in probe.trials if t.seed == probe.seeds[0])
    lines = [
        "recall of cells in percent: mean over query scans, then classes (background too) and folds",
        f"chance of the mean: {_percent(probe.chance)} (1 of {len(probe.classes)} classes)",
        f"{probe.neighbours} nearest keys vote with their cosine; keys of each class, by fold: {keys}; "
        f"query cells: at most {probe.most_cells} per class and scan",
        "1 seed: no interval; give --seeds several"
        if len(probe.seeds) == 1
        else f"interval: t over {len(probe.seeds)} seeds on the same folds and scans; it does not cover the "
        "choice of folds and scans",
        "calibrated - before: gain of statistics that fit the images; after - calibrated: what pre-training "
        "adds to them"
        if probe.before == "random"
        else "calibrated - before compares other weights, too, because calibrated has random ones",
        f"cells with some organ but no tested class in more than half, left out: {probe.left_out} of "
        f"{probe.every_cell}",
        "the probe takes the classes of cells from labels; the pre-training uses no labels",
    ]
    first = [scan for trial in probe.trials if trial.seed == probe.seeds[0] for scan in trial.scans]
    missing = sum(count == 0 for scan in first for count in scan.cells)
    if missing:
        lines.append(
            f"undefined, left out of their means: {missing} of {len(first) * len(probe.classes)} classes of "
            "a scan, which show no cell of theirs"
        )
    if probe.before != "random":
        lines.append(
            "MARKED: the pre-training did not begin from the weights before; this difference is of two files"
        )
    return lines


def _percent(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{100 * value:.1f}"


def _signed(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{100 * value:+.1f}"


def _ends(ends: Interval) -> str:
    return "-" if ends is None else f"{_signed(ends[0])} to {_signed(ends[1])}"
