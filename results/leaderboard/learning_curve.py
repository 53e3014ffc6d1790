"""Learning curves: the Dice of every candidate checkpoint on validation scans, from records alone.

A run with `--checkpoint-policy validation` evaluates each candidate on a scan that it holds out of training,
the scan before the fold, and its record holds all these Dice. No curve reads a Dice of a test fold. A
yardstick has no candidates: its level is its Dice on the same scans, each a query of the fold that tests it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from fewshot.base.errors import UserError
from fewshot.files.atomic_io import canonical_json
from results.records.configuration import configuration_without_seed
from results.records.record import Record
from results.summary.configuration_result import Cell, ConfigurationResult, configuration_results
from results.summary.frame import mean_of, mean_over
from results.summary.seed_average import SeedAverage, labels
from results.summary.select_records import question_text, select_question

SCAN = "scan "  # begins `model.selected.on` where a policy chose on a validation scan


@dataclass(frozen=True)
class LearningCurve:
    """The curve of one configuration; Dice in [0, 1].

    Attributes:
        label: the configuration in words.
        seeds: Dice by (seed, step): the mean over groups, then over folds.
        mean: Dice by step: the mean over seeds.
    """

    label: str
    seeds: pd.Series[float]
    mean: pd.Series[float]


@dataclass(frozen=True)
class LearningCurves:
    """All curves of one question, over the cells that every curve has.

    Attributes:
        title: the question in words.
        curves: one per configuration, best last step first.
        yardsticks: (name, Dice in [0, 1]) on the same scans, best first.
        scans: fold -> the validation scan.
        groups: groups of tested classes of the curves.
        left_out: a line for each record or cell that no curve uses.
    """

    title: str
    curves: tuple[LearningCurve, ...]
    yardsticks: tuple[tuple[str, float], ...]
    scans: dict[int, str]
    groups: tuple[str, ...]
    left_out: tuple[str, ...]


def learning_curves(
    records: Iterable[Record], dataset: str, setting: int, protocol: str | None = None
) -> LearningCurves:
    """Return the learning curves of a dataset and setting.

    Args:
        records: records of any question; `select_question` chooses.
        dataset, setting: the dataset's name and the setting.
        protocol: a protocol's name; None chooses one.

    Raises:
        UserError: no record fits, no record has a curve, or the curves have no cell in common.
    """
    chosen, left_out = select_question(records, dataset, setting, protocol)
    results = configuration_results(chosen)
    rows = _rows_with_curve(results)
    if not rows:
        raise UserError(
            f"no record of {question_text(chosen[0])} holds the Dice of its candidate checkpoints; run it "
            "with --checkpoint-policy validation and --option snapshot_every=N"
        )
    every = [set(result.cells) for row in rows for result in row.results]
    common = sorted(set.intersection(*every))
    if not common:
        raise UserError("the curves have no fold and group in common; run the missing cells")
    if len(common) < len(set.union(*every)):
        left_out.append(f"{len(set.union(*every)) - len(common)} cells that some curve lacks")
    left_out += _oracle_lines(results)
    first = rows[0].results[0]
    scans = {fold: _scan_of(first.cells[fold, group]) for fold, group in common}
    curves = [_curve(label, row, common) for label, row in zip(labels(rows), rows, strict=True)]
    levels, more = _yardstick_levels(results, common, scans)
    return LearningCurves(
        question_text(chosen[0]),
        tuple(sorted(curves, key=lambda curve: (-curve.mean.iloc[-1], curve.label))),
        tuple(sorted(levels, key=lambda level: (-level[1], level[0]))),
        scans,
        tuple(sorted({group for _fold, group in common})),
        (*left_out, *more),
    )


def _rows_with_curve(results: Sequence[ConfigurationResult]) -> list[SeedAverage]:
    """Return one row per configuration whose every record has a curve of a validation scan; all its seeds."""
    seeds: dict[str, list[ConfigurationResult]] = {}
    for result in results:
        if all(_has_curve(record) for record in result.cells.values()):
            seeds.setdefault(canonical_json(configuration_without_seed(result.record)), []).append(result)
    return [
        SeedAverage(tuple(sorted(found, key=lambda result: result.record.model.seed)))
        for found in seeds.values()
    ]


def _has_curve(record: Record) -> bool:
    selected = record.model.selected
    return record.model.checkpoint == "validation" and selected is not None and len(selected.dices) > 0


def _scan_of(record: Record) -> str:
    assert record.model.selected is not None
    return record.model.selected.on.removeprefix(SCAN)


def _oracle_lines(results: Sequence[ConfigurationResult]) -> list[str]:
    count = sum(len(result.cells) for result in results if result.record.model.checkpoint == "oracle")
    return [f"{count} records that chose their checkpoint on the test fold (oracle)"] if count else []


def _curve(label: str, row: SeedAverage, cells: Sequence[Cell]) -> LearningCurve:
    index: list[tuple[int, int, int, str]] = []
    values: list[float] = []
    for result in row.results:
        for fold, group in cells:
            selected = result.cells[fold, group].model.selected
            assert selected is not None
            index += [(result.record.model.seed, step, fold, group) for step in selected.candidates]
            values += selected.dices
    names = ["seed", "step", "fold", "group"]
    dice = pd.Series(values, index=pd.MultiIndex.from_tuples(index, names=names), dtype="float64")
    seeds = mean_over(mean_over(dice, "group"), "fold").sort_index()
    return LearningCurve(label, seeds, mean_over(seeds, "seed"))


def _yardstick_levels(
    results: Sequence[ConfigurationResult], cells: Sequence[Cell], scans: dict[int, str]
) -> tuple[list[tuple[str, float]], list[str]]:
    """Return (name, Dice) of every yardstick that has scored all scans, and a line for each other one."""
    levels, missing = [], []
    rows = [
        SeedAverage((result,))
        for result in results
        if result.record.method.regime == "yardstick" and result.record.model.checkpoint == "none"
    ]
    for row, name in zip(rows, labels(rows), strict=True):
        by_scan = mean_over(mean_over(row.first.means.scans, "fold"), "class").dropna()
        lacking = sorted({scans[fold] for fold, group in cells if (group, scans[fold]) not in by_scan.index})
        if lacking:
            missing.append(f"{name}: no Dice of scan {', '.join(lacking)}; run its missing cells")
            continue
        names = pd.MultiIndex.from_tuples(cells, names=["fold", "group"])
        values = pd.Series([by_scan[group, scans[fold]] for fold, group in cells], index=names)
        levels.append((name, mean_of(mean_over(values, "group"))))
    return levels, missing
