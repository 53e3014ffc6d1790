"""The recipe of a training: steps, rates and the source of episodes; every number is an option."""

from __future__ import annotations

from dataclasses import dataclass

from fewshot.base.errors import UserError, unknown_name

# "supervoxel": two consecutive of the slices that show a supervoxel (ADNet); "supervoxel-run": adjacent
# (Q-Net)
EPISODES = ("superpixel", "supervoxel", "supervoxel-run")


@dataclass(frozen=True)
class Recipe:
    """The published training of a method; every number is an option.

    `decay` multiplies the learning rate every `decay_every` steps; with `decay_every` 0 it is the exponent of
    a rate that falls to 0 at the last step, (1 - moves / steps)^decay. `batch` is the number of episodes per
    step; `episode` is the source of labels, one of `EPISODES`; `draw` is the rule that draws a superpixel.
    """

    steps: int = 100_100
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay: float = 0.95
    decay_every: int = 1000
    snapshot_every: int = 25_000
    batch: int = 1
    episode: str = "superpixel"
    augmentation: str = "published"
    draw: str = "present"
    encoder: str = "resnet101"
    weights: str = "coco"

    def __post_init__(self) -> None:
        """Raise `UserError` for a number that no training can have."""
        for name, least in (("steps", 0), ("batch", 1), ("decay_every", 0), ("snapshot_every", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}, expected {least} or more")
        if self.learning_rate <= 0 or self.decay <= 0:
            raise UserError(f"learning_rate {self.learning_rate} and decay {self.decay}: expected above 0")
        if min(self.momentum, self.weight_decay) < 0:
            raise UserError(f"momentum {self.momentum}, weight_decay {self.weight_decay}: expected 0 or more")
        if self.episode not in EPISODES:
            raise unknown_name("episode kind", self.episode, EPISODES)
        if self.episode != "superpixel" and self.draw != "present":
            raise UserError(
                f"draw is {self.draw!r} but episode is {self.episode!r}, which draws only labels that are "
                "present; leave draw=present, or use episode=superpixel"
            )

    def rate_after(self, moves: int) -> float:
        """Return the learning rate after `moves` steps that moved the weights."""
        if self.decay_every == 0:
            left: float = max(0.0, 1 - moves / max(1, self.steps)) ** self.decay
            return self.learning_rate * left
        return self.learning_rate * self.decay ** (moves // self.decay_every)
