"""Types that all packages share: slices, supports, episodes, tasks and scores, with their tensor shapes.

S shots, Q query slices, B episodes, H x W image size in pixels. Importing this module does not import torch:
plans, stores and tables need no tensors and must start quickly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class SliceRef(NamedTuple):
    """One axial slice of one scan; `z` counts from 0 in stored order."""

    scan: str
    z: int


@dataclass(frozen=True)
class Support:
    """Annotated support slices of one class: images (S,1,H,W) float32, masks (S,H,W) bool."""

    images: Tensor
    masks: Tensor

    def __post_init__(self) -> None:
        import torch

        if self.images.ndim != 4 or self.images.shape[1] != 1 or self.images.dtype != torch.float32:
            raise ValueError(
                f"support images are {tuple(self.images.shape)} {self.images.dtype}, expected (S,1,H,W) "
                "float32"
            )
        wanted = (self.images.shape[0], *self.images.shape[2:])
        if tuple(self.masks.shape) != wanted or self.masks.dtype != torch.bool:
            raise ValueError(
                f"support masks are {tuple(self.masks.shape)} {self.masks.dtype}, expected {wanted} bool"
            )


@dataclass(frozen=True)
class Episode:
    """Annotated support and query slices of B training episodes.

    support_images (B,S,1,H,W) and query_images (B,Q,1,H,W) float32; support_masks (B,S,H,W) and
    query_masks (B,Q,H,W) bool; `prepared`: the result of the learner's `prepare` for the support masks of
    each episode, stacked along a new first axis; `label`: one line for the episode log.
    """

    support_images: Tensor
    support_masks: Tensor
    query_images: Tensor
    query_masks: Tensor
    prepared: Mapping[str, Tensor] = field(default_factory=dict)
    label: str = ""

    def to(self, device: torch.device) -> Episode:
        """Return the episode with every tensor on `device`; copies to a GPU do not block the host."""
        from fewshot.base.memory import to_device

        return Episode(
            to_device(self.support_images, device),
            to_device(self.support_masks, device),
            to_device(self.query_images, device),
            to_device(self.query_masks, device),
            {name: to_device(value, device) for name, value in self.prepared.items()},
            self.label,
        )


@dataclass(frozen=True)
class LabelledBatch:
    """Labelled training slices of a supervised learner.

    images (N,C,H,W) float32; masks (N,K,H,W) bool, one for each tested class; `label`: one line for the log;
    `sentences`: one for each slice, () for a learner that needs none. For a learner that needs points:
    `points` (N,P,2) float64 as (row, column) in pixels, NaN for absent ones, and `flipped` (N,) bool, which
    pictures are mirrored left to right.
    """

    images: Tensor
    masks: Tensor
    label: str = ""
    sentences: tuple[str, ...] = ()
    points: Tensor | None = None
    flipped: Tensor | None = None

    def to(self, device: torch.device) -> LabelledBatch:
        """Return the batch with every tensor on `device`; copies to a GPU do not block the host."""
        from fewshot.base.memory import to_device

        moved = (None if value is None else to_device(value, device) for value in (self.points, self.flipped))
        images, masks = to_device(self.images, device), to_device(self.masks, device)
        return LabelledBatch(images, masks, self.label, self.sentences, *moved)


@dataclass(frozen=True)
class Task:
    """One evaluation task: segment a class in the slices of one query scan, from one set of support slices.

    `queries`: the query slices that use this support; `scored[i]`: whether `queries[i]` counts in the Dice.
    """

    class_name: str
    class_value: int
    part: int
    support: tuple[SliceRef, ...]
    queries: tuple[SliceRef, ...]
    scored: tuple[bool, ...]


@dataclass(frozen=True)
class ScanScore:
    """Pixel counts of one class in one query scan, summed over the scored slices.

    `undefined`: the reason why no Dice exists, or None; a reason sets the counts to 0 and `dice` to None.
    """

    class_name: str
    scan: str
    supports: tuple[str, ...]
    slices: int
    tp: int
    fp: int
    fn: int
    undefined: str | None = None

    @property
    def dice(self) -> float | None:
        """Dice = 2 tp / (2 tp + fp + fn) in [0, 1]; None if it is undefined."""
        denominator = 2 * self.tp + self.fp + self.fn
        if self.undefined is not None or denominator == 0:
            return None
        return 2 * self.tp / denominator
