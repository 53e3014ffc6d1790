"""The contract of a text-supervised learner: labels of the tested classes, and a sentence for each slice.

N slices, C channels, K tested classes, H x W image size in pixels. `Options.sentences` names the kind of
sentences: "stored" (of the dataset), "classes" or "positions" (derived from labels).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from fewshot.identity.regimes import TEXT_SUPERVISED, Needs
from fewshot.regimes.supervised import SupervisedLearner


class TextSupervisedLearner(SupervisedLearner):
    """Base class; a subclass overrides `loss`, whose batch has sentences, and `class_probabilities`."""

    regime: ClassVar[str] = TEXT_SUPERVISED
    needs: ClassVar[Needs] = Needs(labels="target", channels=0, sentence=True)

    def class_probabilities(self, images: Tensor, sentences: Sequence[str] = ()) -> Tensor:
        """Return probabilities (N,K,H,W) of query slices (N,C,H,W) with a sentence each.

        The mask of a class is > 0.5. The probabilities of a slice must not depend on the other slices.
        """
        raise NotImplementedError(f"{type(self).__name__} must define class_probabilities")
