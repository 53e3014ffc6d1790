"""A training plan: the named stages that a method is trained in, each beginning from the one before.

The runner trains what a plan says and knows no method's name. Every stage is a training with a key of its
own, so what is finished is reused, and a stage that is another method's whole training is shared with it.
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
        name: names the stage in records, and the weights it makes for `--weights`.
        recipe: numbers of the pre-training, `fewshot.densecl.DenseCLRecipe`.
        images: what the paper pre-trains on, for the mark of records that were pre-trained on other images.
    """

    name: str
    recipe: Any
    images: str


@dataclass(frozen=True)
class EpisodeStage:
    """Training on episodes by a recipe.

    Attributes:
        name: names the stage in records.
        recipe: steps, rates and where episodes come from. Encoder and weights are those of the first stage.
        method: the registry name of the method whose own training this stage is; None for the method itself.
        options: that method's options; None with `method` None.
        annotated: share of episodes whose labels are manual ones of the training group, in [0, 1].
        seed_name: names the stage's own seed; None for the training's seed.
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
            raise ValueError(f"stages {', '.join(names)}: two have one name")
        if not self.episode_stages or any(isinstance(one, BackboneStage) for one in self.stages[1:]):
            raise ValueError("a plan holds at most one backbone stage, which comes first, and then episodes")

    @property
    def backbone_stage(self) -> BackboneStage | None:
        """Return the stage that makes the first weights, if the plan has one."""
        first = self.stages[0]
        return first if isinstance(first, BackboneStage) else None

    @property
    def episode_stages(self) -> tuple[EpisodeStage, ...]:
        """Return the stages that train on episodes."""
        return tuple(stage for stage in self.stages if isinstance(stage, EpisodeStage))

    @property
    def last(self) -> EpisodeStage:
        """Return the stage whose weights are evaluated."""
        return self.episode_stages[-1]

    @property
    def has_stages(self) -> bool:
        """Tell whether records describe the stages one by one: more than one, or another method's."""
        return len(self.stages) > 1 or self.last.method is not None

    @property
    def reads_labels(self) -> bool:
        """Tell whether a stage reads manual labels of the training group."""
        return any(stage.annotated > 0 for stage in self.episode_stages)


def single_stage(recipe: Recipe) -> TrainingPlan:
    """Return the plan of a method that is trained once, on the episodes of its recipe."""
    return TrainingPlan((EpisodeStage("episodes", recipe),))
