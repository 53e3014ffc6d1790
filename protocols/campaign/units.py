"""The work of a campaign: which cells are recorded, which are missing, and the trainings that each needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from episodes.store.slices import Normalisation
from episodes.store.store import Store
from fewshot.files.atomic_io import canonical_json
from protocols.campaign.stage_keys import KnownPictures, StageKey, expected_model, stage_keys
from protocols.cells.cell_record import key_of_cell
from protocols.cells.evaluate_cells import EvaluationCell
from protocols.request import Request
from protocols.runs.runner import group_by_training, training_data, validate_and_plan
from protocols.training.method import MethodConfig
from protocols.training.method_config import with_dataset_constants
from results.records.files import recorded_keys


@dataclass(frozen=True)
class CampaignRun:
    """One `fewshot run` of a campaign: its options without --folds and --groups, and what they mean."""

    options: tuple[str, ...]
    request: Request
    method: MethodConfig


@dataclass(frozen=True)
class CellName:
    """One cell of a campaign, named as in records. `key`: of its record; None while it is not known."""

    method: str
    dataset: str
    protocol: str
    setting: int
    seed: int
    fold: int
    group: str
    key: str | None


@dataclass(frozen=True)
class Unit:
    """Cells of a fold that share their whole training: one command trains and evaluates them.

    Attributes:
        run: whose cells they are.
        recorded: cells with a record.
        missing: cells without one.
        stages: of their training, in order; empty for a method without training.
        slices: number of slices of the query scans of the missing cells.
    """

    run: CampaignRun
    recorded: tuple[CellName, ...]
    missing: tuple[CellName, ...]
    stages: tuple[StageKey, ...]
    slices: int


def plan_units(runs: Iterable[CampaignRun]) -> list[Unit]:
    """Return the units of all runs, in order; a cell that two runs name belongs to the first.

    Raises `UserError` as `fewshot run`, before any training, for options that contradict each other, a
    missing file or a failed audit.
    """
    planner = _Planner()
    return [unit for run in runs for unit in planner.units(run)]


class _Planner:
    """Plans and audits are equal for all seeds of a method, so they are made once."""

    def __init__(self) -> None:
        self._groups: dict[str, list[list[EvaluationCell]]] = {}
        self._data: dict[tuple[Any, ...], tuple[Store, Normalisation]] = {}
        self._pictures: KnownPictures = {}
        self._records: dict[Any, frozenset[str]] = {}
        self._seen: set[str] = set()

    def units(self, run: CampaignRun) -> list[Unit]:
        method = with_dataset_constants(run.method, run.request.store.spec.region, run.request.setting)
        units = []
        for cells in self._cells(run):
            unit = self._unit(run, method, cells)
            if unit.recorded or unit.missing:
                units.append(unit)
        return units

    def _cells(self, run: CampaignRun) -> list[list[EvaluationCell]]:
        request, method = run.request, run.method
        recipe = None if method.recipe is None else dataclasses.asdict(method.recipe)
        other = None if request.train_store is None else request.train_store.hash
        evaluation = [
            request.protocol.hash,
            request.setting,
            request.checkpoint_policy,
            other,
            request.store.hash,
        ]
        rules = [request.protocol.evaluation.shots, len(request.protocol.evaluation.support_fractions)]
        grid = [request.store.hash, list(request.folds), list(request.groups)]
        place = canonical_json([method.description, recipe, method.precision, *evaluation, rules, grid])
        if place not in self._groups:
            found = validate_and_plan(request, method)
            own = with_dataset_constants(method, request.store.spec.region, request.setting)
            self._groups[place] = [
                shared for plans in found.values() for shared in group_by_training(plans, own)
            ]
        return self._groups[place]

    def _unit(self, run: CampaignRun, method: MethodConfig, cells: Sequence[EvaluationCell]) -> Unit:
        request, plan = run.request, cells[0].plan
        stages: list[StageKey] = []
        if method.recipe is not None:
            home = request.train_store or request.store
            place = (home.path, request.store.path, request.protocol.hash, plan.training.scans)
            if place not in self._data:
                self._data[place] = training_data(request, plan)
            stages = stage_keys(request, method, plan, *self._data[place], self._pictures)
        expected = expected_model(request, method, plan, stages)
        recorded: list[CellName] = []
        missing: list[CellName] = []
        queries: dict[str, None] = {}
        for cell in cells:
            key = None if expected is None else key_of_cell(request, *expected, cell.plan.evaluation)
            name = _name(run, cell, key)
            identity = key or canonical_json(
                [dataclasses.astuple(name), [stage.identity for stage in stages]]
            )
            if identity in self._seen:
                continue
            self._seen.add(identity)
            if key in self._recorded(request):
                recorded.append(name)
            else:
                missing.append(name)
                queries |= dict.fromkeys(cell.plan.evaluation.query_scans)
        slices = sum(request.store.index.depths[scan] for scan in queries)
        return Unit(run, tuple(recorded), tuple(missing), tuple(stages), slices)

    def _recorded(self, request: Request) -> frozenset[str]:
        folder = request.work / "records"
        if folder not in self._records:
            self._records[folder] = recorded_keys(folder)
        return self._records[folder]


def _name(run: CampaignRun, cell: EvaluationCell, key: str | None) -> CellName:
    request = run.request
    return CellName(
        run.method.description["name"], request.store.spec.name, request.protocol.name, request.setting,
        run.method.seed, cell.plan.evaluation.fold, cell.plan.evaluation.group, key,
    )  # fmt: skip
