"""Few-shot medical image segmentation: evaluate a learner, or write a new one.

Names are loaded on first use, so `import fewshot` imports neither torch nor pandas. `help(fewshot.NAME)`
shows the details of a name. The command line is `fewshot --help`.

Sizes: S support shots, Q query slices, B episodes, P prototypes, K classes, C features on an h x w grid,
H x W image size in pixels.

Evaluate a learner on a prepared dataset, without training and without files:

    frame = fewshot.evaluate(learner, dataset="chaost2", protocol="alpnet-ep1", setting=1)
    fewshot.headline(frame)    # mean and standard deviation over folds

- `evaluate`: a data frame with one row per score: class, scan, pixel counts, Dice in [0, 1].
- `headline`: mean Dice and its standard deviation over the folds of such a frame.

Write a learner:

- `Learner`: the contract. `segment(support, query)` turns query slices (Q,1,H,W) float32 into foreground
  probabilities (Q,H,W) float32 in [0,1]; the mask is > 0.5.
- `PrototypeLearner`: a learner that encodes each slice once. Override `logits(support_features,
  support_masks, query_features)`: (S,C,h,w), (S,H,W) or (S,h,w) bool, (Q,C,h,w) -> background and
  foreground scores (Q,2,h,w).
- `Support`: images (S,1,H,W) float32, masks (S,H,W) bool.
- `Episode`: support_images (B,S,1,H,W), support_masks (B,S,H,W), query_images (B,Q,1,H,W), query_masks
  (B,Q,H,W).
- `LossResult`: `total`, `parts`, `defined` and `skipped`, all 0-dim; the result of `loss(episode)`.
- `call_logits`: a learner's scores (Q,2,h,w) of one episode, for a loss of your own (`episode_loss`).
- `resize_scores`: scores (Q,2,h,w) and masks (Q,H,W) -> scores (Q,2,H,W).
- `Recipe`: the published training of a method: steps, learning rate, schedule, encoder.
- `Explanation`, `PaperLayout`, `PaperTable`: optional offers of a method: see `fewshot.studies`.

Parts of learners:

- `resize_masks`: (S,H,W) -> (S,h,w) float32. `masked_average`: (S,C,h,w), (S,h,w) -> (S,C).
- `pooled_cells`: (S,C,h,w) -> every cell of the grid (S*n,C).
- `similarities`: (P,C), (Q,C,h,w) -> scaled cosines (Q,P,h,w).
- `set_scores`: (Q,P,h,w) and membership (K,P) -> scores (Q,K,h,w).
- `UserError`: a mistake that the user can mend, in one line.
- `seed_for`: `seed_for(*names)` returns a seed from the names of its purpose.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewshot.base.errors import UserError as UserError
    from fewshot.base.seeds import seed_for as seed_for
    from fewshot.base.types import Episode as Episode
    from fewshot.base.types import Support as Support
    from fewshot.learners.learner import Learner as Learner
    from fewshot.learners.learner import LossResult as LossResult
    from fewshot.learners.learner import PrototypeLearner as PrototypeLearner
    from fewshot.learners.logits import call_logits as call_logits
    from fewshot.learners.logits import resize_scores as resize_scores
    from fewshot.learners.paper_layout import PaperLayout as PaperLayout
    from fewshot.learners.paper_layout import PaperTable as PaperTable
    from fewshot.learners.prototypes import masked_average as masked_average
    from fewshot.learners.prototypes import pooled_cells as pooled_cells
    from fewshot.learners.prototypes import resize_masks as resize_masks
    from fewshot.learners.prototypes import set_scores as set_scores
    from fewshot.learners.prototypes import similarities as similarities
    from fewshot.learners.recipe import Recipe as Recipe
    from fewshot.studies.explanation import Explanation as Explanation
    from protocols.runs.evaluate_learner import evaluate as evaluate
    from protocols.runs.evaluate_learner import headline as headline

# No `__all__`: with one, `help(fewshot)` prints every inherited method of every class, 1,900 lines.
_HOMES = {
    "fewshot.base.errors": ("UserError",),
    "fewshot.base.seeds": ("seed_for",),
    "fewshot.base.types": ("Episode", "Support"),
    "fewshot.learners.learner": ("Learner", "LossResult", "PrototypeLearner"),
    "fewshot.learners.logits": ("call_logits", "resize_scores"),
    "fewshot.learners.paper_layout": ("PaperLayout", "PaperTable"),
    "fewshot.learners.prototypes": (
        "masked_average", "pooled_cells", "resize_masks", "set_scores", "similarities",
    ),
    "fewshot.learners.recipe": ("Recipe",),
    "fewshot.studies.explanation": ("Explanation",),
    "protocols.runs.evaluate_learner": ("evaluate", "headline"),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_IMPORTS = {"Any", "TYPE_CHECKING", "import_module"}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(
            f"module 'fewshot' has no attribute {name!r}; it has {', '.join(sorted(_HOME_OF))}"
        )
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF} - _IMPORTS)
