"""Probe of dense features before and after pre-training, by nearest neighbours of cells.

A third arm has random weights, as pre-training begins from, and BatchNorm statistics of the training
slices. It separates the gain of pre-training from the gain of statistics that fit the images.

The features are the maps of the dilated backbone that every learner with one map uses, in eval mode, before
the 1x1 convolution. Keys are cells of the fold's training scans, an equal number per class. Queries are
cells of its query scans. The k nearest keys of a query vote for their classes with their cosines (never
negative, because features follow a ReLU); the largest sum wins, and of equal sums the first class. Labels
serve only to know the classes of cells: no training sees them, and no choice depends on the result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from episodes.plan.roles import scan_roles
from episodes.plan.training_split import training_scans
from episodes.store.slices import Normalisation, SliceReader, normalisation
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.progress import progress
from fewshot.base.types import SliceRef
from fewshot.encoders.backbone_file import Pretraining
from fewshot.encoders.checkpoints import load_weights, weights_file
from fewshot.encoders.encoder import build_encoder
from fewshot.learners.nearest import nearest
from fewshot.learners.options import options_from
from fewshot.pretraining.densecl import DenseCLRecipe
from protocols.rules.audits import audit_images
from protocols.rules.spec import Protocol
from protocols.studies.batch_norm import calibrate_batch_norm
from protocols.studies.dense_features import (
    NO_CLASS,
    Classes,
    DrawnCells,
    Encode,
    count_hits,
    draw_cells,
    features_at,
    scan_classes,
)
from protocols.training.fold_weights import fill_fold
from protocols.training.models import find_pretraining
from protocols.training.pretraining import ensure_backbone
from results.comparison.probe import BACKGROUND, Probe, ScanRecall, Trial

# (encoder, store, training scans, intensities, work folder, device, seed) -> the backbone's file
MakeBackbone = Callable[[str, Store, tuple[str, ...], Normalisation, Path, torch.device, int], Path]


@dataclass(frozen=True)
class Pretrainer:
    """A pre-training: `recipe` is for the report; `backbone` returns the file and trains it if missing."""

    recipe: Mapping[str, Any]
    backbone: MakeBackbone


@dataclass(frozen=True)
class ProbeRequest:
    """The request of one probe, names resolved.

    `weights`: of the backbone before pre-training, may hold `{fold}`; `cells`: most cells drawn per class.
    """

    store: Store
    protocol: Protocol
    folds: tuple[int, ...]
    encoder: str
    weights: str
    seeds: tuple[int, ...]
    neighbours: int
    cells: int
    work: Path
    device: torch.device
    batch: int


@dataclass(frozen=True)
class FoldCells:
    """One fold: training and query scans, their slices, and the classes of all their cells."""

    fold: int
    training: tuple[str, ...]
    refs: Mapping[str, tuple[SliceRef, ...]]
    classes: Mapping[str, Classes]
    queries: tuple[str, ...]
    intensities: Normalisation


def densecl(settings: Mapping[str, str]) -> Pretrainer:
    """Return DenseCL's pre-training, with `settings` (from `--option`) over its published recipe."""
    recipe = options_from(DenseCLRecipe, settings)
    return Pretrainer(dataclasses.asdict(recipe), partial(ensure_backbone, recipe))


def run_probe(request: ProbeRequest, pretraining: Pretrainer) -> Probe:
    """Return the correctly classified cells of every query scan in each arm, per seed.

    Seed, fold and scan decide the drawn cells, which are the same in every arm.

    Raises:
        UserError: a number is below 1, no cell of the training scans shows a tested class, there are more
            neighbours than keys, or a file is missing or saw a query. All are checked before any training.
    """
    for flag, value in (("--neighbours", request.neighbours), ("--cells", request.cells)):
        if value < 1:
            raise UserError(f"{flag} {value}: expected 1 or more")
    if BACKGROUND in request.store.spec.tested:
        raise UserError(
            f"{request.store.spec.name} tests a class called {BACKGROUND!r}; give it another name"
        )
    known: dict[str, Classes] = {}
    folds = [_fold_cells(request, fold, known) for fold in request.folds]
    for cells in folds:
        _keys_per_class(request, cells)
        weights = fill_fold(request.weights, cells.fold)
        weights_file(weights, request.encoder, request.work / "weights")
        _audit(request, cells, find_pretraining(weights))
    trials = []
    with progress(len(request.seeds) * len(folds), "probe", unit="backbone") as bar:
        for seed in request.seeds:
            for cells in folds:
                trials.append(_trial(request, cells, seed, pretraining))
                bar.update()
    return Probe(
        dataset=request.store.spec.name,
        dataset_hash=request.store.hash,
        protocol=f"{request.protocol.name} version {request.protocol.version}",
        encoder=request.encoder,
        before=Path(request.weights).name,
        pretraining=dict(pretraining.recipe),
        classes=(*request.store.spec.tested, BACKGROUND),
        neighbours=request.neighbours,
        most_cells=request.cells,
        every_cell=sum(classes.size for classes in known.values()),
        left_out=sum(int(np.count_nonzero(classes == NO_CLASS)) for classes in known.values()),
        trials=tuple(trials),
    )


def votes(keys: Tensor, key_classes: Tensor, queries: Tensor, classes: int, neighbours: int) -> Tensor:
    """Return the class (N,) int64 with the most votes of each query's nearest keys.

    Keys (M,C) and queries (N,C) are float32 of length 1; `key_classes` (M,) int64 in 0 .. classes-1.
    """
    indices, cosines = nearest(queries, keys, neighbours)
    sums = torch.zeros(len(queries), classes, dtype=torch.float64)
    sums.scatter_add_(1, key_classes[indices], cosines.double())
    return sums.argmax(1)


def count_correct_cells(
    encode: Encode,
    reader: SliceReader,
    keys: DrawnCells,
    queries: Sequence[DrawnCells],
    classes: int,
    neighbours: int,
    *,
    batch: int,
    device: torch.device,
) -> list[tuple[int, ...]]:
    """Return, for each of `queries`, the number of correctly classified cells of each class."""
    take = partial(features_at, encode, reader, batch=batch, device=device)
    known, known_classes = take(keys), torch.from_numpy(keys.classes).long()
    found = []
    for side in queries:
        right = np.zeros(0, dtype=np.int8)
        if len(side.positions):
            classified = votes(known, known_classes, take(side), classes, neighbours).numpy()
            right = side.classes[classified == side.classes]
        found.append(count_hits(right, classes))
    return found


def _fold_cells(request: ProbeRequest, fold: int, known: dict[str, Classes]) -> FoldCells:
    """Return a fold's scans and their cells; `known` caches the classes of scans and gets new ones."""
    store, protocol = request.store, request.protocol
    roles = scan_roles(store.index.scans, store.spec, protocol.evaluation, fold)
    training = training_scans(store.index.scans, roles)
    intensities = normalisation(store, protocol.training.normalisation[store.spec.modality], training)
    reader = SliceReader(store, intensities)
    scans = (*training, *roles.queries)
    refs = {scan: store.index.all_slices((scan,)) for scan in scans}
    values = [store.spec.classes[name] for name in store.spec.tested]
    for scan in scans:
        if scan not in known:
            known[scan] = scan_classes(reader, refs[scan], values)
    return FoldCells(fold, training, refs, {scan: known[scan] for scan in scans}, roles.queries, intensities)


def _keys_per_class(request: ProbeRequest, cells: FoldCells) -> int:
    """Return the number of keys per class: the cells of the rarest training class, at most `cells`."""
    names = (*request.store.spec.tested, BACKGROUND)
    counts = count_hits(np.concatenate([cells.classes[scan] for scan in cells.training]), len(names))
    if not all(counts):
        raise UserError(
            f"fold {cells.fold} of {request.store.spec.name}: no cell of the training scans shows "
            f"{names[counts.index(0)]} in more than half of its pixels, expected one or more of every tested "
            "class; choose another fold, or prepare the dataset without that class among the tested"
        )
    each = min(request.cells, *counts)
    if request.neighbours > each * len(names):
        raise UserError(
            f"--neighbours {request.neighbours}: fold {cells.fold} has {each * len(names)} keys, {each} of "
            "each class; give at most that number"
        )
    return each


def _trial(request: ProbeRequest, cells: FoldCells, seed: int, pretraining: Pretrainer) -> Trial:
    """Return the hits of one seed and fold in each arm; pre-train a backbone if it is missing."""
    classes = len(request.store.spec.tested) + 1
    each = _keys_per_class(request, cells)
    keys = _draw(cells, cells.training, [each] * classes, seed, cells.fold, "keys")
    drawn = {
        scan: tuple(min(count, request.cells) for count in count_hits(cells.classes[scan], classes))
        for scan in cells.queries
    }
    queries = [
        _draw(cells, (scan,), counts, seed, cells.fold, "queries", scan) for scan, counts in drawn.items()
    ]
    begin = fill_fold(request.weights, cells.fold)
    before, before_hash = _encoder_hits(request, cells, seed, begin, keys, queries)
    calibrated, _no_file = _encoder_hits(request, cells, seed, "random", keys, queries, calibrate=True)
    path = pretraining.backbone(
        request.encoder, request.store, cells.training, cells.intensities, request.work, request.device, seed
    )
    _audit(request, cells, find_pretraining(str(path)))
    after, after_hash = _encoder_hits(request, cells, seed, str(path), keys, queries)
    scans = tuple(
        ScanRecall(scan, counts, *hits)
        for (scan, counts), *hits in zip(drawn.items(), before, calibrated, after, strict=True)
    )
    return Trial(seed, cells.fold, each, before_hash, str(after_hash), scans)


def _audit(request: ProbeRequest, cells: FoldCells, about: Pretraining | None) -> None:
    """Raise `AuditError` if a backbone with a known pre-training saw a query slice of the fold."""
    if about is not None:
        why = f"is a query of fold {cells.fold} of {request.store.spec.name}"
        audit_images(cells.queries, request.store, about, why)


def _encoder_hits(
    request: ProbeRequest,
    cells: FoldCells,
    seed: int,
    weights: str,
    keys: DrawnCells,
    queries: Sequence[DrawnCells],
    *,
    calibrate: bool = False,
) -> tuple[list[tuple[int, ...]], str | None]:
    """Return the hits of an encoder with these weights on every query scan, and the file's sha256.

    `calibrate`: take the BatchNorm statistics from the slices of the training scans.
    """
    encoder = build_encoder(request.encoder, seed)
    sha256 = load_weights(weights, encoder, request.work / "weights").sha256
    encoder.to(request.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    reader = SliceReader(request.store, cells.intensities)
    if calibrate:
        refs = [ref for scan in cells.training for ref in cells.refs[scan]]
        calibrate_batch_norm(encoder.backbone, reader, refs, seed, cells.fold, device=request.device)
    found = count_correct_cells(
        partial(_dense, encoder.backbone), reader, keys, queries,
        len(request.store.spec.tested) + 1, request.neighbours, batch=request.batch, device=request.device,
    )  # fmt: skip
    return found, sha256


def _draw(cells: FoldCells, scans: Sequence[str], counts: Sequence[int], *names: str | int) -> DrawnCells:
    """Return a draw of `counts[c]` cells of each class c from all slices of `scans`."""
    refs = tuple(ref for scan in scans for ref in cells.refs[scan])
    return draw_cells(refs, np.concatenate([cells.classes[scan] for scan in scans]), counts, *names)


def _dense(backbone: nn.Module, images: Tensor) -> Tensor:
    maps: Tensor = backbone(images.expand(-1, 3, -1, -1))
    return maps
