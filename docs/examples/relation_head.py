"""RelationHead: a small network compares each query cell with the prototype of the class.

Sung et al., "Learning to Compare: Relation Network for Few-Shot Learning", CVPR 2018. The paper compares
images; here every cell of the query's feature map is compared. The relation score lies in (0, 1), and
training regresses it to 1 in the class and to 0 elsewhere by the squared error.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot import (
    PrototypeLearner,
    Recipe,
    UserError,
    call_logits,
    masked_average,
    resize_masks,
    resize_scores,
)


class RelationHead(PrototypeLearner):
    """The relation network on any encoder with one feature map."""

    loss_parts = ("relation",)
    class_weights = (0.1, 1.0)

    @dataclass(frozen=True)
    class Options:
        """The width of the comparing network."""

        width: int = 64

        def __post_init__(self) -> None:
            if self.width < 1:
                raise UserError(f"option width is {self.width}; give 1 or more")

    def __init__(self, encoder: nn.Module, options: Options | None = None) -> None:
        super().__init__(encoder, options)
        width = self.options.width
        self.relation = nn.Sequential(
            nn.Conv2d(2 * encoder.out_channels, width, 1), nn.ReLU(), nn.Conv2d(width, 1, 1)
        )

    def logits(self, support_features: Tensor, support_masks: Tensor, query_features: Tensor) -> Tensor:
        """(S,C,h,w), (S,H,W) or (S,h,w), (Q,C,h,w) -> background and foreground scores (Q,2,h,w)."""
        masks = resize_masks(support_masks, support_features.shape[-2:])
        prototype = masked_average(support_features, masks).mean(dim=0)
        pairs = torch.cat([query_features, prototype[None, :, None, None].expand_as(query_features)], dim=1)
        relation = self.relation(pairs)
        return torch.cat([F.logsigmoid(-relation), F.logsigmoid(relation)], dim=1)

    def episode_loss(self, support, support_masks, query, query_masks, prepared):
        """Return the weighted squared error of the relation score as (1,), and that every episode has one."""
        scores, defined = call_logits(self, support, support_masks, query, prepared, "query")
        relation = resize_scores(scores, query_masks).softmax(dim=1)[:, 1]
        background, foreground = self.class_weights
        weights = torch.where(query_masks, foreground, background)
        error = (weights * (relation - query_masks.float()) ** 2).sum() / weights.sum()
        return error[None], defined

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the training: the field's, with the learning rate of a head that starts from nothing."""
        return Recipe(learning_rate=0.01)
