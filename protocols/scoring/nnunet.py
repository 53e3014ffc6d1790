"""nnU-Net beside the learners: export a fold in its raw layout, run its commands, write masks for `score`.

nnU-Net v2 (Isensee et al., Nature Methods 2021) is a program of its own: install it apart. It trains on the
labels of the tested classes in the fold's training scans, so its rows are supervised.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from episodes.io.nifti import read_label, write_nifti
from episodes.plan.plan import CellPlan
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.files.atomic_io import write_json

COMMANDS = ("nnUNetv2_plan_and_preprocess", "nnUNetv2_train", "nnUNetv2_predict")
NUMBER = 901  # of the data set in nnU-Net's folders, one folder a cell
MASKS = "masks"


@dataclass(frozen=True)
class NnUNetRun:
    """How nnU-Net runs: `folder` receives a folder a cell; `configuration` and `trainer` are its names."""

    folder: Path
    configuration: str = "2d"
    trainer: str = "nnUNetTrainer"

    def cell_folder(self, plan: CellPlan) -> Path:
        """Return the folder of a cell's raw data, models and predictions."""
        return self.folder / f"fold{plan.evaluation.fold}_{plan.evaluation.group}"


def check_commands() -> None:
    """Raise `UserError` unless nnU-Net's commands are on the path."""
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        raise UserError(
            f"{missing[0]} is not on the path, expected the commands of nnU-Net v2; install it (pip install "
            "nnunetv2) in this environment or put its programs on PATH"
        )


def run_cell(settings: NnUNetRun, plan: CellPlan, store: Store) -> None:
    """Export a cell, train nnU-Net on it and write a mask file for each query scan and class.

    A cell whose masks are complete is left as it is.

    Args:
        settings: folders and names.
        plan: of one fold and group.
        store: the prepared dataset.

    Raises:
        UserError: a command of nnU-Net fails, or a prediction is missing or of another shape.
    """
    masks = mask_folder(settings, plan)
    if all((masks / name).is_file() for name in _mask_names(plan)):
        return
    home = settings.cell_folder(plan)
    raw = export_cell(home, plan, store)
    places = {"nnUNet_raw": home / "raw", "nnUNet_preprocessed": home / "preprocessed"}
    places |= {"nnUNet_results": home / "results"}
    number, configuration = str(NUMBER), settings.configuration
    predicted = home / "predicted"
    _call([COMMANDS[0], "-d", number, "-c", configuration], places)
    _call([COMMANDS[1], number, configuration, "all", "-tr", settings.trainer], places)
    words = [COMMANDS[2], "-i", str(raw / "imagesTs"), "-o", str(predicted), "-d", number]
    _call([*words, "-c", configuration, "-f", "all", "-tr", settings.trainer], places)
    for scan in plan.evaluation.query_scans:
        _write_masks(predicted / f"{scan}.nii.gz", masks, scan, plan, store)


def export_cell(home: Path, plan: CellPlan, store: Store) -> Path:
    """Write the training scans with labels and the query scans without; return the data set's folder.

    The labels of the tested classes become 1 to K in the order of the group; other classes are background.
    Channels of a store become channels of nnU-Net.
    """
    evaluated = plan.evaluation
    raw = home / "raw" / f"Dataset{NUMBER}_{evaluated.dataset.replace('-', '_')}"
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (raw / name).mkdir(parents=True, exist_ok=True)
    for folder, scans in (("imagesTr", plan.training.scans), ("imagesTs", evaluated.query_scans)):
        for scan in scans:
            stored = store.scan(scan)
            grid = (stored.spacing_mm, stored.origin, stored.direction)
            for number, channel in enumerate(stored.channels):
                write_nifti(raw / folder / f"{scan}_{number:04d}.nii.gz", np.asarray(channel), *grid)
            if folder == "imagesTr":
                labels = np.zeros(stored.labels.shape, dtype=np.uint8)
                for place, name in enumerate(evaluated.classes, start=1):
                    labels[stored.labels == store.spec.classes[name]] = place
                write_nifti(raw / "labelsTr" / f"{scan}.nii.gz", labels, *grid)
    names = store.spec.channels or (store.spec.modality.upper(),)
    write_json(
        raw / "dataset.json",
        {
            "channel_names": {str(number): name for number, name in enumerate(names)},
            "labels": {"background": 0} | {n: place for place, n in enumerate(evaluated.classes, start=1)},
            "numTraining": len(plan.training.scans),
            "file_ending": ".nii.gz",
        },
    )
    return raw


def mask_folder(settings: NnUNetRun, plan: CellPlan) -> Path:
    """Return the folder of a cell's mask files, as `mask_pattern` names it for `score`."""
    return settings.folder / MASKS / f"{plan.evaluation.fold}_{plan.evaluation.group}"


def mask_pattern(settings: NnUNetRun) -> str:
    """Return the pattern of the folders of mask files."""
    return str(settings.folder / MASKS / "{fold}_{group}")


def _mask_names(plan: CellPlan) -> list[str]:
    tasks = plan.evaluation.tasks
    return [f"scan_{t.queries[0].scan}_label_{t.class_value}.nii.gz" for t in tasks if t.queries]


def _write_masks(path: Path, masks: Path, scan: str, plan: CellPlan, store: Store) -> None:
    """Write one mask file a class from a predicted label map."""
    if not path.is_file():
        raise UserError(f"nnU-Net wrote no {path}, expected a label map for scan {scan}; look at its output")
    labels, stored = read_label(path).array, store.scan(scan)
    if labels.shape != stored.labels.shape:
        raise UserError(
            f"{path} has shape {labels.shape}, expected {stored.labels.shape}; delete it and run again"
        )
    masks.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(plan.evaluation.classes, start=1):
        file = masks / f"scan_{scan}_label_{store.spec.classes[name]}.nii.gz"
        write_nifti(file, labels == place, stored.spacing_mm, stored.origin, stored.direction)


def _call(words: Sequence[str], places: dict[str, Path]) -> None:
    """Run one command of nnU-Net with its folders in the environment; `UserError` if it fails."""
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {name: str(place) for name, place in places.items()}
    status = subprocess.run(list(words), env=environment, check=False).returncode
    if status:
        raise UserError(f"{' '.join(words)} ended with status {status}, expected 0; its output stands above")
