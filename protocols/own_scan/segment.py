"""Segmentation of a user's scan from one annotated scan: no store, no folds, no annotation of the query.

Without a range of query slices, the support's middle class slice (index int(length / 2) of its class slices)
serves every query slice, as in the protocol open-ep. With a range, the parts are those of alpnet-ep1: support
slices at 1/6, 1/2 and 5/6 of the class slices serve the thirds of the range (`range_thirds`). Slices outside
of the range stay empty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from episodes.io.nifti import NiftiImage
from episodes.plan.plan import EvaluationPlan
from episodes.plan.rules import EvaluationRules, range_thirds
from episodes.prepare.abdomen import back_to, prepare_ct, prepare_ct_label, prepare_mr, prepare_mr_label
from episodes.store.slices import Normalisation, SliceReader
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef, Task
from protocols.cells.evaluate import evaluate
from protocols.own_scan.model_lookup import RELEASED_SIZE, FoundModel
from protocols.own_scan.scan_pair import QUERY, SUPPORT, MemoryScan, ScanPair, SegmentationInput

MIDDLE = (1 / 2,)
THIRDS = (1 / 6, 1 / 2, 5 / 6)
PREPARATIONS = {"mr": (prepare_mr, prepare_mr_label), "ct": (prepare_ct, prepare_ct_label)}
ABDOMINAL = ("chaost2", "sabs")  # the sets whose preparation from files is known here
TURNED = 0.5  # a larger difference of direction-matrix entries means another axis or sign


@dataclass(frozen=True)
class SegmentedScan:
    """The class in the query's own grid: `mask` (Z,Y,X) bool.

    `predicted_slices`: slices of the prepared query, of `depth`, that the model segmented; `supports`: the
    slice of the prepared support that serves each part; `fallback_slices`: number of slices that the method's
    fallback segmented; `notes`: warnings for the user, one line each.
    """

    query: NiftiImage
    mask: NDArray[np.bool_]
    predicted_slices: tuple[int, ...]
    depth: int
    supports: tuple[int, ...]
    fallback_slices: int
    notes: tuple[str, ...]

    @property
    def voxels(self) -> int:
        """Return the number of foreground voxels."""
        return int(self.mask.sum())

    @property
    def volume_ml(self) -> float:
        """Return the foreground volume in millilitres, by the query's spacing."""
        return self.voxels * math.prod(self.query.spacing_mm) / 1000

    @property
    def shown(self) -> tuple[int, ...]:
        """Return the slices of the query file that have foreground voxels."""
        return tuple(int(z) for z in np.flatnonzero(self.mask.any(axis=(1, 2))))


def segment_scan(
    inputs: SegmentationInput, model: FoundModel, *, modality: str | None, prepared: bool,
    device: torch.device, batch: int,
) -> SegmentedScan:  # fmt: skip
    """Return the class in the query, on the query's own voxels.

    Intensities are normalised as in the model's training: each volume by its own mean and standard
    deviation, or by those of the training scans. If the latter are unknown, each volume's own are used and a
    note says so.

    Args:
        inputs: the three volumes and the class.
        model: the learner and the facts of its training.
        modality: "mr" or "ct", which chooses the preparation; None: the model's.
        prepared: whether the scans are prepared already.
        device: where the learner is.
        batch: most slices in one call of the encoder.

    Raises:
        UserError: the scans do not fit the model.
    """
    if not prepared and model.dataset not in (None, *ABDOMINAL):
        raise UserError(
            f"model {model.name} was trained on {model.dataset}, but scans are prepared here as "
            f"{' and '.join(ABDOMINAL)} are; prepare them as {model.dataset} was and add --prepared"
        )
    modality = modality or model.modality
    if modality is None:
        raise UserError(f"the modality of model {model.name} is not known here; say --modality mr or ct")
    notes = [
        f"{volume.path.name}: {text}"
        for volume in (inputs.support, inputs.mask, inputs.query)
        for text in volume.warnings
    ]
    if model.modality not in (None, modality):
        notes.append(f"the model was trained on {model.modality}, the scans are taken for {modality}")
    if np.abs(np.subtract(inputs.support.direction, inputs.query.direction)).max() > TURNED:
        notes.append(
            "the headers of support and query give different axes; array order counts, nothing is turned"
        )
    support, label, query = _prepare(inputs, model, modality, prepared)
    size = model.image_size
    shown = [int(z) for z in np.flatnonzero(label.array[:, :size, :size].any(axis=(1, 2)))]
    if not shown:
        raise UserError(
            f"{inputs.mask.path}: nothing of value {inputs.value} is left after preparation and the cut "
            f"to {size} x {size} pixels; check that the mask fits its image"
        )
    pair = ScanPair(
        MemoryScan(support.array, label.array),
        MemoryScan(query.array, np.zeros_like(query.array, np.uint8)),
        size,
    )
    intensities, note = _intensities(pair, model, modality)
    notes += note
    tasks = _tasks(shown, _prepared_range(inputs, query))
    plan = _plan(tasks)
    found = np.zeros(query.array.shape, dtype=np.uint8)

    def insert_masks(_plan: EvaluationPlan, task: Task, masks: NDArray[np.bool_]) -> None:
        for ref, mask in zip(task.queries, masks, strict=True):
            found[ref.z, :size, :size] = mask

    reader = SliceReader(pair, intensities)
    (evaluation,) = evaluate(model.learner, [plan], reader, device=device, batch=batch, on_masks=insert_masks)
    segmented = replace(query, array=found)
    mask = found.astype(bool) if prepared else back_to(inputs.query, segmented)
    if inputs.slices is not None:
        first, last = inputs.slices
        mask[:first] = False
        mask[last + 1 :] = False
    return SegmentedScan(
        inputs.query,
        mask,
        tuple(sorted(ref.z for task in tasks for ref in task.queries)),
        len(query.array),
        tuple(task.support[0].z for task in tasks),
        evaluation.fallback_slices,
        tuple(notes),
    )


def _prepare(
    inputs: SegmentationInput, model: FoundModel, modality: str, prepared: bool
) -> tuple[NiftiImage, NiftiImage, NiftiImage]:
    """Return support, its mask (0 and 1) and query in the model's geometry; `UserError` for small slices."""
    binary = replace(inputs.mask, array=(inputs.mask.array == inputs.value).astype(np.uint8))
    if prepared:
        volumes = inputs.support, binary, inputs.query
    elif model.image_size != RELEASED_SIZE:
        raise UserError(
            f"model {model.name} takes {model.image_size} x {model.image_size} pixels, preparation gives "
            f"{RELEASED_SIZE} x {RELEASED_SIZE}; prepare the scans as its dataset was and add --prepared"
        )
    else:
        image, label = PREPARATIONS[modality]
        volumes = image(inputs.support), label(binary, (1,)), image(inputs.query)
    for volume in (volumes[0], volumes[2]):
        if min(volume.array.shape[1:]) < model.image_size:
            how = "prepare it with padding" if prepared else "a CT of 512 x 512 pixels gives enough"
            raise UserError(
                f"{volume.path} has slices of {volume.array.shape[1]} x {volume.array.shape[2]} pixels"
                f"{'' if prepared else ' after preparation'}, expected at least {model.image_size} x "
                f"{model.image_size}; {how}"
            )
    return volumes


def _intensities(pair: ScanPair, model: FoundModel, modality: str) -> tuple[Normalisation, list[str]]:
    """Return the normalisation of both volumes, and a note if it is not that of the training."""
    if model.mean_std is not None and model.modality == modality:
        both = dict.fromkeys((SUPPORT, QUERY), model.mean_std)
        return Normalisation("training-scans", MappingProxyType(both)), []
    own = {}
    for scan in (SUPPORT, QUERY):
        volume = pair.scan(scan)
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
    places = [
        float(
            onto @ (np.asarray(source.origin) + columns[:, 2] * z * source.spacing_mm[0] - query.origin)
            / query.spacing_mm[0]
        )
        for z in inputs.slices
    ]  # fmt: skip
    first, stop = math.floor(places[0] + 1e-6), math.ceil(places[1] - 1e-6)
    return max(first, 0), min(stop, last), True


def _tasks(shown: list[int], slice_range: tuple[int, int, bool]) -> tuple[Task, ...]:
    """Return one task per part that has query slices; `shown`: the support's class slices."""
    first, last, ranged = slice_range
    fractions = THIRDS if ranged else MIDDLE
    tasks = []
    for part, fraction in enumerate(fractions):
        served = [z for z in range(first, last + 1) if range_thirds(z, (first, last), len(fractions)) == part]
        if served:
            support = (SliceRef(SUPPORT, shown[int(fraction * len(shown))]),)
            queries = tuple(SliceRef(QUERY, z) for z in served)
            tasks.append(Task("class", 1, part, support, queries, (True,) * len(served)))
    return tuple(tasks)


def _plan(tasks: tuple[Task, ...]) -> EvaluationPlan:
    """Return the tasks as a plan, the input of `evaluate`."""
    return EvaluationPlan(
        dataset="own", dataset_hash="", fold=0, group="own", classes=("class",),
        rules=EvaluationRules(), query_scans=(QUERY,), support_scans=(SUPPORT,), tasks=tasks, undefined=(),
    )  # fmt: skip
