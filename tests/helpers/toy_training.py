"""A learner of a few weights and episodes for it, with everything that a training must keep track of."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewshot.base.types import Episode
from fewshot.learners.learner import LossResult
from fewshot.learners.recipe import Recipe
from fewshot.training.loop import TrainingResult, train

RECIPE = Recipe(
    steps=12, learning_rate=0.05, decay=0.5, decay_every=3, snapshot_every=5, encoder="toy", weights="random"
)


class ToyLearner(nn.Module):
    """BatchNorm, dropout (so that random state matters) and two parameter groups.

    An episode whose label starts with "undefined" has no defined loss; "nan" makes the loss not finite.
    """

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.3))
        self.head = nn.Conv2d(4, 1, 1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.rand(parameter.shape, generator=generator) - 0.3)

    def loss(self, episode: Episode) -> LossResult:
        images = torch.cat((episode.support_images.flatten(0, 1), episode.query_images.flatten(0, 1)))
        logits = self.head(self.body(images))[:, 0].float()
        shots = episode.support_masks.shape[0]
        loss = nn.functional.binary_cross_entropy_with_logits
        query = loss(logits[shots:], episode.query_masks.flatten(0, 1).float())
        alignment = loss(logits[:shots], episode.support_masks.flatten(0, 1).float())
        if episode.label.startswith("nan"):
            query = query * float("nan")
        undefined = episode.label.startswith("undefined")
        return LossResult(
            query + alignment,
            {"query": query, "alignment": alignment},
            torch.tensor(not undefined),
            torch.tensor(int(undefined)),
        )

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [
            {"params": list(self.body.parameters()), "rate": 1.0},
            {"params": list(self.head.parameters()), "rate": 0.01},
        ]


class NanWhereUndefined(ToyLearner):
    """An undefined loss may be anything."""

    def loss(self, episode: Episode) -> LossResult:
        result = super().loss(episode)
        if episode.label == "undefined":
            return dataclasses.replace(result, total=result.total * float("nan"))
        return result


@dataclass
class ToyEpisodes:
    """Episodes that depend on their step; `labels[step]` overrides a label, `stop_at` raises instead."""

    labels: dict[int, str] = field(default_factory=dict)
    stop_at: int | None = None
    asked: list[range] = field(default_factory=list)
    closed: bool = False

    def __call__(self, steps: range) -> Iterator[Episode]:
        self.asked.append(steps)
        try:
            for step in steps:
                if step == self.stop_at:
                    raise InterruptedError(f"stopped before step {step}")
                yield toy_episode(step, self.labels.get(step, f"scan:{step}:1"))
        finally:
            self.closed = True


def toy_episode(step: int, label: str = "") -> Episode:
    generator = torch.Generator().manual_seed(step)

    def image() -> Tensor:
        return torch.randn(1, 1, 1, 8, 8, generator=generator)

    support, query = image(), image()
    return Episode(support, support[:, :, 0] > 0.2, query, query[:, :, 0] > 0.2, {}, label)


def toy_train(
    folder: Path,
    episodes: Callable[[range], Iterator[Episode]] | None = None,
    recipe: Recipe = RECIPE,
    learner: ToyLearner | None = None,
    **options: Any,
) -> TrainingResult:
    settings = {"seed": 1, "device": torch.device("cpu"), "checkpoint_every": 4, **options}
    return train(learner or ToyLearner(), recipe, folder, episodes=episodes or ToyEpisodes(), **settings)


UNDEFINED = {0: "undefined", 4: "undefined", 5: "undefined", 11: "undefined"}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "losses.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))
