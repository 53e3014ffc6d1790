"""The table of a nearest-neighbour probe: recall of cells before and after pre-training, with intervals.

Recall of a class in a scan is the share of query cells that get the right class. It is undefined, never 0, if
the scan shows no cell of the class. The number of a class is the mean over folds of the mean over scans. The
last column is the mean over folds of the mean over classes, background included, of the mean over scans. The
interval is that of `results/inference`: t over folds, with the seeds' own variance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from results.comparison.significance_formats import signed_interval
from results.inference.interval import Interval, t_interval
from results.inference.sample import Sample
from results.summary.arrays import Floats, divided, mean_of_defined
from results.tables.text_table import Grid, render_text

BACKGROUND = "background"
MEAN = "mean"


@dataclass(frozen=True)
class ScanRecall:
    """One query scan: per class, the query cells (`asked`) and the correct ones before and after stage 1."""

    scan: str
    asked: tuple[int, ...]
    before: tuple[int, ...]
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
        before: name of the weights before stage 1.
        stage_one: options of stage 1, which made the weights after it.
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
    stage_one: Mapping[str, Any]
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


def recalls(probe: Probe, when: str) -> dict[int, Floats]:
    """Return fold -> recall (seeds, scans, classes) in [0, 1], NaN if undefined.

    `when` is "before" or "after".
    """
    by_fold = {}
    for fold in probe.folds:
        trials = [trial for trial in probe.trials if trial.fold == fold]
        hits = np.array([[getattr(scan, when) for scan in trial.scans] for trial in trials], dtype=np.float64)
        cells = np.array([[scan.asked for scan in trial.scans] for trial in trials])
        by_fold[fold] = divided(hits, cells)
    return by_fold


def recall_differences(probe: Probe) -> dict[int, Floats]:
    """Return fold -> recall after minus before (seeds, scans, classes), NaN if undefined."""
    before, after = recalls(probe, "before"), recalls(probe, "after")
    return {fold: after[fold] - before[fold] for fold in probe.folds}


def summary(values: Mapping[int, Floats], seed: int | None = None) -> Floats:
    """Return (classes+1,): the mean of every class, then the mean over classes.

    Args:
        values: fold -> (seeds, scans, classes).
        seed: index of one seed; None takes all.
    """
    chosen = [array if seed is None else array[seed : seed + 1] for array in values.values()]
    folds = np.stack([_fold_mean(array) for array in chosen])
    overall = mean_of_defined(mean_of_defined(folds, 1), 0)
    means: Floats = np.append(mean_of_defined(folds, 0), overall)
    return means


def difference_intervals(probe: Probe) -> list[Interval | None]:
    """Return the interval of the difference for every class, then for the mean over classes.

    It is None for fewer than two folds with a defined value.
    """
    values = recall_differences(probe)
    folds = np.stack([_fold_mean(array) for array in values.values()])
    seeds = np.stack([[_fold_mean(seed[None]) for seed in array] for array in values.values()], axis=1)
    folds, seeds = (
        np.concatenate([each, mean_of_defined(each, -1)[..., None]], axis=-1) for each in (folds, seeds)
    )
    no_scans = np.full((len(folds), 1), np.nan)  # no scan is in two folds
    return [
        t_interval(Sample(folds[:, place], (seeds[..., place],), no_scans))
        for place in range(folds.shape[-1])
    ]


def _fold_mean(values: Floats) -> Floats:
    """Return the mean (classes,) over seeds and scans of (seeds, scans, classes)."""
    return mean_of_defined(values.reshape(-1, values.shape[-1]), 0)


def probe_table(probe: Probe) -> str:
    """Return the probe as text: before, after and difference of every seed and of their mean, in percent."""
    kinds: list[tuple[str, Mapping[int, Floats], Callable[[float], str]]] = [
        ("before", recalls(probe, "before"), _percent),
        ("after", recalls(probe, "after"), _percent),
        ("difference", recall_differences(probe), _signed),
    ]
    rows = [
        (f"seed {seed}", name, *map(shown, summary(values, place)))
        for place, seed in enumerate(probe.seeds)
        for name, values, shown in kinds
    ]
    rows += [(MEAN, name, *map(shown, summary(values))) for name, values, shown in kinds]
    last = ("interval", "difference", *(signed_interval(ends, 1) for ends in difference_intervals(probe)))
    title = (
        f"nearest-neighbour probe of dense features: {probe.encoder} on {probe.dataset}, fold "
        f"{', '.join(map(str, probe.folds))}, {probe.protocol}"
    )
    options = " ".join(f"{name}={value}" for name, value in sorted(probe.stage_one.items()))
    subtitle = (
        f"before: {probe.before} weights; after: stage 1 from random weights, {options or 'no options'}"
    )
    return render_text(
        title, subtitle, Grid(("", "", *probe.classes, MEAN), tuple(rows), last), _notes(probe)
    )


def probe_json(probe: Probe) -> dict[str, Any]:
    """Return counts, means, differences and intervals as plain JSON; recall in [0, 1], None if undefined."""
    columns = (*probe.classes, MEAN)

    def named(numbers: Floats) -> dict[str, float | None]:
        return {
            name: None if np.isnan(one) else float(one) for name, one in zip(columns, numbers, strict=True)
        }

    return {
        "probe": dataclasses.asdict(probe),
        "chance": probe.chance,
        "before": named(summary(recalls(probe, "before"))),
        "after": named(summary(recalls(probe, "after"))),
        "difference": named(summary(recall_differences(probe))),
        "interval": {
            name: None if ends is None else dataclasses.asdict(ends)
            for name, ends in zip(columns, difference_intervals(probe), strict=True)
        },
    }


def _notes(probe: Probe) -> list[str]:
    """Return the notes: how the numbers are computed, chance, draws, omissions, undefined values."""
    keys = "/".join(str(t.keys_per_class) for t in probe.trials if t.seed == probe.seeds[0])
    alone = "; 1 seed: over folds alone, no level is claimed" if len(probe.seeds) == 1 else ""
    lines = [
        "recall of cells in percent: mean over query scans, then classes (background too) and folds",
        f"chance of the mean: {_percent(probe.chance)} (1 of {len(probe.classes)} classes)",
        f"{probe.neighbours} nearest keys vote with their cosine; keys of each class, by fold: {keys}; "
        f"query cells: at most {probe.most_cells} per class and scan",
        f"interval: 95 %, t over folds, with the seeds' own variance; one fold has none{alone}",
        f"cells with some organ but no tested class in more than half, left out: {probe.left_out} of "
        f"{probe.every_cell}",
        "the probe takes the classes of cells from labels; stage 1 uses no labels",
    ]
    first = [scan for trial in probe.trials if trial.seed == probe.seeds[0] for scan in trial.scans]
    missing = sum(count == 0 for scan in first for count in scan.asked)
    if missing:
        lines.append(
            f"undefined, left out of their means: {missing} of {len(first) * len(probe.classes)} classes of "
            "a scan, which show no cell of theirs"
        )
    if probe.before != "random":
        lines.append("MARKED: stage 1 did not begin from the weights before; this difference is of two files")
    return lines


def _percent(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{100 * value:.1f}"


def _signed(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{100 * value:+.1f}"
