"""Learners with one fault each, and the check that must find it; none is registered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fewshot.base.types import Episode, Support
from fewshot.learners.learner import LossResult, PrototypeLearner
from fewshot.learners.prototypes import masked_average, resize_masks, similarities
from fewshot.learners.recipe import Recipe


class Sound(PrototypeLearner):
    """No fault: one prototype a class, compared by cosine. The others differ from it by their fault alone."""

    def logits(self, support: Tensor, masks: Tensor, query: Tensor, **_context: Any) -> Tensor:  # type: ignore[override]
        foreground = resize_masks(masks, (support.shape[-2], support.shape[-1]))
        pair = [masked_average(support, one).mean(dim=0) for one in (1 - foreground, foreground)]
        return similarities(torch.stack(pair), query, scale=20.0)

    @classmethod
    def recipe(cls) -> Recipe:
        return Recipe(learning_rate=0.01)


class WrongShape(Sound):
    def segment(self, support: Support, query: Tensor) -> Tensor:
        return super().segment(support, query)[:, None]


class WrongType(Sound):
    def segment(self, support: Support, query: Tensor) -> Tensor:
        return super().segment(support, query).double()


class NotFinite(Sound):
    def segment(self, support: Support, query: Tensor) -> Tensor:
        answer = super().segment(support, query)
        return torch.where(answer == answer.max(), torch.nan, answer)


class OutOfRange(Sound):
    def segment(self, support: Support, query: Tensor) -> Tensor:
        return torch.logit(super().segment(support, query), eps=1e-4)


class KeepsState(Sound):
    """The prototype of the call before stays in the mean."""

    def __init__(self, encoder: nn.Module, options: Any = None) -> None:
        super().__init__(encoder, options)
        self.before: Tensor | None = None

    def segment(self, support: Support, query: Tensor) -> Tensor:
        answer = super().segment(support, query)
        shown = answer if self.before is None else (answer + self.before) / 2
        self.before = answer
        return shown


class ChangesInput(Sound):
    def segment(self, support: Support, query: Tensor) -> Tensor:
        query -= query.mean(dim=(1, 2, 3), keepdim=True)
        return super().segment(support, query)


class Unseeded(Sound):
    def segment(self, support: Support, query: Tensor) -> Tensor:
        answer = super().segment(support, query)
        return (answer + 0.01 * torch.rand_like(answer)).clamp(0, 1)


class UnseededWeights(Sound):
    def __init__(self, encoder: nn.Module, options: Any = None) -> None:
        super().__init__(encoder, options)
        self.scale = nn.Parameter(torch.tensor([np.random.rand()], dtype=torch.float32))  # noqa: NPY002


class WrongDevice(Sound):
    """Makes a tensor on the CPU, wherever the query is."""

    def segment(self, support: Support, query: Tensor) -> Tensor:
        return super().segment(support, query) * torch.ones(query.shape[-2:])


class LeftBehind(Sound):
    """Keeps a tensor as a plain attribute, which `.to(device)` does not reach."""

    def __init__(self, encoder: nn.Module, options: Any = None) -> None:
        super().__init__(encoder, options)
        self.half = torch.full((1, 1, 1), 0.5)

    def segment(self, support: Support, query: Tensor) -> Tensor:
        return super().segment(support, query) * self.half


class DependsOnTheBatch(Sound):
    def segment(self, support: Support, query: Tensor) -> Tensor:
        answer = super().segment(support, query)
        return (answer + answer.mean(dim=0)) / 2


class NormalisesByTheQueryBatch(Sound):
    """Standardises query features by the mean and deviation of their batch."""

    def logits(self, support: Tensor, masks: Tensor, query: Tensor, **_context: Any) -> Tensor:  # type: ignore[override]
        deviation, mean = torch.std_mean(query, dim=(0, 2, 3), keepdim=True)
        return super().logits(support, masks, (query - mean) / (deviation + 1e-5))


class ComparesPartsTogether(NormalisesByTheQueryBatch):
    """No fault: it declares that the query slices of a part change each other's masks."""

    transductive = True


class EncodesByTheBatch(Sound):
    """Its encoder uses the statistics of the batch in evaluation mode too."""

    def encode(self, images: Tensor) -> Tensor:
        features = super().encode(images)
        assert isinstance(features, Tensor)
        return features - features.mean(dim=(0, 2, 3), keepdim=True)


class InfiniteLogits(Sound):
    """An infinite logit, which its own `segment` hides."""

    def logits(self, support: Tensor, masks: Tensor, query: Tensor, **context: Any) -> Tensor:  # type: ignore[override]
        scores = super().logits(support, masks, query)
        return scores if self.training else torch.where(scores < scores.amax(), scores, torch.inf)

    def segment(self, support: Support, query: Tensor) -> Tensor:
        return torch.nan_to_num(super().segment(support, query))


class FirstShotAlone(Sound):
    def segment(self, support: Support, query: Tensor) -> Tensor:
        return super().segment(Support(support.images[:1], support.masks[:1]), query)


class OddMask(Sound):
    """No answer where the class is a single pixel."""

    def segment(self, support: Support, query: Tensor) -> Tensor:
        answer = super().segment(support, query)
        return torch.where(support.masks.sum() < 2, torch.nan, answer)


class SquareOnly(Sound):
    def segment(self, support: Support, query: Tensor) -> Tensor:
        return super().segment(support, query).view(len(query), query.shape[-2], query.shape[-2])


class EmptyPrediction(Sound):
    """0 / 0 where the prediction is empty."""

    def logits(self, support: Tensor, masks: Tensor, query: Tensor, **context: Any) -> Tensor:  # type: ignore[override]
        some = masks.any()
        return super().logits(support, masks, query) * (some / some)


class WrongLoss(Sound):
    def loss(self, episode: Episode) -> LossResult:
        result = super().loss(episode)
        return LossResult(result.total[None], result.parts, result.defined, result.skipped)


class RisingLoss(Sound):
    """Its gradient points the other way."""

    def loss(self, episode: Episode) -> LossResult:
        result = super().loss(episode)
        total = 2 * result.total.detach() - result.total
        return LossResult(total, result.parts, result.defined, result.skipped)


class UnseededTraining(Sound):
    def loss(self, episode: Episode) -> LossResult:
        import random

        result = super().loss(episode)
        return LossResult(result.total * (1 + random.random()), result.parts, result.defined, result.skipped)


class UnsavedState(Sound):
    """What training sets is neither parameter nor buffer."""

    def __init__(self, encoder: nn.Module, options: Any = None) -> None:
        super().__init__(encoder, options)
        self.level = 0.0

    def loss(self, episode: Episode) -> LossResult:
        self.level = 0.25
        return super().loss(episode)

    def segment(self, support: Support, query: Tensor) -> Tensor:
        return (super().segment(support, query) + self.level).clamp(0, 1)


class NoOptions:
    """Has `segment` but not the options that commands read."""

    def segment(self, support: Support, query: Tensor) -> Tensor:
        return torch.ones_like(query[:, 0])


class SegmentOnly:
    """No fault, and nothing to train."""

    @dataclass(frozen=True)
    class Options:
        """None."""

    trainable: ClassVar[bool] = False

    def __init__(self, options: Any = None) -> None:
        self.options = options

    def segment(self, support: Support, query: Tensor) -> Tensor:
        return torch.sigmoid(query[:, 0])


class SegmentsByTheQueryBatch(SegmentOnly):
    """Standardises query slices by the mean and deviation of their batch."""

    def segment(self, support: Support, query: Tensor) -> Tensor:
        deviation, mean = torch.std_mean(query)
        return torch.sigmoid((query[:, 0] - mean) / (deviation + 1e-5) - 0.6)


class SegmentsPartsTogether(SegmentsByTheQueryBatch):
    """No fault: it declares that the query slices of a part change each other's masks."""

    transductive: ClassVar[bool] = True


class Probabilities(Sound):
    """Softmax is applied to its scores a second time."""

    def logits(self, support: Tensor, masks: Tensor, query: Tensor, **context: Any) -> Tensor:  # type: ignore[override]
        return super().logits(support, masks, query).softmax(dim=1)


class ForegroundAlone(Sound):
    def logits(self, support: Tensor, masks: Tensor, query: Tensor, **context: Any) -> Tensor:  # type: ignore[override]
        return super().logits(support, masks, query)[:, 1:]


# learner -> the check that must fail, and words of its message
FAULTS: dict[type[Any], tuple[str, str]] = {
    WrongShape: ("shape", r"gave shape \(1, 1, 64, 64\); allowed: \(1, 64, 64\)"),
    WrongType: ("dtype", r"gave torch.float64; allowed: torch.float32"),
    NotFinite: ("finite", r"values NaN or infinite; allowed: finite"),
    OutOfRange: ("range", r"gave values from .*; allowed: probabilities in \[0, 1\]"),
    KeepsState: ("stateless", r"A, then B, then A again.*predictions for the same inputs differ"),
    ChangesInput: ("inputs", r"query came back changed; allowed: inputs left as they are"),
    Unseeded: ("repeatable prediction", r"two global random states; predictions differ"),
    UnseededWeights: ("build", r"other weights \('scale'\); allowed: initial weights drawn by torch"),
    WrongDevice: ("device", r"a tensor of the learner stayed behind"),
    LeftBehind: ("device", r"a tensor of the learner stayed behind"),
    DependsOnTheBatch: ("batch", r"then its slices one by one; predictions differ"),
    NormalisesByTheQueryBatch: ("batch", r"one by one; predictions differ by up to .*transductive = True"),
    EncodesByTheBatch: ("batch", r"one by one; predictions differ by up to .*encode still must not mix"),
    SegmentsByTheQueryBatch: ("batch", r"one by one; predictions differ by up to .*transductive = True"),
    InfiniteLogits: ("finite", r"logits gave \d+ of \d+ values NaN or infinite.*allowed: finite values"),
    FirstShotAlone: ("support order", r"the other way round.*support_order_matters = True"),
    OddMask: ("one-pixel mask", r"given a one-pixel mask.*NaN"),
    SquareOnly: ("non-square", r"64 x 96 pixels. It raised RuntimeError"),
    EmptyPrediction: ("empty prediction", r"given an empty mask \(1, 8, 8\).*scores came back NaN"),
    WrongLoss: ("loss", r"total came back as \(1,\) torch.float32; allowed: 0-dim"),
    RisingLoss: ("training", r"given 8 training steps.*allowed: a lower one"),
    UnseededTraining: ("repeatable training", r"entries of the state_dict differ"),
    UnsavedState: ("save and load", r"predicts otherwise.*parameters and buffers"),
    NoOptions: ("build", r"has no class Options"),
}
