"""Few-shot medical image segmentation: the learner contract and its parts.

What is listed here is the public surface: all that the author of a method needs. Names are loaded on
first use, so that `import fewshot` costs nothing. S support shots, Q query slices, B episodes, P prototypes,
K classes, C features on an h x w grid, H x W image size in pixels.

- `Learner`: the contract by shape. `segment(support, query)` turns query slices (Q,1,H,W) float32 into
  foreground probabilities (Q,H,W) float32 in [0,1]; the mask is > 0.5.
- `PrototypeLearner`: a learner that encodes each slice once. Override `logits(support_features,
  support_masks, query_features)`: (S,C,h,w), (S,H,W) or (S,h,w) bool, (Q,C,h,w) -> background and
  foreground scores (Q,2,h,w).
- `Support`: images (S,1,H,W) float32, masks (S,H,W) bool.
- `Episode`: support_images (B,S,1,H,W), support_masks (B,S,H,W), query_images (B,Q,1,H,W), query_masks
  (B,Q,H,W).
- `LossResult`: `total`, `parts`, `defined` and `skipped`, all 0-dim; what `loss(episode)` returns.
- `Recipe`: how a method is trained as published: steps, learning rate, schedule, encoder.
- `Explanation`, `PaperLayout`, `PaperTable`: what a method may offer: see `fewshot.studies`.
- `UserError`: a mistake the user can mend, in one line. `seed_for(*names)`: a seed from what it is for.
- `resize_masks`: (S,H,W) -> (S,h,w) float32. `masked_average`: (S,C,h,w), (S,h,w) -> (S,C).
  `pooled_cells`: (S,C,h,w) -> every cell of the grid (S*n,C). `similarities`: (P,C), (Q,C,h,w) ->
  scaled cosines (Q,P,h,w). `set_scores`: (Q,P,h,w) and membership (K,P) -> scores (Q,K,h,w).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewshot.base.errors import UserError
    from fewshot.base.seeds import seed_for
    from fewshot.base.types import Episode, Support
    from fewshot.learners.learner import Learner, LossResult, PrototypeLearner
    from fewshot.learners.paper_layout import PaperLayout, PaperTable
    from fewshot.learners.prototypes import (
        masked_average,
        pooled_cells,
        resize_masks,
        set_scores,
        similarities,
    )
    from fewshot.learners.recipe import Recipe
    from fewshot.studies.explanation import Explanation

__all__ = [
    "Episode",
    "Explanation",
    "Learner",
    "LossResult",
    "PaperLayout",
    "PaperTable",
    "PrototypeLearner",
    "Recipe",
    "Support",
    "UserError",
    "masked_average",
    "pooled_cells",
    "resize_masks",
    "seed_for",
    "set_scores",
    "similarities",
]

_HOMES = {
    "base.errors": ("UserError",),
    "studies.explanation": ("Explanation",),
    "learners.learner": ("Learner", "LossResult", "PrototypeLearner"),
    "learners.paper_layout": ("PaperLayout", "PaperTable"),
    "learners.prototypes": ("masked_average", "pooled_cells", "resize_masks", "set_scores", "similarities"),
    "learners.recipe": ("Recipe",),
    "base.seeds": ("seed_for",),
    "base.types": ("Episode", "Support"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'fewshot' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"fewshot.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
