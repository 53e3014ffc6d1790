"""Models found by key, folder or file, with the facts that preparing a user's scan needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from episodes.store.dataset import DatasetSpec, known_datasets, load_dataset_spec
from episodes.store.slices import normalisation
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.files.names import path_in
from protocols.runs.external_checkpoint import external_model
from protocols.training.method import MethodConfig
from protocols.training.models import Model, open_model

RELEASED_SIZE = 256  # the input of every released checkpoint, pixels


@dataclass(frozen=True)
class FoundModel:
    """A learner in evaluation mode, and the facts of its training.

    `dataset` and `modality` of the training, None if unknown; `image_size` of its input in pixels; `rule` of
    its normalisation, None if unknown; `mean_std` of the intensities of its training scans, None if the rule
    does not use them or they are unknown (`reason` then says why); `spec`: facts of the dataset, by which its
    scans were prepared, None if unknown; `store_differs`: whether they are of another store than that of the
    training.
    """

    learner: Any
    name: str
    dataset: str | None
    modality: str | None
    image_size: int
    rule: str | None
    mean_std: tuple[float, float] | None
    reason: str
    spec: DatasetSpec | None = None
    store_differs: bool = False


def find_model(
    name: str,
    work: Path,
    method: MethodConfig,
    device: torch.device,
    image_size: int,
    typed: str | None = None,
) -> FoundModel:
    """Return the model of a checkpoint file, a model folder, or the beginning of a key under WORK/models.

    Args:
        name: path of a file or folder, or the beginning of a key; a folder's `last.pt` means the folder.
        work: holds `models` and `stores`.
        method: loads a checkpoint file, which does not name its method.
        device: where the learner is put.
        image_size: pixels a side for a checkpoint file, which does not hold its input size.
        typed: the method as the user named it; without it no user's code runs (`open_model`).

    Raises:
        UserError: no model or more than one model fits the name.
    """
    path = Path(name)
    if path.is_file() and not (path.name == "last.pt" and (path.parent / "spec.json").is_file()):
        if method.recipe is None:
            raise UserError(f"{method.name} has nothing to load: name another --method")
        model = external_model(method, path, device)
        return FoundModel(
            model.learner,
            str(path),
            None,
            None,
            image_size,
            None,
            None,
            "a checkpoint file does not hold them",
        )
    folder = _folder(path.parent if path.is_file() else path, name, work)
    _method, spec, model = open_model(folder, device, typed)
    return _with_facts(model, spec, folder, work)


def _folder(path: Path, name: str, work: Path) -> Path:
    if (path / "spec.json").is_file():
        return path
    if path.is_dir():
        raise UserError(f"checkpoint {name!r}: a folder without spec.json; give a folder under WORK/models")
    found = [spec.parent for spec in sorted((work / "models").glob("*/spec.json"))]
    fitting = [folder for folder in found if folder.name.startswith(name)]
    if len(fitting) != 1:
        names = ", ".join(folder.name for folder in fitting) or "none"
        raise UserError(
            f"checkpoint {name!r}: no such file, and {names} under {work / 'models'}; expected a file, a "
            "model folder, or the beginning of exactly one key"
        )
    return fitting[0]


def _with_facts(model: Model, spec: Mapping[str, Any], folder: Path, work: Path) -> FoundModel:
    """Return the model with modality and intensities, from the store of its training if it still exists."""
    store = _store(spec, work)
    facts = store.spec if store is not None else None
    if facts is None and spec["dataset"] in known_datasets():
        facts = load_dataset_spec(spec["dataset"])
    mean_std, reason = None, ""
    if spec["normalisation"] == "training-scans":
        if store is None:
            reason = f"no store {spec['dataset']} under {work / 'stores'}"
        elif store.hash != spec["store"]:
            reason = f"{store.path} is not the store of the training"
        else:
            shared = normalisation(store, "training-scans", spec["training_scans"])
            mean_std = shared.mean_std[store.index.scans[0]]
    return FoundModel(
        model.learner,
        folder.name,
        spec["dataset"],
        None if facts is None else facts.modality,
        spec["image_size"],
        spec["normalisation"],
        mean_std,
        reason or (f"no store {spec['dataset']} under {work / 'stores'}" if store is None else ""),
        facts,
        store is not None and store.hash != spec["store"],
    )


def _store(spec: Mapping[str, Any], work: Path) -> Store | None:
    folder = path_in(work / "stores", "dataset", spec["dataset"])
    return Store.open(folder) if (folder / "index.json").is_file() else None
