"""The table of a nearest-neighbour probe: recall of cells before and after pre-training, with intervals.

Recall of a class in a scan is the share of query cells that get the right class. It is undefined, never 0, if
the scan shows no cell of the class. The number of a class is the mean over folds of the mean over scans. The
last column is the mean over folds of the mean over classes, background included, of the mean over scans. The
interval is a percentile bootstrap: it resamples seeds, and scans within folds, with the same draws before and
after.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.summary.statistics import LEVEL, divided, interval, mean_of_defined, resampled, weighted_means
from results.tables.text_table import Grid, render_text

BACKGROUND = "background"
DRAWS = 10_000
MEAN = "mean"

Floats = NDArray[np.float64]
Interval = tuple[float, float] | None


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
    chosen = {fold: array if seed is None else array[seed : seed + 1] for fold, array in values.items()}
    weights = {fold: np.ones((1, *array.shape[:2])) for fold, array in chosen.items()}
    means: Floats = _numbers(chosen, weights)[0]
    return means


def difference_intervals(probe: Probe, draws: int = DRAWS, level: float = LEVEL) -> list[Interval]:
    """Return the interval of the difference for every class, then for the mean over classes.

    The interval is `None` if every fold has one seed and one scan, or if a draw has no defined value. The
    draws depend only on seeds, folds and scans, so equal probes have equal intervals.
    """
    values = recall_differences(probe)
    if all(array.shape[:2] == (1, 1) for array in values.values()):
        return [None] * (len(probe.classes) + 1)
    of_seeds = resampled([str(seed) for seed in probe.seeds], "probe seeds", replicates=draws)
    weights = {}
    for fold in probe.folds:
        scans = next([scan.scan for scan in trial.scans] for trial in probe.trials if trial.fold == fold)
        of_scans = resampled(scans, "probe scans", fold, replicates=draws)
        weights[fold] = of_seeds[:, :, None] * of_scans[:, None, :]
    return [interval(column, level) for column in _numbers(values, weights).T]


def _numbers(values: Mapping[int, Floats], weights: Mapping[int, Floats]) -> Floats:
    """Return the means (R,C+1) of classes, then over classes, for fold -> values (S,N,C), weights (R,S,N)."""
    folds = np.stack(
        [
            weighted_means(array.reshape(-1, array.shape[-1]), weights[fold].reshape(len(weights[fold]), -1))
            for fold, array in values.items()
        ]
    )
    overall = mean_of_defined(mean_of_defined(folds, 2), 0)
    return np.concatenate([mean_of_defined(folds, 0), overall[:, None]], axis=1)


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
    last = (f"{100 * LEVEL:.0f} % interval", "difference", *map(_ends, difference_intervals(probe)))
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
        "interval": dict(zip(columns, difference_intervals(probe), strict=True)),
        "level": LEVEL,
        "draws": DRAWS,
    }


def _notes(probe: Probe) -> list[str]:
    """Return the notes: how the numbers are computed, chance, draws, omissions, undefined values."""
    keys = "/".join(str(t.keys_per_class) for t in probe.trials if t.seed == probe.seeds[0])
    alone = "; one seed: it does not cover the choice of seeds" if len(probe.seeds) == 1 else ""
    lines = [
        "recall of cells in percent: mean over query scans, then classes (background too) and folds",
        f"chance of the mean: {_percent(probe.chance)} (1 of {len(probe.classes)} classes)",
        f"{probe.neighbours} nearest keys vote with their cosine; keys of each class, by fold: {keys}; "
        f"query cells: at most {probe.most_cells} per class and scan",
        f"interval: {DRAWS} bootstrap draws of seeds, and of scans within folds{alone}",
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


def _ends(ends: Interval) -> str:
    return "-" if ends is None else f"{_signed(ends[0])} to {_signed(ends[1])}"
