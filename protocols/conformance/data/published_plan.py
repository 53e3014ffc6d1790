"""Replay of the released programs' plans on volumes in the published layout.

It compares everything in `protocol.json` except Dice and superpixel maps: scans of every fold, support
slices, part and scored flag of every slice, training slices of both settings, CT intensity statistics.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.io.nifti import read_nifti
from episodes.plan.plan import EvaluationPlan, make_plan
from episodes.plan.roles import integer_sorted
from episodes.plan.training_split import with_superpixel
from episodes.store.dataset import DatasetSpec, load_dataset_spec
from episodes.store.index import ClassSliceIndex
from episodes.store.slices import normalisation
from protocols.conformance.quantity import Quantity
from protocols.rules.spec import Protocol, load_protocol

DATASETS = {"CHAOST2": "chaost2", "SABS": "sabs"}
SUPERPIXELS = "superpix-MIDDLE_"


def check(folder: Path) -> Iterator[Quantity]:
    """Yield one quantity per kind of entry: the number of differing entries over all folds and label sets."""
    published = json.loads((folder / "protocol.json").read_text())
    spec = load_dataset_spec(DATASETS[published["dataset"]])
    protocol = load_protocol("alpnet-ep1")
    index = published_index(folder, spec)
    wrong: Counter[str] = Counter()
    for fold in published["folds"]:
        for recorded in fold["label_sets"].values():
            wrong.update(count_differences(fold, recorded, index, spec, protocol))
    for name in sorted(wrong):
        yield Quantity(f"{folder.name}/{name}", float(wrong[name]), 0.0)
    if "ct_mean_std" in published["folds"][0]:
        yield Quantity(
            f"{folder.name}/ct_mean_std", _ct_error(folder, published, index, spec, protocol), 1e-12
        )


def published_index(folder: Path, spec: DatasetSpec) -> ClassSliceIndex:
    """Return the class-slice index of label and superpixel files in the published layout."""
    scans = integer_sorted(
        [path.name[len("label_") : -len(".nii.gz")] for path in folder.glob("label_*.nii.gz")]
    )
    labels = {scan: read_nifti(folder / f"label_{scan}.nii.gz").array for scan in scans}
    maps = {scan: read_nifti(folder / f"{SUPERPIXELS}{scan}.nii.gz").array for scan in scans}
    return ClassSliceIndex(
        scans,
        {scan: len(labels[scan]) for scan in scans},
        {
            name: {scan: shown for scan in scans if (shown := _slices(labels[scan] == value))}
            for name, value in spec.classes.items()
        },
        {scan: _slices(maps[scan] > 0) for scan in scans},
    )


def count_differences(
    fold: Mapping[str, Any],
    recorded: Mapping[str, Any],
    index: ClassSliceIndex,
    spec: DatasetSpec,
    protocol: Protocol,
) -> Counter[str]:
    """Return the number of differing entries of one fold and label set, by kind; every kind has a count."""
    names = {value: name for name, value in spec.classes.items()}
    tested = [names[value] for value in recorded["test_labels"]]
    first, second = (
        make_plan(index, spec, "published", protocol.evaluation, setting, fold["fold"], "tested", tested)
        for setting in (1, 2)
    )
    evaluated, split = first.evaluation, first.training
    wrong: Counter[str] = Counter()
    wrong["val_scans"] = _unequal(fold["val_scans"], [*evaluated.query_scans, *evaluated.support_scans])
    wrong["support_scan"] = _unequal(fold["support_scan"], evaluated.support_scans)
    wrong["train_scans"] = _unequal(fold["train_scans"], split.scans)
    wrong["train_slices_setting1"] = abs(recorded["n_train_slices_setting1"] - len(split.slices))
    trainable = with_superpixel(index, second.training.slices)
    wrong["train_slices_setting2"] = _unlike(
        map(tuple, recorded["train_slices_setting2"]), map(tuple, trainable)
    )
    wrong["support_slices"] = wrong["query_slices"] = 0
    for value, entry in recorded["classes"].items():
        wrong["support_slices"] += _unequal(entry["support_slices"], _support(evaluated, int(value)))
        wrong["query_slices"] += _unlike(map(tuple, entry["queries"]), _queries(evaluated, int(value)))
    return wrong


def _support(plan: EvaluationPlan, value: int) -> list[int]:
    """Return the support slices of one class, part by part, over all tasks."""
    found = {task.part: {ref.z for ref in task.support} for task in plan.tasks if task.class_value == value}
    return [z for part in sorted(found) for z in found[part]]


def _queries(plan: EvaluationPlan, value: int) -> Iterator[tuple[str, int, int, bool]]:
    for task in plan.tasks:
        if task.class_value == value:
            for ref, scored in zip(task.queries, task.scored, strict=True):
                yield ref.scan, ref.z, task.part, scored


def _unequal(expected: Sequence[Any], actual: Sequence[Any]) -> int:
    """Return at how many places two sequences differ; the rest of the longer one counts too."""
    different = sum(1 for a, b in zip(expected, actual, strict=False) if a != b)
    return different + abs(len(expected) - len(actual))


def _unlike(expected: Iterable[Hashable], actual: Iterable[Hashable]) -> int:
    """Return the number of entries, with repeats, that only one of two collections has."""
    ours, theirs = Counter(actual), Counter(expected)
    return sum((theirs - ours).values()) + sum((ours - theirs).values())


def _slices(shown: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(z) for z in np.flatnonzero(shown.any(axis=(1, 2))))


@dataclass(frozen=True)
class _Scan:
    """The arrays and the statistics of one volume, as in a store."""

    image: NDArray[Any]
    labels: NDArray[Any]
    superpixels: NDArray[Any]
    count: int
    mean: float
    m2: float

    @property
    def channels(self) -> NDArray[Any]:
        return self.image[None]

    @property
    def sentences(self) -> tuple[str, ...]:
        return ()

    @property
    def points(self) -> Mapping[str, tuple[float, float, float]]:
        return {}

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        raise ValueError("a published volume has no points, so its spacing is not kept")


@dataclass(frozen=True)
class _Volumes:
    """Published image files with the interface of a store; `normalisation` reads only statistics."""

    spec: DatasetSpec
    index: ClassSliceIndex
    scans: Mapping[str, _Scan]

    def scan(self, scan_id: str, /) -> _Scan:
        """Return one scan."""
        return self.scans[scan_id]


def _ct_error(
    folder: Path, published: Mapping[str, Any], index: ClassSliceIndex, spec: DatasetSpec, protocol: Protocol
) -> float:
    """Return the largest relative error of mean/std and 1/std over folds."""
    nothing = np.zeros((0, 0, 0), np.uint8)
    scans = {}
    for scan in index.scans:
        image = read_nifti(folder / f"image_{scan}.nii.gz").array
        values = image.astype(np.float64)
        mean = float(values.mean())
        scans[scan] = _Scan(image, nothing, nothing, values.size, mean, float(((values - mean) ** 2).sum()))
    volumes = _Volumes(spec, index, scans)
    errors = []
    for fold in published["folds"]:
        training = tuple(fold["train_scans"])
        rule = protocol.training.normalisation[spec.modality]
        mean, std = normalisation(volumes, rule, training).mean_std[training[0]]
        actual, expected = np.array([mean / std, 1 / std]), np.array(fold["ct_mean_std"])
        errors.append(float(np.max(np.abs(actual - expected) / np.abs(expected))))
    return max(errors)
