"""Labels of the tested classes for supervised trainings: checks, their description, and the batches."""

from __future__ import annotations

from typing import Any

from episodes.plan.plan import CellPlan
from episodes.sampling.labelled import LabelledSlices
from episodes.store.sentences import CLASSES, POSITIONS, STORED
from episodes.store.slices import SliceReader
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.files.atomic_io import hash_of
from fewshot.identity.regimes import needs_of
from fewshot.learners.recipe import Recipe

DESCRIPTION = {"kind": "labels of the tested classes"}  # in place of pseudo-labels, in a model's spec


SENTENCES = {
    STORED: "of the dataset", CLASSES: "made from class names", POSITIONS: "derived from labels"
}  # fmt: skip


def check_needs(name: str, learner: type[Any], store: Store, setting: int, options: Any = None) -> None:
    """Raise `UserError` if a store cannot give what a learner class declares.

    Args:
        name: the method, for messages.
        learner: its class.
        store: the dataset.
        setting: 1 or 2; setting 2 leaves no slice that shows a tested class.
        options: of the method; `sentences` names the kind of its sentences.
    """
    needs = needs_of(learner)
    if needs.labels == "target" and setting != 1:
        raise UserError(
            f"{name} trains on labels of the tested classes, and setting 2 takes the slices that show them "
            "out of training; use --setting 1"
        )
    if needs.sentence and sentence_kind(options) == STORED and not store.has_sentences:
        raise UserError(
            f"{name} needs a sentence for each slice, and {store.spec.name} has none; choose a dataset that "
            f"has them, or give --option sentences={CLASSES} or --option sentences={POSITIONS}"
        )
    if needs.points and not store.has_points:
        raise UserError(
            f"{name} needs points, and {store.spec.name} has none; choose a dataset that has them"
        )
    if needs.channels > 1 and needs.channels != len(store.spec.channels):
        raise UserError(
            f"{name} needs {needs.channels} channels, and {store.spec.name} has "
            f"{len(store.spec.channels) or 1}; choose a dataset with that many"
        )


def sentence_kind(options: Any) -> str:
    """Return the kind of sentences that a method's options name; "stored" without such an option."""
    return str(getattr(options, "sentences", STORED))


def sentences_part(learner: type[Any], options: Any) -> dict[str, str]:
    """Return where a method's sentences are from, for spec and records; empty for one without."""
    return {"sentences": SENTENCES[sentence_kind(options)]} if needs_of(learner).sentence else {}


def check_target_labels(plan: CellPlan, store: Store) -> None:
    """Raise `UserError` if no training slice shows a tested class."""
    for name in plan.evaluation.classes:
        shown = {scan: set(store.index.slices_of(name, scan)) for scan in plan.training.scans}
        if not any(ref.z in shown[ref.scan] for ref in plan.training.slices):
            raise UserError(
                f"no training slice of fold {plan.evaluation.fold} shows {name}, so a supervised method "
                "cannot learn it; choose another fold or group"
            )


def labels_part(plan: CellPlan) -> dict[str, Any]:
    """Return the description of the labels that a supervised training reads, for spec and records."""
    evaluated, split = plan.evaluation, plan.training
    return {
        "classes": list(evaluated.classes),
        "support_scans": [],
        "slices": len(split.slices),
        "hash": hash_of([list(evaluated.classes), [list(ref) for ref in split.slices]])[:16],
    }


def labelled_slices(
    reader: SliceReader, plan: CellPlan, store: Store, learner: type[Any], recipe: Recipe, seed: int,
    options: Any = None,
) -> LabelledSlices:  # fmt: skip
    """Return the batches of a supervised training.

    Args:
        reader: of the training scans.
        plan: names the training slices and the tested classes.
        store: the dataset of the training.
        learner: the class, which declares how many channels it needs.
        recipe: batch and augmentation.
        seed: of the training.
        options: of the method, for the kind of its sentences.
    """
    points = store.point_names if needs_of(learner).points else ()
    values = {name: store.spec.classes[name] for name in plan.evaluation.classes}
    return LabelledSlices(
        reader, plan.training.slices, values, channels=channels_of(learner, store), points=points, seed=seed,
        batch=recipe.batch, augmentation=recipe.augmentation,
        sentences=sentence_kind(options) if needs_of(learner).sentence else "",
    )  # fmt: skip


def channels_of(learner: type[Any], store: Store) -> int:
    """Return how many channels a learner class gets from a store; 1: the grey slice."""
    return 1 if needs_of(learner).channels == 1 else max(1, len(store.spec.channels))
