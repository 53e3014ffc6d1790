"""Replay of Dice, precision and recall of the released SSL-ALPNet on small published-layout volumes."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from episodes.io.nifti import read_nifti
from episodes.plan.plan import make_plan
from episodes.prepare.paired_nifti import prepare_published
from episodes.store.dataset import load_dataset_spec
from episodes.store.slices import SliceReader, normalisation
from episodes.store.store import Store
from fewshot.base.types import ScanScore
from fewshot.encoders.encoder import build_encoder
from fewshot.learners.registry import resolve_method
from protocols.cells.evaluate import evaluate
from protocols.conformance.quantity import Quantity
from protocols.conformance.replays.weights import made_by_name
from protocols.rules.spec import load_protocol
from results.metrics.counts import precision, recall

TOLERANCE = 1e-4
DATASETS = {"CHAOST2": "chaost2", "SABS": "sabs"}


def check(folder: Path) -> Iterator[Quantity]:
    """Yield one quantity per recorded fold, label set and measure: the largest error of any score."""
    published = json.loads((folder / "protocol.json").read_text())
    recorded = [
        (fold, found)
        for fold in published["folds"]
        for found in fold["label_sets"].values()
        if "dice_by_scan" in found
    ]
    if not recorded:
        return
    side = min(read_nifti(next(folder.glob("image_*.nii.gz"))).array.shape[1:])
    spec = load_dataset_spec(DATASETS[published["dataset"]])
    spec = dataclasses.replace(spec, image_size=min(side, spec.image_size))  # these volumes are small
    protocol = load_protocol("alpnet-ep1")
    cls = resolve_method("ssl-alpnet")
    learner = cls(build_encoder("resnet101", 0), cls.Options())
    learner.load_state_dict(made_by_name({k: tuple(v.shape) for k, v in learner.state_dict().items()}))
    learner.eval()
    with tempfile.TemporaryDirectory() as temporary:
        store = prepare_published(folder, spec, Path(temporary) / spec.name)
        for fold, found in recorded:
            scores = _scores(learner, store, protocol, fold["fold"], found["test_labels"])
            name = f"{folder.name}/fold{fold['fold']}/labels{'-'.join(map(str, found['test_labels']))}"
            yield Quantity(f"{name}/dice", _error(found["dice_by_scan"], scores, _dice), TOLERANCE)
            yield Quantity(
                f"{name}/precision", _error(found["precision_by_scan"], scores, _precision), TOLERANCE
            )
            yield Quantity(f"{name}/recall", _error(found["recall_by_scan"], scores, _recall), TOLERANCE)


def _scores(learner: Any, store: Store, protocol: Any, fold: int, labels: list[int]) -> list[list[ScanScore]]:
    """Return scores: a row per query scan, a column per class in the order of the class values."""
    names = [
        name for value in sorted(labels) for name, stored in store.spec.classes.items() if stored == value
    ]
    plan = make_plan(store.index, store.spec, store.hash, protocol.evaluation, 1, fold, "recorded", names)
    rule = protocol.training.normalisation[store.spec.modality]
    reader = SliceReader(store, normalisation(store, rule, plan.training.scans))
    (evaluation,) = evaluate(learner, [plan.evaluation], reader, device=torch.device("cpu"), batch=2)
    by_name = {(score.scan, score.class_name): score for score in evaluation.scores}
    return [[by_name[scan, name] for name in names] for scan in plan.evaluation.query_scans]


def _error(expected: list[list[float]], scores: list[list[ScanScore]], measure: Any) -> float:
    actual = [[measure(score) for score in row] for row in scores]
    return float(np.abs(np.array(expected) - np.array(actual)).max())  # NaN fails every tolerance


def _dice(score: ScanScore) -> float:
    return float("nan") if score.dice is None else score.dice


def _precision(score: ScanScore) -> float:
    value = precision(score.tp, score.fp)
    return float("nan") if value is None else value


def _recall(score: ScanScore) -> float:
    value = recall(score.tp, score.fn)
    return float("nan") if value is None else value
