"""Segmentation of a user's scan from annotated scans: no folds, no annotation of the query.

N slices of each support serve, at the fractions 1/2N, 3/2N, ... of its class slices. Without a range of
query slices, all of them support every query slice; N is 1 by default, the middle slice as in the protocol
open-ep. With a range, slice k of each support serves part k of N of the range (`range_thirds`), and slices
outside of it stay empty; N is 3 by default, as in alpnet-ep1. Each class has its own support slices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from episodes.io.nifti import NiftiImage, original_of
from episodes.io.original_grid import mask_to_original_grid
from episodes.plan.plan import EvaluationPlan
from episodes.plan.rules import EvaluationRules, range_thirds
from episodes.store.slices import Normalisation, SliceReader
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef, Task
from protocols.cells.evaluate import evaluate
from protocols.cells.label_map import merge_masks
from protocols.own_scan.dataset_rules import rules_of
from protocols.own_scan.memory_dataset import MemoryDataset, MemoryScan
from protocols.own_scan.model_lookup import FoundModel
from protocols.own_scan.segmentation_input import SUPPORT, SegmentationInput

QUERY = "query"
MIDDLE, THIRDS = 1, 3  # support slices of a scan: without a range of query slices, and with one
MOST_CLASSES = 255
TURNED = 0.5  # a larger difference of direction-matrix entries means another axis or sign
ALONG = 0.5  # of the cosine between slice axes of file and prepared volume: less means another axis


@dataclass(frozen=True)
class SegmentedScan:
    """The classes in the query: `label_map` (Z,Y,X) with their values, on the grid of `reference`.

    `reference`: the query as in its file, or prepared; `in_several`: voxels that lie in the masks of several
    classes; `predicted_slices`: slices of the prepared query, of `depth`, that the model segmented;
    `supports`: class value -> for each part (number of the support from 0, prepared slice) of its support
    slices; `fallback_slices`: number of slices that the method's fallback segmented; `rules`: how the scans
    were prepared; `notes`: warnings for the user, one line each.
    """

    reference: NiftiImage
    label_map: NDArray[Any]
    in_several: int
    predicted_slices: tuple[int, ...]
    depth: int
    supports: Mapping[int, tuple[tuple[tuple[int, int], ...], ...]]
    fallback_slices: int
    rules: str
    notes: tuple[str, ...]

    def voxels(self, value: int) -> int:
        """Return the number of voxels of a class."""
        return int((self.label_map == value).sum())

    def volume_ml(self, value: int) -> float:
        """Return the volume of a class in millilitres, by the spacing of `reference`."""
        return self.voxels(value) * math.prod(self.reference.spacing_mm) / 1000

    def shown(self, value: int | None = None) -> tuple[int, ...]:
        """Return the slices of `reference` that have voxels of a class, or of any class."""
        inside = self.label_map > 0 if value is None else self.label_map == value
        return tuple(int(z) for z in np.flatnonzero(inside.any(axis=(1, 2))))


def segment_scan(
    inputs: SegmentationInput, model: FoundModel, *, modality: str | None, prepared: bool,
    device: torch.device, batch: int, support_slices: int | None = None, grid: str = "original",
) -> SegmentedScan:  # fmt: skip
    """Return the classes in the query.

    Scans are prepared as the model's dataset (`rules_of`). Intensities are normalised as in the model's
    training: each volume by its own mean and standard deviation, or by those of the training scans. If the
    latter are unknown, each volume's own are used and a note says so.

    Args:
        inputs: the volumes and the classes.
        model: the learner and the facts of its training.
        modality: "mr" or "ct"; None: the model's.
        prepared: whether the scans are prepared already.
        device: where the learner is.
        batch: most slices in one call of the encoder.
        support_slices: slices of each support for each class; None: 3 with a range of slices, else 1.
        grid: of the label map: "original", the query's own voxels, or "store", the prepared slices.

    Raises:
        UserError: the scans do not fit the model.
    """
    modality = modality or model.modality
    if modality is None:
        raise UserError(f"the modality of model {model.name} is not known here; say --modality mr or ct")
    if len(inputs.values) > MOST_CLASSES:
        raise UserError(
            f"{len(inputs.values)} classes, expected {MOST_CLASSES} or fewer; choose with --label"
        )
    rules = rules_of(model, modality, prepared=prepared)
    notes = _notes(inputs, model, modality, prepared)
    codes = {value: code for code, value in enumerate(inputs.values, start=1)}
    query = rules.image(inputs.query)
    _check_size(query, model, prepared)
    scans: dict[str, MemoryScan] = {}
    for number, support in enumerate(inputs.supports):
        image = rules.image(support.image)
        _check_size(image, model, prepared)
        label = rules.label(_coded(support.mask, codes), tuple(codes.values()))
        scans[f"{SUPPORT} {number}"] = MemoryScan(image.array, label.array)
    shown = {value: _class_slices(scans, code, model.image_size) for value, code in codes.items()}
    for value, slices in shown.items():
        if not any(slices.values()):
            raise UserError(
                f"{' and '.join(str(support.mask.path) for support in inputs.supports)}: nothing of value "
                f"{value} is left after preparation and the cut to {model.image_size} x {model.image_size} "
                "pixels; check that the mask fits its image"
            )
    scans[QUERY] = MemoryScan(query.array, np.zeros_like(query.array, np.uint8))
    dataset = MemoryDataset(scans, model.image_size)
    intensities, note = _intensities(dataset, model, modality)
    notes += note
    span = _prepared_range(inputs, query)
    count = support_slices or (THIRDS if inputs.slices is not None else MIDDLE)
    tasks = tuple(
        task for value, code in codes.items() for task in _tasks(value, code, shown[value], span, count)
    )
    plan = _plan(tasks)
    found = {value: np.zeros(query.array.shape, dtype=bool) for value in inputs.values}
    size = model.image_size

    def insert_masks(_plan: EvaluationPlan, task: Task, masks: NDArray[np.bool_]) -> None:
        for ref, mask in zip(task.queries, masks, strict=True):
            found[int(task.class_name)][ref.z, :size, :size] = mask

    reader = SliceReader(dataset, intensities)
    (evaluation,) = evaluate(model.learner, [plan], reader, device=device, batch=batch, on_masks=insert_masks)
    reference, masks = query, found
    if grid == "original":
        reference, original = inputs.query, original_of(query)
        masks = {value: mask_to_original_grid(mask, original) for value, mask in found.items()}
        if inputs.slices is not None:
            first, last = inputs.slices
            for mask in masks.values():
                mask[:first] = False
                mask[last + 1 :] = False
    label_map, in_several = merge_masks(masks)
    return SegmentedScan(
        reference,
        label_map,
        in_several,
        tuple(sorted({ref.z for task in tasks for ref in task.queries})),
        len(query.array),
        {
            value: tuple(
                tuple((int(ref.scan.removeprefix(SUPPORT)), ref.z) for ref in task.support)
                for task in tasks
                if task.class_name == str(value)
            )
            for value in inputs.values
        },
        evaluation.fallback_slices,
        rules.text,
        tuple(notes),
    )


def _notes(inputs: SegmentationInput, model: FoundModel, modality: str, prepared: bool) -> list[str]:
    """Return warnings on headers, modality, axes, and a store that is not that of the training."""
    volumes = [
        *(volume for support in inputs.supports for volume in (support.image, support.mask)), inputs.query
    ]  # fmt: skip
    notes = [f"{volume.path.name}: {text}" for volume in volumes for text in volume.warnings]
    if model.modality not in (None, modality):
        notes.append(f"the model was trained on {model.modality}, the scans are taken for {modality}")
    turns = prepared or model.spec is None or model.spec.orientation == "as-is"
    if turns and any(
        np.abs(np.subtract(support.image.direction, inputs.query.direction)).max() > TURNED
        for support in inputs.supports
    ):
        notes.append(
            "the headers of support and query give different axes; array order counts, nothing is turned"
        )
    if model.store_differs and not prepared:
        notes.append(f"the store of {model.dataset} is not that of the training; its rules are used")
    return notes


def _coded(mask: NiftiImage, codes: Mapping[int, int]) -> NiftiImage:
    """Return a label map with the classes numbered by `codes`, uint8; other values become 0."""
    array = np.zeros(mask.array.shape, dtype=np.uint8)
    for value, code in codes.items():
        array[mask.array == value] = code
    return replace(mask, array=array)


def _class_slices(scans: Mapping[str, MemoryScan], code: int, size: int) -> dict[str, list[int]]:
    """Return support -> its prepared slices that show a class in the model's square."""
    return {
        scan: np.flatnonzero((volume.labels[:, :size, :size] == code).any(axis=(1, 2))).tolist()
        for scan, volume in scans.items()
    }


def _check_size(volume: NiftiImage, model: FoundModel, prepared: bool) -> None:
    if min(volume.array.shape[1:]) < model.image_size:
        how = "prepare it with padding" if prepared else "give scans with the field of view of its dataset"
        raise UserError(
            f"{volume.path} has slices of {volume.array.shape[1]} x {volume.array.shape[2]} pixels"
            f"{'' if prepared else ' after preparation'}, expected at least {model.image_size} x "
            f"{model.image_size}; {how}"
        )


def _intensities(dataset: MemoryDataset, model: FoundModel, modality: str) -> tuple[Normalisation, list[str]]:
    """Return the normalisation of all volumes, and a note if it is not that of the training."""
    if model.mean_std is not None and model.modality == modality:
        shared = dict.fromkeys(dataset.index.scans, model.mean_std)
        return Normalisation("training-scans", MappingProxyType(shared)), []
    own = {}
    for scan in dataset.index.scans:
        volume = dataset.scan(scan)
        if volume.m2 <= 0:
            raise UserError(f"the {scan} scan has one intensity everywhere; give an image, not a mask")
        own[scan] = (volume.mean, math.sqrt(volume.m2 / volume.count))
    needs_training_scans = model.rule == "training-scans" or (model.rule is None and modality == "ct")
    if not needs_training_scans:
        return Normalisation("per-scan", MappingProxyType(own)), []
    why = model.reason or f"those of the training are of {model.modality}"
    note = (
        f"intensities: the training's mean and deviation are not known ({why}), each volume's own are taken"
    )
    return Normalisation("per-scan", MappingProxyType(own)), [note]


def _prepared_range(inputs: SegmentationInput, query: NiftiImage) -> tuple[int, int, bool]:
    """Return the first and last slice of the prepared query to segment, and whether the user gave a range.

    Slices of the file lie between slices of the prepared volume, so the range is widened to whole slices.
    """
    last = len(query.array) - 1
    if inputs.slices is None:
        return 0, last, False
    source = inputs.query
    columns = np.asarray(source.direction).reshape(3, 3)
    onto = np.asarray(query.direction).reshape(3, 3)[:, 2]
    if abs(float(onto @ columns[:, 2])) < ALONG:
        raise UserError(
            f"{source.path}: slices of the file do not lie along those of the model's dataset, so --slices "
            "names no range of them; leave it out"
        )
    places = sorted(
        float(
            onto @ (np.asarray(source.origin) + columns[:, 2] * z * source.spacing_mm[0] - query.origin)
            / query.spacing_mm[0]
        )
        for z in inputs.slices
    )  # fmt: skip
    first, stop = math.floor(places[0] + 1e-6), math.ceil(places[1] - 1e-6)
    return max(first, 0), min(stop, last), True


def _tasks(
    value: int, code: int, shown: Mapping[str, Sequence[int]], span: tuple[int, int, bool], count: int
) -> list[Task]:
    """Return the tasks of a class, one per part that has query slices.

    Args:
        value: of the class, its name.
        code: of the class in the prepared label maps.
        shown: support -> its class slices; supports without any serve nothing.
        span: as `_prepared_range` returns it.
        count: slices of each support.
    """
    first, last, ranged = span
    slices = {
        scan: [places[int((2 * k + 1) / (2 * count) * len(places))] for k in range(count)]
        for scan, places in shown.items()
        if places
    }
    tasks = []
    for part in range(count if ranged else 1):
        served = [
            z for z in range(first, last + 1) if not ranged or range_thirds(z, (first, last), count) == part
        ]
        if served:
            refs = dict.fromkeys(
                SliceRef(scan, z)
                for scan, places in slices.items()
                for z in (places[part : part + 1] if ranged else places)
            )
            queries = tuple(SliceRef(QUERY, z) for z in served)
            tasks.append(Task(str(value), code, part, tuple(refs), queries, (True,) * len(served)))
    return tasks


def _plan(tasks: tuple[Task, ...]) -> EvaluationPlan:
    """Return the tasks as a plan, the input of `evaluate`."""
    supports = tuple(dict.fromkeys(ref.scan for task in tasks for ref in task.support))
    return EvaluationPlan(
        dataset="own", dataset_hash="", fold=0, group="own",
        classes=tuple(dict.fromkeys(task.class_name for task in tasks)),
        rules=EvaluationRules(), query_scans=(QUERY,), support_scans=supports, tasks=tasks, undefined=(),
    )  # fmt: skip
