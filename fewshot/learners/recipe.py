"""How a method is trained: steps, rates, where episodes come from; every number is an option."""

from __future__ import annotations

from dataclasses import dataclass

from fewshot.base.errors import UserError, unknown_name

# "supervoxel": any two slices in a row that show one (ADNet); "supervoxel-run": adjacent ones (Q-Net)
EPISODES = ("superpixel", "supervoxel", "supervoxel-run")


@dataclass(frozen=True)
class Recipe:
    """How a method is trained as published; every number is an option.

    `decay` multiplies the learning rate every `decay_every` steps; `batch` is episodes a step; `episode`
    is where labels come from, one of `EPISODES`; `draw` is how a superpixel is drawn.
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
        """Refuse numbers that no training can have."""
        for name, least in (("steps", 0), ("batch", 1), ("decay_every", 1), ("snapshot_every", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}, wanted {least} or more")
        if self.learning_rate <= 0 or self.decay <= 0:
            raise UserError(f"learning_rate {self.learning_rate} and decay {self.decay}: wanted above 0")
        if min(self.momentum, self.weight_decay) < 0:
            raise UserError(f"momentum {self.momentum}, weight_decay {self.weight_decay}: wanted 0 or more")
        if self.episode not in EPISODES:
            raise unknown_name("episode kind", self.episode, EPISODES)
        if self.episode != "superpixel" and self.draw != "present":
            raise UserError(
                f"draw is {self.draw!r} but episode is {self.episode!r}, which takes what is there alone; "
                "leave draw=present, or use episode=superpixel"
            )

    def rate_after(self, moves: int) -> float:
        """Return the learning rate after `moves` steps that moved the weights: x decay every decay_every."""
        return self.learning_rate * self.decay ** (moves // self.decay_every)
