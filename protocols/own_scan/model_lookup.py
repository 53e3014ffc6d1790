"""A model found by key, folder or file, and what it says of the scans it may be asked about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from episodes.store.dataset import known_datasets, load_dataset_spec
from episodes.store.slices import normalisation
from episodes.store.store import Store
from fewshot.base.errors import UserError
from protocols.runs.external_checkpoint import external_model
from protocols.training.method import MethodConfig
from protocols.training.models import Model, open_model

RELEASED_SIZE = 256  # the input of every released checkpoint, pixels


@dataclass(frozen=True)
class FoundModel:
    """A learner ready to answer.

    `dataset` it was trained on and its `modality`, None where not known; `image_size` of its input in
    pixels; `rule`: its normalisation, None where not known; `mean_std`: the intensities of its training
    scans, None where the rule needs none or they are not known (`reason` then says why, in words).
    """

    learner: Any
    name: str
    dataset: str | None
    modality: str | None
    image_size: int
    rule: str | None
    mean_std: tuple[float, float] | None
    reason: str


def find_model(
    name: str,
    work: Path,
    method: MethodConfig,
    device: torch.device,
    image_size: int,
    typed: str | None = None,
) -> FoundModel:
    """Return the model of a checkpoint file, a model folder, or the beginning of a key under WORK/models.

    `method` and `image_size` are for files, which do not say what they were made for; `last.pt` of a model
    folder stands for the folder. `typed`: the method as the user named it, without which no user's code is
    run (`open_model`). Raises `UserError` where nothing or more than one thing is meant.
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
            f"checkpoint {name!r}: no such file, and {names} under {work / 'models'}; wanted a file, a model "
            "folder, or the beginning of exactly one key"
        )
    return fitting[0]


def _with_facts(model: Model, spec: Mapping[str, Any], folder: Path, work: Path) -> FoundModel:
    """Add modality and intensities, which the dataset's store knows while it is the one of the training."""
    store = _store(spec, work)
    modality = store.spec.modality if store is not None else None
    if modality is None and spec["dataset"] in known_datasets():
        modality = load_dataset_spec(spec["dataset"]).modality
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
        modality,
        spec["image_size"],
        spec["normalisation"],
        mean_std,
        reason,
    )


def _store(spec: Mapping[str, Any], work: Path) -> Store | None:
    folder = work / "stores" / str(spec["dataset"])
    return Store.open(folder) if (folder / "index.json").is_file() else None
