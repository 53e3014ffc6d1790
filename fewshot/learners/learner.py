"""The learner contract: what a method must offer, and a base class with the common part.

S support shots, Q query slices, B episodes, C features on an h x w grid, H x W image size in pixels.
A method needs only `segment` (`Learner`). One that compares features with prototypes derives from
`PrototypeLearner` and usually overrides only `logits`. In evaluation mode a learner is stateless: a
prediction depends on its arguments and the weights, never on an earlier call.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.base.errors import UserError
from fewshot.base.types import Episode, Support
from fewshot.encoders.foundation import one_map_encoder
from fewshot.learners.logits import (
    Branch,
    Features,
    as_given,
    as_tuple,
    call_logits,
    predict_logit_difference,
    resize_scores,
)
from fewshot.learners.paper_layout import PaperLayout
from fewshot.learners.recipe import Recipe
from fewshot.learners.training_plan import TrainingPlan, single_stage

Ablations = Mapping[str, Mapping[str, str]]  # label of a row -> option -> text, as `--option` takes it


class Learner(Protocol):
    """The contract of every learner; a class needs the method, not this base."""

    def segment(self, support: Support, query: Tensor) -> Tensor:
        """Return foreground probabilities (Q,H,W) of query slices (Q,1,H,W); the mask is > 0.5.

        Evaluation passes one query slice per call, or all slices of a part if the class is `transductive`.
        """
        ...


@dataclass(frozen=True)
class LossResult:
    """The loss of a batch of episodes; every tensor stays on the device.

    `total` and every part are 0-dim float32, means over the defined episodes. A part that is only logged may
    be NaN. `defined` is a 0-dim bool: False if no episode of the batch has a loss; training then skips the
    step. `skipped` is a 0-dim int64: the number of the batch's episodes without a loss.
    """

    total: Tensor
    parts: dict[str, Tensor]
    defined: Tensor
    skipped: Tensor


class PrototypeLearner(nn.Module):
    """A learner that encodes every slice once and compares query features with support prototypes.

    A subclass must override only `logits`. `encode` may return a tuple of maps (several scales); `logits`
    receives the same tuple. Class attributes hold the facts of the method that its records state. A method
    may also have ablations, a paper's layout and a method `explain`: see `fewshot.studies`.
    """

    @dataclass(frozen=True)
    class Options:
        """No options; a method nests its own frozen dataclass of this name, with defaults and checks."""

    trainable: ClassVar[bool] = True
    adapts: ClassVar[bool] = False  # True: takes gradients at test time, so evaluation leaves them enabled
    regime: ClassVar[str] = "self-supervised"
    labels_used: ClassVar[str] = "none"  # labels seen in training: none, training-group or target
    support_order_matters: ClassVar[bool] = False  # True: the order of shots may change the mask
    transductive: ClassVar[bool] = False  # True: query slices may change each other's scores: query_mode.py
    class_weights: ClassVar[tuple[float, float]] = (0.05, 1.0)  # background, foreground; query branch only
    loss_parts: ClassVar[tuple[str, ...]] = ("query", "alignment")  # what `episode_loss` returns, in order
    ablations: ClassVar[Ablations] = {}  # rows of `fewshot ablate`: fewshot/studies/offers.py
    paper_layout: ClassVar[PaperLayout | None] = None  # tables of `fewshot paper`: fewshot/studies/offers.py

    takes_context: ClassVar[bool] = True  # whether `logits` accepts `prepared` and `branch`

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "_episode_loss" in vars(cls):
            raise UserError(
                f"{cls.__name__} defines _episode_loss, which training does not call; rename it episode_loss"
            )
        cls.takes_context = _takes_context(cls.logits)

    def __init__(self, encoder: nn.Module, options: Any = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.options = self.Options() if options is None else options

    @classmethod
    def new_encoder(cls, name: str, seed: int) -> nn.Module:
        """Return the method's encoder; `name` and `seed` fix its random weights.

        To load other weights it needs the attributes `name` and `backbone`, as `ResNetEncoder` has.
        """
        return one_map_encoder(name, seed)

    def encode(self, images: Tensor) -> Features:
        """Return the features of images (N,1,H,W) float32: (N,C,h,w), or a tuple of such maps."""
        features: Features = self.encoder(images)
        return features

    def prepare(self, support_masks: Tensor) -> dict[str, Tensor]:
        """Return tensors computed on the host from support masks (S,H,W) bool; default: none.

        `logits` receives them as `prepared`.
        """
        return {}

    def begin_step(self, step: int) -> None:
        """Do nothing; training calls this before each loss with the number of steps taken so far.

        Override it for a loss whose weights change with the step. They must depend only on `step`, so that a
        resumed training repeats.
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
        """Return background and foreground scores of one episode.

        An override may also take only the three positional arguments. Evaluation passes any number of query
        slices. The scores of a slice must not depend on the other slices, unless the class sets
        `transductive = True`: then Q is all query slices of a part.

        Args:
            support_features: S maps, as `encode` returns them.
            support_masks: bool, (S,H,W) in the query branch and (S,h,w) in the alignment branch.
            query_features: Q maps, as `encode` returns them.
            prepared: the tensors of `prepare`; empty in the alignment branch.
            branch: "query", or "alignment" in training.

        Returns:
            Scores (Q,2,h,w), or (scores, `defined`). `defined` is bool: False if the method has no prediction
            for this episode. The scores must be finite even then.
        """
        raise NotImplementedError(f"{type(self).__name__} must define logits")

    def loss(self, episode: Episode) -> LossResult:
        """Return the cross-entropy of the query plus that of prototype alignment, of equal weight.

        The encoder gets support and query of all B episodes as one batch, support first. The query branch
        weighs the classes by `class_weights` and divides by the sum of weights. In the alignment branch the
        query's argmax at h x w is the mask, query features are the support and each support shot is a query;
        its unweighted cross-entropy is averaged over the shots. Both losses follow bilinear upsampling to the
        image. An episode that is undefined in either branch has no loss. Rules M-LSS-1 to M-LSS-5 of
        docs/methods.md. Source: Ouyang et al., ECCV 2020, section 3.4.
        """
        episodes, shots = episode.support_images.shape[:2]
        images = torch.cat([episode.support_images.flatten(0, 1), episode.query_images.flatten(0, 1)])
        maps = as_tuple(self.encode(images))
        supports = [level[: episodes * shots].reshape(episodes, shots, *level.shape[1:]) for level in maps]
        queries = [level[episodes * shots :].reshape(episodes, -1, *level.shape[1:]) for level in maps]
        losses, flags = [], []
        for b in range(episodes):
            support = as_given([level[b] for level in supports])
            query = as_given([level[b] for level in queries])
            prepared = {name: value[b] for name, value in episode.prepared.items()}
            loss, defined = self.episode_loss(
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

    def episode_loss(
        self, support: Features, support_masks: Tensor, query: Features, query_masks: Tensor, prepared: Any
    ) -> tuple[Tensor, Tensor]:
        """Return the parts of the loss of one episode, and whether it has a loss.

        Override it for another loss, with `loss_parts` for its names. `loss` averages every part
        over the episodes with a loss and adds the parts up.

        Args:
            support: S maps, as `encode` returns them, in training mode.
            support_masks: (S,H,W) bool.
            query: Q maps.
            query_masks: (Q,H,W) bool.
            prepared: the tensors of `prepare` for the support masks.

        Returns:
            The parts (P,) float32 in the order of `loss_parts`, by default the query loss and the alignment
            loss, and `defined`, 0-dim bool. A part must be finite where `defined` is True.
        """
        scores, query_defined = call_logits(self, support, support_masks, query, prepared, "query")
        weights = torch.stack([scores.new_full((), weight) for weight in self.class_weights])
        query_loss = F.cross_entropy(resize_scores(scores, query_masks), query_masks.long(), weight=weights)
        predicted = scores.argmax(dim=1) == 1
        back, alignment_defined = call_logits(self, query, predicted, support, {}, "alignment")
        alignment_loss = F.cross_entropy(resize_scores(back, support_masks), support_masks.long())
        return torch.stack([query_loss, alignment_loss]), query_defined & alignment_defined

    def segment(self, support: Support, query: Tensor) -> Tensor:
        """Return foreground probabilities (Q,H,W) of query slices (Q,1,H,W)."""
        shots = support.images.shape[0]
        maps = as_tuple(self.encode(torch.cat([support.images, query])))
        prepared = {name: value.to(query.device) for name, value in self.prepare(support.masks.cpu()).items()}
        difference, _defined = predict_logit_difference(
            self,
            as_given([level[:shots] for level in maps]),
            support.masks,
            as_given([level[shots:] for level in maps]),
            prepared,
            (query.shape[-2], query.shape[-1]),
        )
        return torch.sigmoid(difference)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimiser's groups: `params`, and `rate`, a factor of the learning rate."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "rate": 1.0}]

    @classmethod
    def constants_for(cls, options: Any, region: str, setting: int) -> tuple[Any, tuple[str, ...]]:
        """Return the options with the published constants for a region and a setting, and marks for records.

        Override it for a method whose authors change constants with the dataset; the learner itself sees
        neither region nor setting. Idempotent. Default: the options unchanged and no marks.

        Args:
            options: the method's options.
            region: "abdomen" or "heart".
            setting: 1 or 2.

        Returns:
            The options, and one line for each choice that the reader of a record must know.
        """
        return options, ()

    @classmethod
    def used_options(cls, options: Any, weights: str | None) -> dict[str, Any]:
        """Return the options that a training from `weights` depends on, for spec and records; default: all.

        A rebuilt learner has the default of every option that is missing here.
        """
        return asdict(options)

    @classmethod
    def labels_of(cls, options: Any) -> str:
        """Return the labels that a training with these options sees; default: `labels_used`."""
        return cls.labels_used

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the published training."""
        return Recipe()

    @classmethod
    def training_plan(cls, options: Any, recipe: Recipe) -> TrainingPlan:
        """Return the stages of a training with these options and this recipe; default: one stage."""
        return single_stage(recipe)

    @classmethod
    def complete_recipe(cls, options: Any, recipe: Recipe, typed: Mapping[str, Any]) -> Recipe:
        """Return the recipe with the values that follow from the options; default: the recipe.

        Args:
            options: the method's options.
            recipe: the published recipe with the user's changes.
            typed: the values of `weights` and `steps` that the user gave.

        Raises:
            UserError: the user gave a value for a stage that the options leave out.
        """
        return recipe


def encoder_for(learner: type[Any], name: str, seed: int) -> nn.Module:
    """Return the encoder of a learner class: that of its `new_encoder`, else that of `one_map_encoder`."""
    encoder: nn.Module = getattr(learner, "new_encoder", one_map_encoder)(name, seed)
    return encoder


def _takes_context(logits: Callable[..., Any]) -> bool:
    """Whether `logits` accepts `prepared` and `branch`; False for the short form."""
    parameters = inspect.signature(logits).parameters
    return "branch" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
