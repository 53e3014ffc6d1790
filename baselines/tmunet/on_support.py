"""TMUnet fitted to the support slices alone, at test time: a few-shot row beside the supervised one.

For each support a network with new weights takes `steps` Adam steps on its slices. The weights follow from
`seed` and the support, so a mask depends on no earlier call; fitted networks of the last supports are kept.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.tmunet.model import TMUnet, TMUnetOptions
from fewshot.base.errors import UserError
from fewshot.base.seeds import seed_for
from fewshot.base.types import LabelledBatch, Support

KEPT = 16  # fitted networks in memory


@dataclass(frozen=True)
class TMUnetOnSupportOptions(TMUnetOptions):
    """Options of TMUnet, and of its fitting."""

    encoder: str = "resnet18"
    steps: int = 60
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 0 or self.learning_rate <= 0:
            raise UserError(
                f"options steps {self.steps} and learning_rate {self.learning_rate}: expected 0 or more "
                "steps and a rate above 0"
            )


class TMUnetOnSupport:
    """A learner with `segment` alone, which takes gradients at test time."""

    version: ClassVar[int] = 1
    Options = TMUnetOnSupportOptions
    trainable: ClassVar[bool] = False
    adapts: ClassVar[bool] = True
    regime: ClassVar[str] = "fitted to the support"
    labels_used: ClassVar[str] = "none"

    def __init__(self, options: TMUnetOnSupportOptions | None = None) -> None:
        self.options = TMUnetOnSupportOptions() if options is None else options
        self._fitted: OrderedDict[str, TMUnet] = OrderedDict()

    def segment(self, support: Support, query: Tensor) -> Tensor:
        """Return foreground probabilities (Q,H,W) of query slices (Q,1,H,W)."""
        key = _digest(support)
        if key not in self._fitted:
            self._fitted[key] = self._fit(support)
            if len(self._fitted) > KEPT:
                self._fitted.popitem(last=False)
        with torch.inference_mode():
            return self._fitted[key].class_probabilities(query)[:, 0]

    def _fit(self, support: Support) -> TMUnet:
        """Return a new network after its steps on the support slices (S,1,H,W)."""
        chosen = self.options
        learner = TMUnet.new_encoder(chosen.encoder, chosen.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for("tmunet-support", chosen.seed))
            network = TMUnet(learner, chosen, ("class",)).to(support.images.device).train()
        optimiser = torch.optim.Adam(network.parameters(), lr=chosen.learning_rate)
        images = torch.cat([support.images, support.images.flip(-1)])  # BatchNorm needs two pictures
        masks = torch.cat([support.masks, support.masks.flip(-1)])[:, None]
        with torch.enable_grad():
            for _step in range(chosen.steps):
                result = network.loss(LabelledBatch(images, masks))
                if bool(result.defined):
                    optimiser.zero_grad(set_to_none=True)
                    result.total.backward()  # type: ignore[no-untyped-call]
                    optimiser.step()
        return network.eval()


def _digest(support: Support) -> str:
    """Return a hash of a support's images and masks."""
    parts = (support.images.cpu().contiguous(), support.masks.cpu().contiguous())
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()
