"""External checkpoint files: strict loading, model descriptions, and the labels that their training used."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from episodes.plan.plan import EvaluationPlan
from episodes.store.slices import Normalisation
from fewshot.base.errors import UserError
from fewshot.encoders.checkpoints import FILES, NAMED, load_released
from fewshot.files.atomic_io import canonical_json, sha256_of
from protocols.cells.cell_record import unscored_record
from protocols.cells.evaluate_cells import EvaluationCell, cell_marks
from protocols.cells.recipe_marks import is_file_of
from protocols.file_pattern import fill_fold_and_group
from protocols.training.method import MethodConfig
from protocols.training.models import PRETRAINING, Model, build_learner
from results.records.configuration import configuration
from results.records.files import parse_record, record_files, record_texts
from results.records.record import Record

LOG = logging.getLogger("fewshot")
LEAKAGE = "leakage possible: one checkpoint for several folds"


@dataclass(frozen=True)
class ExternallyTrained(MethodConfig):
    """A method with external weights; the labels of their training are unknown."""

    @property
    def description(self) -> dict[str, Any]:
        """Return the `method` part of a record."""
        return super().description | {"labels_used": "external"}


def with_external_labels(method: MethodConfig) -> MethodConfig:
    """Return the method with `labels_used` "external" in its records, unless its class declares a use."""
    if method.description["labels_used"] != "none":
        return method
    fields = {field.name: getattr(method, field.name) for field in dataclasses.fields(MethodConfig)}
    return ExternallyTrained(**fields)


def with_labels_of_start(method: MethodConfig, model: Model) -> MethodConfig:
    """Return the method with `labels_used` "external" if the training of the initial weights is unknown.

    Known are torchvision's files, by their hash, and backbone files that hold their pre-training.
    """
    weights, folder = model.description["initial_weights"], model.folder
    if weights is None or weights["name"] in NAMED or folder is None or (folder / PRETRAINING).is_file():
        return method
    encoder = model.description["encoder"]
    is_known = any(is_file_of(weights["sha256"], encoder, name) for name in FILES.get(encoder, {}))
    return method if is_known else with_external_labels(method)


def checkpoint_files(
    pattern: str, plans: Sequence[EvaluationPlan], same_for_all: bool
) -> dict[tuple[int, str], Path]:
    """Return the file of every (fold, group); `{fold}` and `{group}` in `pattern` are replaced.

    Raises `UserError` for a missing file, and for one file of several folds unless `same_for_all`, because
    its training may have seen queries.
    """
    files = {}
    for plan in plans:
        path = fill_fold_and_group(pattern, plan.fold, plan.group, "checkpoint pattern")
        if not path.is_file():
            raise UserError(
                f"checkpoint {str(path)!r} does not exist; give a file, or a pattern with {{fold}}, {{group}}"
            )
        files[plan.fold, plan.group] = path
    folds = {fold for fold, _group in files}
    for path in dict.fromkeys(files.values()):
        served = sorted({fold for (fold, _group), file in files.items() if file.samefile(path)})
        if len(served) > 1 and len(folds) > 1 and not same_for_all:
            raise UserError(
                f"checkpoint {str(path)!r} would serve folds {', '.join(map(str, served))}, so it may "
                "have been trained on the queries of some; put {fold} into the pattern, or add "
                "--same-checkpoint to have the records marked"
            )
    return files


@dataclass(frozen=True)
class ExternalCells:
    """Cells of one fold that share a checkpoint file, and the intensities of their query scans."""

    path: Path
    description: dict[str, Any]  # `external_description` of the file
    cells: tuple[EvaluationCell, ...]
    intensities: Normalisation


def external_model(
    method: MethodConfig,
    path: Path,
    device: torch.device,
    description: dict[str, Any] | None = None,
    classes: tuple[str, ...] = (),
) -> Model:
    """Return the method with the weights of a checkpoint file, in evaluation mode.

    `description`: the `model` part of its records (default: `external_description` without a name).
    `classes`: as in `build_learner`. A class may read its published files by a `load_published` of its own.
    """
    learner = build_learner(method, classes)
    load = getattr(learner, "load_published", None)
    if load is None:
        load_released(path, learner)
    else:
        load(path)
    learner.to(device).eval()
    return Model(learner, description or external_description(method, path), None)


def external_description(method: MethodConfig, path: Path, name: str | None = None) -> dict[str, Any]:
    """Return the `model` part of a checkpoint file's records, with the file's sha256 and `name`."""
    assert method.recipe is not None
    sha256 = sha256_of(path)
    description: dict[str, Any] = {
        "key": f"external-{sha256[:16]}",
        "encoder": method.recipe.encoder,
        "initial_weights": {"name": "external", "sha256": sha256},
        "steps": None,
        "seed": method.seed,
        "checkpoint": "external",
        "skipped_episodes": None,
        "trained_on": [],
    }
    return description if name is None else description | {"name": name}


def check_other_files(work: Sequence[ExternalCells], method: MethodConfig) -> None:
    """Raise `UserError` if a record of another file would share a table cell with a new record.

    Args:
        work: the cells to evaluate, all in one work folder.
        method: the method that loads the files.
    """
    keys: dict[str, str] = {}
    for external in work:
        model = Model(None, external.description, None)
        for cell in external.cells:
            marks = cell_marks(cell, method, model)
            record = unscored_record(cell.request, method, model, cell.plan, marks)
            keys[_cell_of(record)] = external.description["key"]
    for source, record in _sound_records(work[0].cells[0].request.work / "records"):
        if keys.get(_cell_of(record), record.model.key) != record.model.key:
            name = record.model.name
            taken = "records without a name" if name is None else f"the name {name!r}"
            other = "--name NAME" if name is None else "another --name"
            raise UserError(
                f"{source} has fold {record.fold}, group {record.group} of another checkpoint file of "
                f"{method.name} ({record.model.key}), and {taken} can hold one; give {other}"
            )


def _sound_records(folder: Path) -> Iterator[tuple[str, Record]]:
    """Yield (source, record) for every valid record in a folder; log a warning for the others."""
    for path in record_files(folder) if folder.is_dir() else ():
        for text in record_texts(path):
            try:
                record = parse_record(text)
            except UserError as error:
                LOG.warning("left out: %s", error)
                continue
            yield text.source, record


def _cell_of(record: Record) -> str:
    """Return the identity of a record's table cell, as canonical JSON."""
    return canonical_json([configuration(record), record.fold, record.group])
