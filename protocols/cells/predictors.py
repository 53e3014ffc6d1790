"""Predictors: the scores of a task's query slices, from a learner with `logits` or with `segment` alone."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from episodes.store.slices import SliceReader
from fewshot.base.errors import UserError
from fewshot.base.memory import Batches, out_of_memory, to_device
from fewshot.base.precision import autocast_to, check_precision
from fewshot.base.types import SliceRef, Support, Task
from fewshot.encoders.checkpoints import check_finite
from fewshot.learners.learner import PrototypeLearner
from fewshot.learners.logits import call_logits, logit_difference
from fewshot.learners.query_mode import query_mode
from fewshot.regimes.landmarks import LandmarkLearner
from fewshot.regimes.supervised import SupervisedLearner
from fewshot.regimes.text_supervised import TextSupervisedLearner
from protocols.cells.landmarks import Places, mask_centres
from protocols.regimes.labelled import sentence_kind

Features = tuple[Tensor, ...]  # the maps of N slices, each (N,C,h,w); most encoders give one map


@dataclass(frozen=True)
class Prediction:
    """Scores of Q query slices, on the device.

    `scores` (Q,H,W) floating point: foreground minus background logit, or probability minus 0.5.
    `largest` (Q,): the largest absolute logit of each slice at the size of the features, or 1.
    `defined` 0-dim bool: whether the method has prototypes of its own for this support.
    """

    scores: Tensor
    largest: Tensor
    defined: Tensor

    @property
    def masks(self) -> Tensor:
        """Return the predicted masks (Q,H,W) bool: a score above 0 is foreground."""
        return self.scores > 0

    @property
    def nonfinite(self) -> Tensor:
        """Return how many scores of each slice are NaN or infinite: (Q,) int64."""
        return (~self.scores.isfinite()).flatten(1).sum(dim=1)


def join_predictions(parts: Sequence[Prediction]) -> Prediction:
    """Return the prediction of all parts' slices, in order; defined if every part is."""
    scores, largest, defined = zip(*((one.scores, one.largest, one.defined) for one in parts), strict=True)
    return Prediction(torch.cat(scores), torch.cat(largest), torch.stack(defined).all())


class Predictor(ABC):
    """Predicts tasks. Load all support slices first, then one query scan after the other.

    Args:
        learner: in evaluation mode, on `device`.
        reader: of the store that holds the slices.
        device: where the learner is.
        batch: most slices in one call of the encoder or of `logits`.
        precision: of the encoder: "float32" or "bf16".
    """

    def __init__(
        self, learner: Any, reader: SliceReader, device: torch.device, batch: int, precision: str
    ) -> None:
        self.learner, self.reader, self.device, self.batches = learner, reader, device, Batches(batch)
        self.precision = check_precision(precision)
        self.mode = query_mode(type(learner))

    def load_supports(self, refs: Sequence[SliceRef]) -> None:  # noqa: B027 (a learner may need nothing)
        """Prepare these support slices."""

    def load_scan(self, refs: Sequence[SliceRef]) -> None:  # noqa: B027
        """Prepare these slices of one query scan; drop those of the scan before."""

    def predict(self, task: Task, refs: Sequence[SliceRef]) -> Prediction:
        """Return the scores of the query slices `refs` of `task`, in the learner's query mode.

        Raises:
            UserError: out of memory for one slice or, with a transductive learner, for all slices of a part.
        """
        if self.mode == "alone":
            return join_predictions(list(self.batches.over(refs, partial(self.predict_in_one_call, task))))
        try:
            return self.predict_in_one_call(task, refs)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise UserError(
                f"class {task.class_name}, scan {refs[0].scan}, part {task.part}: out of memory for "
                f"{len(refs)} query slices in one call ({str(error).splitlines()[0]}); a transductive "
                "learner gets all of a part, so use another --device, a smaller --encoder or smaller slices"
            ) from error

    @abstractmethod
    def predict_in_one_call(self, task: Task, refs: Sequence[SliceRef]) -> Prediction:
        """Return the scores of `refs` from one call of the learner, whatever its query mode."""

    def locate(self, refs: Sequence[SliceRef], prediction: Prediction) -> list[Places]:
        """Return the points (P,2) of each of the slices that `prediction` is of: centres of its regions."""
        return [mask_centres(mask) for mask in prediction.masks.cpu().numpy()]

    def support_masks(self, task: Task) -> Tensor:
        """Return the task's support masks (S,H,W) bool on the device."""
        masks = np.stack([self.reader.mask(ref, task.class_value) for ref in task.support])
        return to_device(torch.from_numpy(masks), self.device)


class SegmentPredictor(Predictor):
    """For learners with `segment` alone: images in, probabilities out. Tasks share nothing."""

    def __init__(self, learner: Any, reader: SliceReader, device: torch.device, precision: str) -> None:
        super().__init__(learner, reader, device, 1, precision)

    def predict_in_one_call(self, task: Task, refs: Sequence[SliceRef]) -> Prediction:
        """Return probabilities minus 0.5."""
        support = Support(to_device(self.reader.images(task.support), self.device), self.support_masks(task))
        images = to_device(self.reader.images(refs), self.device)
        with autocast_to(self.precision, self.device):
            probabilities: Tensor = self.learner.segment(support, images)
        if not probabilities.is_floating_point():
            probabilities = probabilities.float()
        scores = probabilities - 0.5
        return Prediction(
            scores, scores.new_ones(len(refs)), torch.ones((), dtype=torch.bool, device=self.device)
        )


class PrototypePredictor(Predictor):
    """For prototype learners: features of the support slices and of one query scan stay in memory."""

    learner: PrototypeLearner

    def load_supports(self, refs: Sequence[SliceRef]) -> None:
        """Encode the support slices."""
        self._support = self._encode(refs)
        self._prepared: dict[tuple[tuple[SliceRef, ...], int], tuple[Tensor, Any]] = {}

    def load_scan(self, refs: Sequence[SliceRef]) -> None:
        """Encode the query slices that are not support slices."""
        self._query: dict[SliceRef, Features] = {}  # free the scan before, then encode the next
        new = self._encode([ref for ref in refs if ref not in self._support])
        self._query = {ref: self._support.get(ref) or new[ref] for ref in refs}

    def predict_in_one_call(self, task: Task, refs: Sequence[SliceRef]) -> Prediction:
        """Return the differences of the logits."""
        key = (task.support, task.class_value)
        if key not in self._prepared:
            masks = self.support_masks(task)
            prepared = {k: to_device(v, self.device) for k, v in self.learner.prepare(masks.cpu()).items()}
            self._prepared[key] = (masks, prepared)
        support_masks, prepared = self._prepared[key]
        support = _stack_maps([self._support[ref] for ref in task.support])
        query = _stack_maps([self._query[ref] for ref in refs])
        logits, defined = call_logits(self.learner, support, support_masks, query, prepared, "query")
        size = (support_masks.shape[-2], support_masks.shape[-1])
        return Prediction(logit_difference(logits, size), logits.abs().flatten(1).amax(dim=1), defined)

    def _encode(self, refs: Sequence[SliceRef]) -> dict[SliceRef, Features]:
        def encode(chunk: Sequence[SliceRef]) -> list[Features]:
            images = to_device(self.reader.images(chunk), self.device)
            with autocast_to(self.precision, self.device):
                maps = self.learner.encode(images)
            maps = (maps,) if isinstance(maps, Tensor) else tuple(maps)
            return [tuple(one[position] for one in maps) for position in range(len(chunk))]

        features = (one for batch in self.batches.over(refs, encode) for one in batch)
        return dict(zip(refs, features, strict=True))


class SupervisedPredictor(Predictor):
    """For supervised learners: query slices alone, no support; one pass gives the scores of all classes."""

    learner: SupervisedLearner

    def load_scan(self, refs: Sequence[SliceRef]) -> None:
        """Forget the scores of the scan before."""
        self._scores: dict[SliceRef, Tensor] = {}

    def predict(self, task: Task, refs: Sequence[SliceRef]) -> Prediction:
        """Return probabilities minus 0.5 of one class; a slice goes through the network once."""
        new = [ref for ref in refs if ref not in self._scores]
        scores = (one for batch in self.batches.over(new, self._class_scores) for one in batch)
        self._scores |= dict(zip(new, scores, strict=True))
        return self._prediction(task, [self._scores[ref] for ref in refs])

    def predict_in_one_call(self, task: Task, refs: Sequence[SliceRef]) -> Prediction:
        """Return probabilities minus 0.5 of one class, from one call of the network."""
        return self._prediction(task, self._class_scores(refs))

    def _class_scores(self, refs: Sequence[SliceRef]) -> list[Tensor]:
        read = self.reader.images if self.learner.needs.channels == 1 else self.reader.channels
        images = to_device(read(refs), self.device)
        with autocast_to(self.precision, self.device):
            probabilities = self._probabilities(images, refs)
        return list(probabilities.float() - 0.5)

    def _probabilities(self, images: Tensor, refs: Sequence[SliceRef]) -> Tensor:
        learner = self.learner
        if not isinstance(learner, TextSupervisedLearner):
            return learner.class_probabilities(images)
        sentences = self.reader.sentences(refs, sentence_kind(learner.options), learner.classes)
        return learner.class_probabilities(images, sentences)

    def _prediction(self, task: Task, scores: Sequence[Tensor]) -> Prediction:
        output = self.learner.classes.index(task.class_name)
        chosen = torch.stack([each[output] for each in scores])
        return Prediction(
            chosen, chosen.new_ones(len(chosen)), torch.ones((), dtype=torch.bool, device=self.device)
        )


class LandmarkPredictor(SupervisedPredictor):
    """For landmark learners, whose points are their own and whose masks are discs around them."""

    learner: LandmarkLearner

    def load_scan(self, refs: Sequence[SliceRef]) -> None:
        """Forget scores and points of the scan before."""
        super().load_scan(refs)
        self._places: dict[SliceRef, Places] = {}

    def locate(self, refs: Sequence[SliceRef], prediction: Prediction) -> list[Places]:
        """Return the points (P,2) of slices whose scores were predicted."""
        return [self._places[ref] for ref in refs]

    def _class_scores(self, refs: Sequence[SliceRef]) -> list[Tensor]:
        images = to_device(self.reader.images(refs), self.device)
        counts = [len(self.reader.points(ref)) for ref in refs] if self.learner.reads_count else None
        with autocast_to(self.precision, self.device):
            found = self.learner.locate(images, counts)
        self._places |= {
            ref: places.cpu().numpy() for ref, places in zip(refs, found.places, strict=True)
        }  # fmt: skip
        return list(found.probabilities.float() - 0.5)


def predictor_for(
    learner: Any, reader: SliceReader, device: torch.device, batch: int, precision: str
) -> Predictor:
    """Return the predictor for a kind of learner; `batch` has no effect on a learner with `segment` alone.

    Raises:
        UserError: a weight is NaN or infinite.
    """
    if isinstance(learner, nn.Module):
        check_finite(learner.state_dict(), "the model", "train again, or give another checkpoint")
    if isinstance(learner, PrototypeLearner):
        return PrototypePredictor(learner, reader, device, batch, precision)
    if isinstance(learner, LandmarkLearner):
        return LandmarkPredictor(learner, reader, device, batch, precision)
    if isinstance(learner, SupervisedLearner):
        return SupervisedPredictor(learner, reader, device, batch, precision)
    return SegmentPredictor(learner, reader, device, precision)


def gradient_mode(learner: Any) -> AbstractContextManager[object]:
    """Return inference mode, or an empty context for a learner that needs gradients at test time."""
    return contextlib.nullcontext() if getattr(learner, "adapts", False) else torch.inference_mode()


def _stack_maps(features: Sequence[Features]) -> Tensor | Features:
    """Return (N,C,h,w) if slices have one map, else a tuple of such maps."""
    maps = tuple(torch.stack(level) for level in zip(*features, strict=True))
    return maps[0] if len(maps) == 1 else maps
