"""A training plan: the named stages of a method's training, each starting from the weights of the last.

The runner trains the stages of a plan and knows no method's name. Every stage is a training with a key of its
own: a finished stage is reused, and a stage that equals another method's training is shared with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fewshot.base.errors import UserError
from fewshot.learners.recipe import Recipe


@dataclass(frozen=True)
class BackboneStage:
    """Pre-training of the encoder's backbone on unlabelled images of the fold's training scans.

    Attributes:
        name: the stage in records, and its weights in `--weights`.
        recipe: numbers of the pre-training, `fewshot.densecl.DenseCLRecipe`.
        images: the paper's pre-training images; records that used other images are marked.
    """

    name: str
    recipe: Any
    images: str


@dataclass(frozen=True)
class EpisodeStage:
    """Training on episodes by a recipe.

    Attributes:
        name: the stage in records.
        recipe: steps, rates and source of episodes. Encoder and weights are those of the first stage.
        method: registry name of another method whose own training this stage is; None for the method itself.
        options: that method's options; None without another method.
        annotated: share of episodes with manual labels of the training group, in [0, 1].
        seed_name: name of the stage's own seed; None for the training's seed.
    """

    name: str
    recipe: Recipe
    method: str | None = None
    options: Any = None
    annotated: float = 0.0
    seed_name: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.annotated <= 1:
            raise UserError(f"stage {self.name}: annotated is {self.annotated}, expected a share in 0..1")


Stage = BackboneStage | EpisodeStage


@dataclass(frozen=True)
class TrainingPlan:
    """The stages of a training in order; at most one `BackboneStage`, first, then episodes."""

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stages {', '.join(names)}: two have the same name")
        if not self.episode_stages or any(isinstance(stage, BackboneStage) for stage in self.stages[1:]):
            raise ValueError("a plan holds at most one backbone stage, which comes first, and then episodes")

    @property
    def backbone_stage(self) -> BackboneStage | None:
        """The stage that makes the first weights; None for a plan without one."""
        first = self.stages[0]
        return first if isinstance(first, BackboneStage) else None

    @property
    def episode_stages(self) -> tuple[EpisodeStage, ...]:
        """The stages that train on episodes, in order."""
        return tuple(stage for stage in self.stages if isinstance(stage, EpisodeStage))

    @property
    def last(self) -> EpisodeStage:
        """The stage whose weights are evaluated."""
        return self.episode_stages[-1]

    @property
    def has_stages(self) -> bool:
        """Whether records list the stages: the plan has several, or its stage is another method's."""
        return len(self.stages) > 1 or self.last.method is not None

    @property
    def reads_labels(self) -> bool:
        """Whether a stage reads manual labels of the training group."""
        return any(stage.annotated > 0 for stage in self.episode_stages)


def single_stage(recipe: Recipe) -> TrainingPlan:
    """Return the plan with one stage: training on the episodes of `recipe`."""
    return TrainingPlan((EpisodeStage("episodes", recipe),))
