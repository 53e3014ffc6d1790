"""The contract of a landmark learner, which trains on points of training slices and locates those of others.

N slices, C channels, H x W image size in pixels, P points of a slice. Points are (row, column) in pixels,
counted from the centre of the first pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from fewshot.base.errors import UserError
from fewshot.identity.regimes import Needs
from fewshot.regimes.supervised import SupervisedLearner

COUNT_MARK = "decoding reads the true number of points of each query slice: no measure of finding them"


@dataclass(frozen=True)
class Landmarks:
    """The points of N slices.

    `probabilities` (N,1,H,W): of a disc around each point, for the board of masks; `places`: for each slice
    its points (P,2) float64; `scores`: for each slice the strength of its points (P,).
    """

    probabilities: Tensor
    places: tuple[Tensor, ...]
    scores: tuple[Tensor, ...]


class LandmarkLearner(SupervisedLearner):
    """Base class of landmark learners; a subclass overrides `loss` and `locate`.

    Its batches hold points. It has one tested class, whose masks are discs around the points.
    """

    regime: ClassVar[str] = "landmark"
    needs: ClassVar[Needs] = Needs(labels="target", points=True)

    def __init__(self, encoder: nn.Module, options: Any, classes: tuple[str, ...]) -> None:
        if len(classes) != 1:
            raise UserError(
                f"{type(self).__name__} has points of one class, found {', '.join(classes)}; choose a group "
                "of one class"
            )
        super().__init__(encoder, options, classes)

    @property
    def reads_count(self) -> bool:
        """Whether `locate` needs the true number of points; records of such a model carry `COUNT_MARK`."""
        return False

    def locate(self, images: Tensor, counts: Sequence[int] | None = None) -> Landmarks:
        """Return the points of query slices (N,C,H,W); `counts`: their true numbers, if `reads_count`.

        The points of a slice must not depend on the other slices.
        """
        raise NotImplementedError(f"{type(self).__name__} must define locate")

    def heat(self, images: Tensor) -> Tensor:
        """Return the heat-maps (N,C,h,w) of query slices (N,1,H,W), for pictures alone.

        Optional: pictures of a learner without it have no heat-maps. A map covers its slice, whatever h and w
        are, and values of 0 and below are no heat. What C counts is the learner's own choice. The maps of a
        slice must not depend on other slices.
        """
        raise NotImplementedError(f"{type(self).__name__} has no heat-maps")

    @classmethod
    def has_heat(cls) -> bool:
        """Return whether the class overrides `heat`."""
        return cls.heat is not LandmarkLearner.heat
