"""The learner contract: what a method must offer, and a base class that does the common part.

S support shots, Q query slices, B episodes, C features on an h x w grid, H x W image size in pixels.
A method needs `segment` alone (`Learner`). One that compares features with prototypes derives from
`PrototypeLearner` and usually overrides only `logits`. In evaluation mode a learner is stateless: an
answer depends on its arguments and the weights, never on an earlier call.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.base.precision import in_float32
from fewshot.base.types import Episode, Support
from fewshot.encoders.encoder import build_encoder
from fewshot.learners.options import options_from as options_from
from fewshot.learners.paper_layout import PaperLayout
from fewshot.learners.recipe import Recipe as Recipe
from fewshot.learners.training_plan import TrainingPlan, single_stage

Branch = Literal["query", "alignment"]
Features = Tensor | tuple[Tensor, ...]  # one map (N,C,h,w), or several of them for the same N images
Ablations = Mapping[str, Mapping[str, str]]  # label of a row -> option -> text, as `--option` takes it


class Learner(Protocol):
    """The whole contract, by shape and not by inheritance."""

    def segment(self, support: Support, query: Tensor) -> Tensor:
        """Return foreground probabilities (Q,H,W) of query slices (Q,1,H,W); the mask is > 0.5.

        Evaluation passes one query slice per call, or all of a part if the class is `transductive`.
        """
        ...


@dataclass(frozen=True)
class LossResult:
    """The loss of a batch of episodes.

    `total` and every part are 0-dim float32, means over the defined episodes (a part that is told but not
    learned from may be NaN); `defined` is a 0-dim bool, False where no episode of the batch has a loss (the
    step is then skipped); `skipped` is a 0-dim int64, how many episodes of the batch had none. All stay on
    the device.
    """

    total: Tensor
    parts: dict[str, Tensor]
    defined: Tensor
    skipped: Tensor


class PrototypeLearner(nn.Module):
    """A learner that encodes every slice once and compares query features with support prototypes.

    Only `logits` must be overridden. `encode` may return a tuple of maps (several scales); they are
    handed to `logits` as they are. Class attributes say what a record must know of the method.
    A method may also have ablations, a paper's layout and a method `explain`: see `fewshot.studies`.
    """

    @dataclass(frozen=True)
    class Options:
        """No options; a method nests its own frozen dataclass of this name, with defaults and checks."""

    trainable: ClassVar[bool] = True
    adapts: ClassVar[bool] = False  # True: takes gradients at test time, so they must be kept on
    regime: ClassVar[str] = "self-supervised"
    labels_used: ClassVar[str] = "none"  # labels seen in training: none, training-group or target
    support_order_matters: ClassVar[bool] = False  # True: another order of shots may change the answer
    transductive: ClassVar[bool] = False  # True: query slices may change each other's scores: query_mode.py
    class_weights: ClassVar[tuple[float, float]] = (0.05, 1.0)  # background, foreground; query branch only
    loss_parts: ClassVar[tuple[str, ...]] = ("query", "alignment")  # what `_episode_loss` gives, in order
    ablations: ClassVar[Ablations] = {}  # rows of `fewshot ablate`: fewshot/studies/offers.py
    paper_layout: ClassVar[PaperLayout | None] = None  # tables of `fewshot paper`: fewshot/studies/offers.py

    takes_context: ClassVar[bool] = True  # whether `logits` wants `prepared` and `branch`

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.takes_context = _takes_context(cls.logits)

    def __init__(self, encoder: nn.Module, options: Any = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.options = self.Options() if options is None else options

    @classmethod
    def new_encoder(cls, name: str, seed: int) -> nn.Module:
        """Return the encoder that the method is built on, its random weights fixed by `name` and `seed`.

        To load weights other than random ones it needs `name` and `backbone`, as `ResNetEncoder` has.
        """
        return build_encoder(name, seed)

    def encode(self, images: Tensor) -> Features:
        """Return the features of images (N,1,H,W) float32: (N,C,h,w), or a tuple of such maps."""
        features: Features = self.encoder(images)
        return features

    def prepare(self, support_masks: Tensor) -> dict[str, Tensor]:
        """Return what can be worked out on the host from support masks (S,H,W) bool; nothing by default."""
        return {}

    def begin_step(self, step: int) -> None:
        """Do nothing; training calls this before each loss with the number of steps taken so far.

        Override it for a loss whose weights change with the step. What it sets must depend on `step` alone,
        so that a resumed training repeats.
        """

    def logits(
        self,
        support_features: Any,
        support_masks: Tensor,
        query_features: Any,
        *,
        prepared: Mapping[str, Tensor],
        branch: Branch,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return background and foreground scores (Q,2,h,w) of one episode, or them and `defined`.

        `support_masks` is (S,H,W) in the query branch and (S,h,w) in the alignment branch. `defined`
        is bool, False where the method has no answer of its own for this episode (the scores must be
        finite even then). The three positional arguments alone are accepted as a signature too.
        Evaluation passes any number of query slices. The scores of a slice must not depend on the other
        slices, unless the class sets `transductive = True`: then Q is all query slices of a part.
        """
        raise NotImplementedError(f"{type(self).__name__} must define logits")

    def loss(self, episode: Episode) -> LossResult:
        """Return weighted cross-entropy of the query plus prototype alignment, of equal weight.

        Support and query of all B episodes go through the encoder as one batch, support first. The
        query branch weighs the classes by `class_weights` and divides by the sum of weights. In the
        alignment branch the query's argmax at h x w is the mask, query features are the support and
        each support shot is a query; its plain cross-entropy is divided by the shots. Both are taken
        after bilinear upsampling to the image. An episode undefined in either branch counts for
        nothing. Rules M-LSS-1 to M-LSS-5 of docs/methods.md. Source: Ouyang et al., ECCV 2020,
        section 3.4.
        """
        episodes, shots = episode.support_images.shape[:2]
        images = torch.cat([episode.support_images.flatten(0, 1), episode.query_images.flatten(0, 1)])
        maps = _as_tuple(self.encode(images))
        supports = [one[: episodes * shots].reshape(episodes, shots, *one.shape[1:]) for one in maps]
        queries = [one[episodes * shots :].reshape(episodes, -1, *one.shape[1:]) for one in maps]
        losses, flags = [], []
        for b in range(episodes):
            support = _as_given([one[b] for one in supports])
            query = _as_given([one[b] for one in queries])
            prepared = {name: value[b] for name, value in episode.prepared.items()}
            loss, defined = self._episode_loss(
                support, episode.support_masks[b], query, episode.query_masks[b], prepared
            )
            losses.append(torch.where(defined, loss, 0.0))
            flags.append(defined)
        defined = torch.stack(flags)
        means = torch.stack(losses).sum(0) / defined.sum().clamp(min=1)
        return LossResult(
            total=means.sum(),
            parts=dict(zip(self.loss_parts, means, strict=True)),
            defined=defined.any(),
            skipped=(~defined).sum(),
        )

    def _episode_loss(
        self, support: Features, support_masks: Tensor, query: Features, query_masks: Tensor, prepared: Any
    ) -> tuple[Tensor, Tensor]:
        """Return (query loss, alignment loss) as (2,) of one episode, and whether both are defined.

        A method with other `loss_parts` overrides this and returns one number each.
        """
        scores, query_defined = call_logits(self, support, support_masks, query, prepared, "query")
        weights = torch.stack([scores.new_full((), weight) for weight in self.class_weights])
        query_loss = F.cross_entropy(resize_scores(scores, query_masks), query_masks.long(), weight=weights)
        predicted = scores.argmax(dim=1) == 1
        back, alignment_defined = call_logits(self, query, predicted, support, {}, "alignment")
        alignment_loss = F.cross_entropy(resize_scores(back, support_masks), support_masks.long())
        return torch.stack([query_loss, alignment_loss]), query_defined & alignment_defined

    def segment(self, support: Support, query: Tensor) -> Tensor:
        """Return foreground probabilities (Q,H,W) of query slices (Q,1,H,W): encode, then answer."""
        shots = support.images.shape[0]
        maps = _as_tuple(self.encode(torch.cat([support.images, query])))
        prepared = {name: value.to(query.device) for name, value in self.prepare(support.masks.cpu()).items()}
        difference, _defined = predict_logit_difference(
            self,
            _as_given([one[:shots] for one in maps]),
            support.masks,
            _as_given([one[shots:] for one in maps]),
            prepared,
            (query.shape[-2], query.shape[-1]),
        )
        return torch.sigmoid(difference)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimiser's groups: `params`, and `rate`, which multiplies the learning rate."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "rate": 1.0}]

    @classmethod
    def settled_options(cls, options: Any, region: str, setting: int) -> tuple[Any, tuple[str, ...]]:
        """Return the options to build with where a protocol asks, and marks for its records.

        For methods whose authors change constants with what is shown (`region`: abdomen or heart) and
        with the setting; the learner itself is told neither. Settled options settle to themselves. A mark
        is a line that a reader of the record must know; by default options stay and nothing is marked.
        """
        return options, ()

    @classmethod
    def used_options(cls, options: Any, weights: str | None) -> dict[str, Any]:
        """Return the options that a training from `weights` depends on, for spec and records; by default all.

        What is left out is built with its default again.
        """
        return asdict(options)

    @classmethod
    def labels_of(cls, options: Any) -> str:
        """Return the labels that a training with these options sees; `labels_used` by default."""
        return cls.labels_used

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the published training."""
        return Recipe()

    @classmethod
    def training_plan(cls, options: Any, recipe: Recipe) -> TrainingPlan:
        """Return the stages that a training with these options and this recipe has; by default one."""
        return single_stage(recipe)

    @classmethod
    def complete_recipe(cls, options: Any, recipe: Recipe, typed: Mapping[str, Any]) -> Recipe:
        """Return the recipe with what follows from the options; by default the recipe.

        Args:
            options: the method's options.
            recipe: the published recipe with the user's changes.
            typed: those of `weights` and `steps` that the user gave.

        Raises:
            UserError: the user gave something that the options leave out.
        """
        return recipe


def encoder_for(learner: type[Any], name: str, seed: int) -> nn.Module:
    """Return the encoder a learner class is built on: its `new_encoder`, or `build_encoder`'s without one."""
    encoder: nn.Module = getattr(learner, "new_encoder", build_encoder)(name, seed)
    return encoder


def predict_logit_difference(
    learner: PrototypeLearner,
    support_features: Features,
    support_masks: Tensor,
    query_features: Features,
    prepared: Mapping[str, Tensor],
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Return foreground minus background logit at `size` (Q,H,W), and `defined`, 0-dim bool.

    The piece that evaluation and `segment` share; the mask is > 0, which is the argmax of the two
    upsampled logits and probability > 0.5.
    """
    scores, defined = call_logits(learner, support_features, support_masks, query_features, prepared, "query")
    return logit_difference(scores, size), defined


def logit_difference(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Return foreground minus background of logits (Q,2,h,w), resized bilinearly to `size`: (Q,H,W)."""
    difference = scores[:, 1:] - scores[:, :1]
    return F.interpolate(difference, size=size, mode="bilinear", align_corners=False)[:, 0]


def call_logits(
    learner: PrototypeLearner,
    support_features: Features,
    support_masks: Tensor,
    query_features: Features,
    prepared: Mapping[str, Tensor],
    branch: Branch,
) -> tuple[Tensor, Tensor]:
    """Call `learner.logits` in either accepted form; return scores (Q,2,h,w) float32 and 0-dim `defined`.

    The comparison of features runs in float32 whatever precision the encoder ran in.
    """
    support = _as_given([one.float() for one in _as_tuple(support_features)])
    query = _as_given([one.float() for one in _as_tuple(query_features)])
    context = {"prepared": prepared, "branch": branch} if learner.takes_context else {}
    with in_float32(support_masks.device):
        result: Any = learner.logits(support, support_masks, query, **context)  # type: ignore[arg-type]
    if isinstance(result, tuple):
        scores, defined = result
        return scores, defined.all()
    return result, torch.ones((), dtype=torch.bool, device=result.device)


def resize_scores(scores: Tensor, masks: Tensor) -> Tensor:
    """Return scores (N,K,h,w) resized bilinearly to the size of masks (N,H,W)."""
    return F.interpolate(scores, size=masks.shape[-2:], mode="bilinear", align_corners=False)


def _takes_context(logits: Callable[..., Any]) -> bool:
    """Say whether `logits` wants `prepared` and `branch`, or is the short form."""
    parameters = inspect.signature(logits).parameters
    return "branch" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _as_tuple(features: Features) -> tuple[Tensor, ...]:
    return (features,) if isinstance(features, Tensor) else tuple(features)


def _as_given(maps: list[Tensor]) -> Features:
    """Undo `_as_tuple`: one map stands alone."""
    return maps[0] if len(maps) == 1 else tuple(maps)
