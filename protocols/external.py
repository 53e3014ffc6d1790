"""Checkpoint files that were not trained here: one file per fold and group, strictly loaded."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from episodes.plan import Plan
from fewshot.checkpoints import load_released
from fewshot.errors import UserError
from fewshot.files import canonical_json, sha256_of
from protocols.asking import Asked, marks_of
from protocols.cells import cell_header
from protocols.models import Method, Model, built
from results.blocks import configuration
from results.records import read_record

LOG = logging.getLogger("fewshot")
LEAKAGE = "leakage possible: one checkpoint for several folds"


def checkpoint_files(pattern: str, plans: Sequence[Plan], same_for_all: bool) -> dict[tuple[int, str], Path]:
    """Return the file of every (fold, group); `{fold}` and `{group}` in `pattern` are filled in.

    One file for several folds is refused unless `same_for_all`: it has seen the queries of some fold.
    """
    files = {}
    for plan in plans:
        try:
            path = Path(pattern.format(fold=plan.fold, group=plan.group))
        except (KeyError, IndexError, ValueError):
            raise UserError(
                f"checkpoint pattern {pattern!r}: only {{fold}} and {{group}} may stand in braces"
            ) from None
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


def external_model(
    method: Method, path: Path, device: torch.device, description: dict[str, Any] | None = None
) -> Model:
    """Return the method with the weights of a checkpoint file, in evaluation mode.

    `description`: the `model` part of its records (default: `external_description` without a name).
    """
    learner = built(method)
    load_released(path, learner)
    learner.to(device).eval()
    return Model(learner, description or external_description(method, path), None)


def external_description(method: Method, path: Path, name: str | None = None) -> dict[str, Any]:
    """Return the `model` part of a checkpoint file's records: "external", the file's sha256 and its name."""
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
    }
    return description if name is None else description | {"name": name}


def check_other_files(cells: Sequence[Asked], method: Method, description: Mapping[str, Any]) -> None:
    """Raise `UserError` where a work folder holds a record of another file that tables could not tell apart.

    Args:
        cells: Cells of one work folder, to be evaluated with the file.
        method: The method that the file is loaded into.
        description: The file's `external_description`.
    """
    model = Model(None, dict(description), None)
    headers = [cell_header(one.request, method, model, one.plan, marks_of(one, method)) for one in cells]
    known = {_cell_of(header) for header in headers}
    for path in sorted((cells[0].request.work / "records").glob("*.json")):
        try:
            record = read_record(path)
        except UserError as error:
            LOG.warning("left out: %s", error)
            continue
        if _cell_of(record) in known and record["model"]["key"] != description["key"]:
            name = description.get("name")
            taken = "records without a name" if name is None else f"the name {name!r}"
            other = "--name NAME" if name is None else "another --name"
            raise UserError(
                f"{path} has fold {record['fold']}, group {record['group']} of another checkpoint file of "
                f"{method.name} ({record['model']['key']}), and {taken} can hold one; give {other}"
            )


def _cell_of(record: Mapping[str, Any]) -> str:
    """Return what two records share if tables put them into one cell."""
    return canonical_json([configuration(record), record["fold"], record["group"]])
