"""A stage 1 and a folder of twelve pictures that tests name but never read."""

from __future__ import annotations

import torch

from fewshot.pretraining.densecl import DenseCLRecipe
from protocols.training.pretraining import PretrainingSettings

RECIPE = DenseCLRecipe(batch=4, queue=8, size=64, hidden=16, out=8)


STAGE = PretrainingSettings(RECIPE, "resnet18", 0, torch.device("cpu"))


class Twelve:
    """A folder of pictures by name only."""

    source = "roco"
    hashes = tuple(f"{number:016x}" for number in range(12))
    cuts = (None,)

    def __len__(self) -> int:
        return 12

    def read(self, number: int) -> torch.Tensor:
        raise AssertionError("nothing is trained here")
