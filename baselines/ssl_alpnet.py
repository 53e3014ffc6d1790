"""SSL-ALPNet: adaptive local prototypes, learnt from superpixels.

Ouyang et al., "Self-supervision with Superpixels: Training Few-shot Medical Image Segmentation without
Annotation", ECCV 2020, arXiv 2007.09886.

A class has many *local* prototypes (features averaged over the cells of a grid) and *global* ones (averaged
over the whole mask). The background uses local prototypes. The foreground uses both, or only the global one
if it is too small to fill a cell. A query pixel scores high for a class if it is close to some of the class's
prototypes.

Behaviour is that of the released program, which made the published checkpoints and tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.base.errors import UserError
from fewshot.learners.learner import PrototypeLearner
from fewshot.learners.logits import Branch
from fewshot.learners.prototypes import masked_average, pooled_cells, resize_masks, set_scores, similarities


class SSLALPNet(PrototypeLearner):
    """The adaptive local prototype network on any encoder with one feature map."""

    version: ClassVar[int] = 1

    @dataclass(frozen=True)
    class Options:
        """The paper's constants; sizes are in cells of the feature map (32 x 32 for a 256 x 256 slice)."""

        threshold: float = 0.95  # a cell is a local prototype if the class covers more than this share of it
        evaluation_window: int = 2  # pooling window at evaluation
        training_grid: int = 8  # windows per side in training: the window is h / 8
        mode_window: int = 4  # the foreground has local prototypes if it fills a window of this side
        scale: float = 20.0  # multiplies the cosine

        def __post_init__(self) -> None:
            if not 0 < self.threshold < 1:
                raise UserError(f"option threshold is {self.threshold}; give a number between 0 and 1")
            for name in ("evaluation_window", "training_grid", "mode_window"):
                if getattr(self, name) < 1:
                    raise UserError(f"option {name} is {getattr(self, name)}; give a whole number from 1 on")
            if not 0 < self.scale <= 40:  # above, exp(-2 * scale) underflows in float32
                raise UserError(f"option scale is {self.scale}; give a number above 0 and at most 40")

    options: Options

    def logits(
        self,
        support_features: Tensor,
        support_masks: Tensor,
        query_features: Tensor,
        *,
        prepared: Mapping[str, Tensor],
        branch: Branch,
    ) -> tuple[Tensor, Tensor]:
        """Return scores (Q,2,h,w), background first, and `defined`.

        Features (S,C,h,w) and (Q,C,h,w); masks (S,H,W) or (S,h,w). `defined` is False if no cell of the grid
        is background. The released program fails on such an episode. Here the scores are finite, against the
        background's global prototype; training skips the episode and evaluation counts the slice.
        """
        options = self.options
        size = (support_features.shape[-2], support_features.shape[-1])
        foreground = resize_masks(support_masks, size)
        background = 1.0 - foreground
        window = self._window(size, branch)

        # Candidates, in rows: every cell of every shot's grid, then the global prototypes.
        cells = pooled_cells(support_features, window)
        global_foreground = masked_average(support_features, foreground)
        mean_foreground = global_foreground.mean(dim=0, keepdim=True)
        mean_background = masked_average(support_features, background).mean(dim=0, keepdim=True)
        candidates = torch.cat([cells, global_foreground, mean_foreground, mean_background])

        # Members: which candidates make up the background and the foreground set.
        is_background = pooled_cells(background[:, None], window)[:, 0] > options.threshold
        is_foreground = pooled_cells(foreground[:, None], window)[:, 0] > options.threshold
        defined = is_background.any()
        local = self._large_enough(foreground)
        members = torch.stack(
            [
                _row(is_background, _no(global_foreground), _no(mean_foreground), ~defined[None]),
                _row(
                    is_foreground & local,
                    local.expand(len(global_foreground)),
                    ~local[None],
                    _no(mean_background),
                ),
            ]
        )
        distances = similarities(candidates, query_features, options.scale)
        return set_scores(distances, members, options.scale), defined

    def _window(self, size: tuple[int, int], branch: Branch) -> tuple[int, int]:
        """Return the pooling window: the finer one for the query in evaluation, else that of training.

        Raises:
            UserError: the feature map is smaller than a window.
        """
        if not self.training and branch == "query":
            window = (self.options.evaluation_window,) * 2
        else:
            window = (size[0] // self.options.training_grid, size[1] // self.options.training_grid)
        coarsest = max(*window, self.options.mode_window)
        if min(window) < 1 or min(size) < coarsest:
            raise UserError(
                f"a feature map of {size[0]} x {size[1]} is too small for {self.options.training_grid} "
                f"windows a side or a window of {coarsest}; give larger slices"
            )
        return window

    def _large_enough(self, foreground: Tensor) -> Tensor:
        """Whether the class fills some window of some shot's mask (S,h,w), 0-dim bool."""
        filled = F.avg_pool2d(foreground[:, None], self.options.mode_window)
        return filled.max() >= self.options.threshold


def _row(*parts: Tensor) -> Tensor:
    """Join bool parts into one row of weights, one per candidate."""
    return torch.cat(parts).float()


def _no(prototypes: Tensor) -> Tensor:
    """Return False for each prototype: none of them is in the set."""
    return torch.zeros(len(prototypes), dtype=torch.bool, device=prototypes.device)
