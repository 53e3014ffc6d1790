"""What a method tells of one of its answers: where its prototypes came from and what its parts change.

S shots, K detail prototypes at most, h x w positions of the feature map, H x W pixels. A method that can tell
has a function in `fewshot.registry.EXPLAINERS`, called as
`explain(learner, support_features, support_masks, query_features)` with features (S,C,h,w) and (1,C,h,w) and
masks (S,H,W) bool, which returns an `Insight`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Insight:
    """One answer of a method to one query slice.

    `seeds` (S,K,2) int64, row and column on the feature map, where `seeded` (S,K) bool; `places` (S,K,2)
    float, where the detail prototypes that grew from them lie, and `weights` (S,K,h,w) float, what each takes
    of every position (a map sums to 1), where `counts` (S,K) bool. `note` says why there are none, else "".
    `nearest` (h,w) int64: the kind, an index of `kinds`, of the prototype that a query position is most like;
    `kinds`: name of a kind -> how many prototypes of it stand for a class. `answers`: name of a variant of
    the method on the same weights -> mask (H,W) bool; `trained`: the variant the weights were trained as.
    """

    seeds: Tensor
    seeded: Tensor
    places: Tensor
    weights: Tensor
    counts: Tensor
    note: str
    nearest: Tensor
    kinds: Mapping[str, int]
    answers: Mapping[str, Tensor]
    trained: str
