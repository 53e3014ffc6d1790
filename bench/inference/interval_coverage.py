"""Measures how often intervals hold their target and how often A/A differs, simulated and on CHAOS labels.

The intervals of `results/inference` stand beside others that ignore folds or seeds. Writes a JSON file and
prints the table of docs/statistics.md. Every number follows from the seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from results.inference.interval import t_interval, t_quantile
from results.inference.row_values import RowValues, sample_of, sample_of_difference

HERE = Path(__file__).resolve().parent
CHAOS = HERE.parent.parent / "tests" / "golden" / "chaos_copy_support.npy"
FOLDS, SCANS = 5, 4  # of CHAOS

Floats = NDArray[np.float64]
Generator = np.random.Generator
Draw = Callable[[Generator], RowValues]
Ends = tuple[float, float]


@dataclass(frozen=True)
class World:
    """A simulated benchmark: its design, and standard deviations in points of the effects; the mean is 0.

    Attributes:
        folds, seeds, scans: numbers; scans are those of one fold.
        fold: effect of a fold: its support and training set.
        seed: effect of a seed, the same in every fold.
        model: effect of one training, fold and seed.
        scan: effect of a query scan.
        rest: effect of one seed on one scan.
        shares: whether every fold also queries the first scan of the next one, as `qnet-ep1` does.
    """

    folds: int = 5
    seeds: int = 3
    scans: int = 6
    fold: float = 4.0
    seed: float = 1.0
    model: float = 2.0
    scan: float = 8.0
    rest: float = 2.0
    shares: bool = False

    def draw(self, generator: Generator) -> RowValues:
        """Return one row of this world with a single class."""
        count = self.folds * self.scans
        fold = generator.normal(0, self.fold, (1, self.folds, 1))
        seed = generator.normal(0, self.seed, (self.seeds, 1, 1))
        model = generator.normal(0, self.model, (self.seeds, self.folds, 1))
        scan = generator.normal(0, self.scan, (1, 1, count))
        rest = generator.normal(0, self.rest, (self.seeds, self.folds, count))
        queried = np.kron(np.eye(self.folds, dtype=bool), np.ones(self.scans, dtype=bool))
        if self.shares:
            queried |= np.roll(queried, 1, axis=0) & (np.arange(count) % self.scans == 0)
        values = np.where(queried, (fold + seed + model + scan + rest) / 100, np.nan)
        return row_of(values)


def row_of(values: Floats) -> RowValues:
    """Return a row with one class from values (S,F,N), NaN where a fold does not query a scan."""
    seeds, folds, scans = values.shape
    return RowValues(
        tuple(range(folds)), (("group", "class"),), tuple(map(str, range(scans))), tuple(range(seeds)), True,
        values[:, :, None],
    )  # fmt: skip


def chaos_dice() -> Floats:
    """Return Dice (query, support) of `copy-support` on CHAOS, the mean over classes; NaN on the diagonal."""
    values = np.load(CHAOS).astype(np.float64)
    values[np.arange(len(values)), np.arange(len(values))] = 0
    means: Floats = values.mean(axis=2)
    np.fill_diagonal(means, np.nan)
    return means


def chaos_target() -> float:
    """Return the mean over folds, query scans and all supports outside the fold."""
    return float(np.mean([chaos_dice()[np.ix_(queries(fold), supports(fold))] for fold in range(FOLDS)]))


def queries(fold: int) -> list[int]:
    """Return the query scans of a fold of CHAOS."""
    return list(range(SCANS * fold, SCANS * (fold + 1)))


def supports(fold: int) -> list[int]:
    """Return the scans outside a fold of CHAOS."""
    return [scan for scan in range(FOLDS * SCANS) if scan not in queries(fold)]


def draw_chaos(generator: Generator) -> RowValues:
    """Return a row of CHAOS with a random support for each fold; it depends on no seed."""
    dice = chaos_dice()
    values = np.full((1, FOLDS, FOLDS * SCANS), np.nan)
    for fold in range(FOLDS):
        values[0, fold, queries(fold)] = dice[queries(fold), generator.choice(supports(fold))]
    row = row_of(values)
    return RowValues(row.folds, row.columns, row.scans, row.seeds, False, row.by_seed)


def draw_open(generator: Generator) -> RowValues:
    """Return a row of `open-ep` with 5 folds of 4 scans; points: query 8, support 6, their pair 5, fold 2."""
    count = FOLDS * SCANS
    query, support = generator.normal(0, 8, (1, count, 1)), generator.normal(0, 6, (1, 1, count))
    values = query + support + generator.normal(0, 5, (1, count, count))
    values = (values + generator.normal(0, 2, (FOLDS, 1, 1))) / 100
    for fold in range(FOLDS):
        values[fold, supports(fold)] = np.nan
        values[fold][:, queries(fold)] = np.nan
    defined = ~np.isnan(values)
    means = np.where(defined, values, 0).sum(axis=2) / np.maximum(defined.sum(axis=2), 1)
    means[~defined.any(axis=2)] = np.nan
    row = row_of(means[None])
    return RowValues(
        row.folds, row.columns, row.scans, (0,), False, row.by_seed, row.scans, values[:, None]
    )  # fmt: skip


def printed(row: RowValues) -> Ends:
    """Return the interval that boards print."""
    interval = t_interval(sample_of(row))
    assert interval is not None
    return interval.low, interval.high


def of_folds(row: RowValues) -> Ends:
    """Return the t interval over fold means alone."""
    means = sample_of(row).fold_means
    half = t_quantile(len(means) - 1) * means.std(ddof=1) / len(means) ** 0.5
    return means.mean() - half, means.mean() + half


def of_scans(row: RowValues, replicates: int = 300) -> Ends:
    """Return the percentile interval of scans resampled within folds."""
    return _bootstrap(row, replicates, draws_folds=False)


def of_folds_then_scans(row: RowValues, replicates: int = 300) -> Ends:
    """Return the percentile interval of folds resampled, then scans within the drawn folds."""
    return _bootstrap(row, replicates, draws_folds=True)


def _bootstrap(row: RowValues, replicates: int, *, draws_folds: bool) -> Ends:
    scans = sample_of(row).scans
    generator = np.random.default_rng(7)
    folds = [values[~np.isnan(values)] for values in scans]
    means = np.stack(
        [values[generator.integers(len(values), size=(replicates, len(folds), len(values)))].mean(axis=2)
         for values in folds]
    )  # fmt: skip  # (fold, replicate, place)
    places = np.arange(len(folds))
    chosen = places[None].repeat(replicates, axis=0)
    if draws_folds:
        chosen = generator.integers(len(folds), size=(replicates, len(folds)))
    drawn = means[chosen, np.arange(replicates)[:, None], places[None]].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def coverage(
    draw: Draw, ends: Callable[[RowValues], Ends], target: float, draws: int, seed: int = 0
) -> tuple[float, float]:
    """Return the share of draws whose interval holds the target, and the mean width in points."""
    generator = np.random.default_rng(seed)
    intervals = np.array([ends(draw(generator)) for _draw in range(draws)])
    held = (intervals[:, 0] <= target) & (target <= intervals[:, 1])
    return float(held.mean()), float(100 * (intervals[:, 1] - intervals[:, 0]).mean())


def false_alarms(draw: Draw, draws: int, seed: int = 0) -> float:
    """Return how often the interval of the difference of two draws of one world excludes 0."""
    generator = np.random.default_rng(seed)
    alarms = 0
    for _draw in range(draws):
        interval = t_interval(sample_of_difference(draw(generator), draw(generator)))
        assert interval is not None
        alarms += interval.low > 0 or interval.high < 0
    return alarms / draws


WORLDS: dict[str, World] = {
    "5 folds, 3 seeds, 6 scans": World(),
    "the same, seed 3": World(seed=3.0),
    "the same, 2 seeds, seed 3": World(seeds=2, seed=3.0),
    "the same, seeds alike": World(seed=0.0),
    "the same, no fold effect": World(fold=0.0, model=0.0, seed=0.0),
    "5 folds share scans as `qnet-ep1`": World(scans=4, shares=True),
    "12 folds, 3 seeds, 3 scans": World(folds=12, scans=3),
    "a pair of rows: no fold or scan effect, seed 2": World(fold=0.0, seed=2.0, scan=0.0),
}
WEAK = {"the same pair, 2 seeds": World(seeds=2, fold=0.0, seed=2.0, scan=0.0)}  # 2 seeds show too little
METHODS: dict[str, Callable[[RowValues], Ends]] = {
    "printed": printed,
    "t over folds alone": of_folds,
    "folds, then scans": of_folds_then_scans,
    "scans within folds": of_scans,
}


def measured(draws: int) -> dict[str, dict[str, float]]:
    """Return world -> interval -> coverage, with mean widths, and A/A of the printed interval."""
    worlds: dict[str, tuple[Draw, float]] = {
        name: (world.draw, 0.0) for name, world in (WORLDS | WEAK).items()
    }
    worlds["`open-ep`, 5 folds of 4 scans"] = (draw_open, 0.0)
    worlds["CHAOS, copy-support, a random support"] = (draw_chaos, chaos_target())
    rows = {}
    for name, (draw, target) in worlds.items():
        row = {}
        for method, ends in METHODS.items():
            row[method], row[f"{method}, width"] = coverage(draw, ends, target, draws)
        row["A/A"] = false_alarms(draw, draws)
        rows[name] = row
    return rows


def table(rows: dict[str, dict[str, float]]) -> str:
    """Return the markdown table of docs/statistics.md: percent, mean width in points in brackets."""
    lines = [
        "| world | " + " | ".join(METHODS) + " | A/A |",
        "|---|" + "---:|" * (len(METHODS) + 1),
    ]
    for name, row in rows.items():
        cells = [f"{100 * row[method]:.1f} ({row[f'{method}, width']:.1f})" for method in METHODS]
        lines.append(f"| {name} | {' | '.join(cells)} | {100 * row['A/A']:.1f} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=3000, help="draws of each world (default: 3000)")
    parser.add_argument(
        "--out", type=Path, default=HERE / "interval_coverage.json", help="file of the result"
    )
    args = parser.parse_args(argv)
    rows = measured(args.draws)
    print(table(rows))
    args.out.write_text(json.dumps({"draws": args.draws, "rows": rows}, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
