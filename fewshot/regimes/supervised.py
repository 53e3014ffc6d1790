"""The contract of a supervised learner, which trains on labels of the tested classes and takes no support.

N slices, C channels, K tested classes, H x W image size in pixels. The harness gives labelled training slices
to `loss` and query slices to `class_probabilities`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from fewshot.base.types import LabelledBatch
from fewshot.encoders.encoder import build_encoder
from fewshot.identity.regimes import SUPERVISED, Needs
from fewshot.learners.learner import LossResult
from fewshot.learners.recipe import Recipe


class SupervisedLearner(nn.Module):
    """Base class of supervised learners; a subclass overrides `loss` and `class_probabilities`.

    Args:
        encoder: from `new_encoder`; initial weights are loaded into its `backbone`.
        options: of the method.
        classes: names of the tested classes, in the order of the outputs.
    """

    @dataclass(frozen=True)
    class Options:
        """No options; a method nests its own frozen dataclass of this name, with defaults and checks."""

    trainable: ClassVar[bool] = True
    regime: ClassVar[str] = SUPERVISED
    needs: ClassVar[Needs] = Needs(labels="target")
    labels_used: ClassVar[str] = "target"
    optimizer: ClassVar[Literal["sgd", "adam", "adamw", "rmsprop"]] = (
        "sgd"  # Adam: `momentum` is the first beta
    )
    ablations: ClassVar[Mapping[str, Mapping[str, str]]] = {}  # rows of `fewshot ablate`

    def __init__(self, encoder: nn.Module, options: Any, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.encoder = encoder
        self.options = self.Options() if options is None else options
        self.classes = classes

    @classmethod
    def new_encoder(cls, name: str, seed: int) -> nn.Module:
        """Return the method's encoder; `name` and `seed` fix its random weights."""
        return build_encoder(name, seed)

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the published training; `augmentation` is one of `episodes.sampling.labelled`."""
        return Recipe(augmentation="flip")

    def loss(self, batch: LabelledBatch) -> LossResult:
        """Return the loss of a batch of labelled slices."""
        raise NotImplementedError(f"{type(self).__name__} must define loss")

    def class_probabilities(self, images: Tensor) -> Tensor:
        """Return probabilities (N,K,H,W) of query slices (N,C,H,W); the mask of a class is > 0.5.

        The probabilities of a slice must not depend on the other slices.
        """
        raise NotImplementedError(f"{type(self).__name__} must define class_probabilities")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimiser's groups: `params`, and `rate`, a factor of the learning rate."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "rate": 1.0}]
