"""Hourglass: discs of the spine as heat-maps of a stacked hourglass, with attention over its stacks.

Azad, Rouhier & Cohen-Adad, "Stacked Hourglass Network with a Multi-level Attention Mechanism: Where to Look
for Intervertebral Disc Labeling", MLMI 2021, arXiv 2108.06554. A landmark method: it trains on points.
Published: targets split from one quantised map, a loss without empty channels, and the true number of discs
at test time.
Corrected: a bell for each point, empty channels in the loss, and no true number (docs/landmarks.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from baselines.hourglass.decoding import Chain, channels_by_count, channels_by_peak, decode, decode_sum
from baselines.hourglass.heat_maps import (
    VARIANCE,
    published_targets,
    separate_targets,
    stack_loss,
    weighted_loss,
)
from baselines.hourglass.network import MULTIPLE, HourglassNetwork
from baselines.hourglass.skeleton import Points, normalised_chain
from baselines.pictures import check_network_size, scaled_pictures
from fewshot.base.errors import UserError
from fewshot.base.precision import in_float32
from fewshot.base.types import LabelledBatch
from fewshot.encoders.checkpoints import load_state, plain_weights, read_checkpoint
from fewshot.learners.learner import LossResult
from fewshot.learners.recipe import Recipe
from fewshot.regimes.landmarks import LandmarkLearner, Landmarks

CHANNELS = 11  # discs of the published network
MOST_STACKS = 8
PEAK_WINDOW = 5  # pixels around a point that hold the peak of the sum


@dataclass(frozen=True)
class HourglassOptions:
    """Options of the hourglass; with `variant=published` the defaults are published."""

    variant: Literal["published", "corrected"] = "corrected"
    stacks: int = 2
    attention: bool = True
    width: float = 1.0  # factor of all inner channels
    side: int = 256  # pixels a side of the network's pictures
    channels: int = CHANNELS  # most discs of a picture
    variance: float = VARIANCE  # of a target's bell, in square pixels
    foreground_weight: float = 20.0  # of targets in the corrected loss
    decoding: Literal["variant", "count", "peak", "sum"] = "variant"  # published: count, corrected: sum
    gate: float = 0.5  # least peak of a disc, for peak and sum

    def __post_init__(self) -> None:
        if not 1 <= self.stacks <= MOST_STACKS:
            raise UserError(f"option stacks is {self.stacks}, expected 1 to {MOST_STACKS}")
        check_network_size(self.side, MULTIPLE, self.width)
        if not 1 <= self.channels <= 64:
            raise UserError(f"option channels is {self.channels}, expected 1 to 64")
        if self.variance <= 0 or self.foreground_weight < 0:
            raise UserError(
                f"options variance {self.variance} and foreground_weight {self.foreground_weight}: expected "
                "above 0, and 0 or more"
            )
        if not 0 < self.gate < 1:
            raise UserError(f"option gate is {self.gate}, expected between 0 and 1")

    @property
    def decoded_by(self) -> str:
        """The decoding in use."""
        if self.decoding != "variant":
            return self.decoding
        return "count" if self.variant == "published" else "sum"


class LateDecay(Recipe):
    """A recipe whose first period of one rate is twice as long: published, 60, 30 and 30 epochs."""

    def rate_after(self, moves: int) -> float:
        """Return the learning rate after `moves` steps that moved the weights."""
        return self.learning_rate * self.decay ** max(0, moves // self.decay_every - 1)


class Hourglass(LandmarkLearner):
    """The network, and the mean skeleton of its training pictures, which the buffers `chain_*` sum up."""

    version: ClassVar[int] = 1
    optimizer = "rmsprop"
    ablations: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "attention": {},
        "no attention": {"attention": "false"},
        "one stack": {"stacks": "1"},
    }

    Options = HourglassOptions  # type: ignore[assignment]
    options: HourglassOptions
    chain_sums: Tensor
    chain_counts: Tensor

    def __init__(
        self, encoder: nn.Module, options: HourglassOptions | None, classes: tuple[str, ...]
    ) -> None:
        super().__init__(encoder, options, classes)
        chosen = self.options
        self.network = HourglassNetwork(chosen.stacks, chosen.attention, chosen.channels, chosen.width)
        self.register_buffer("chain_sums", torch.zeros(chosen.channels, 2, dtype=torch.float64))
        self.register_buffer("chain_counts", torch.zeros(chosen.channels, dtype=torch.float64))

    @classmethod
    def new_encoder(cls, name: str, seed: int) -> nn.Module:
        """Return a module without weights, since the network has a stem of its own; `name` is "none"."""
        if name != "none":
            raise UserError(f"hourglass has no encoder to choose, found {name!r}; leave out --encoder")
        return nn.Module()

    @classmethod
    def recipe(cls) -> Recipe:
        """Return the published training: RMSprop 2.5e-4, batch 3, 120 epochs of 212 pictures, flips.

        The rate falls to a tenth at epochs 60 and 90. The released program keeps the epoch with the most
        correct key points of a validation part; here the last step is kept.
        """
        return LateDecay(
            steps=8_480, learning_rate=2.5e-4, momentum=0.0, weight_decay=0.0, decay=0.1, decay_every=2_120,
            snapshot_every=848, batch=3, augmentation="flip", encoder="none", weights="random",
        )  # fmt: skip

    @property
    def reads_count(self) -> bool:
        """Whether decoding takes the true number of discs."""
        return self.options.decoded_by == "count"

    @property
    def skeleton(self) -> Points:
        """The mean normalised chain (C,2) of the training pictures; NaN for joints that none has."""
        sums, counts = self.chain_sums.cpu().numpy(), self.chain_counts.cpu().numpy()[:, None]
        mean: Points = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        return mean

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the heat-maps (N,C,side,side) of every stack for slices (N,1,H,W)."""
        maps: list[Tensor] = self.network(scaled_pictures(images, self.options.side, "hourglass"))
        return maps

    def loss(self, batch: LabelledBatch) -> LossResult:
        """Return the sum of the losses of all stacks; the chains of the batch enter the mean skeleton."""
        if batch.points is None or batch.flipped is None:
            raise ValueError("a batch without points, expected (N,P,2)")
        shape = (batch.images.shape[-2], batch.images.shape[-1])
        chains = [chain[~np.isnan(chain).any(axis=1)] for chain in batch.points.cpu().numpy()]
        self._add_chains(chains, batch.flipped.tolist(), shape)
        target = self._targets(chains, shape).to(batch.images.device)
        maps = self(batch.images)
        with in_float32(batch.images.device):
            visible = (target.flatten(2).amax(dim=2) > 0).float()
            each = [self._stack_loss(one.float(), target, visible) for one in maps]
            total = torch.stack(each).sum()
        return LossResult(
            total=total,
            parts={f"stack {number}": one for number, one in enumerate(each, start=1)},
            defined=torch.ones((), dtype=torch.bool, device=total.device),
            skipped=torch.zeros((), dtype=torch.int64, device=total.device),
        )

    def locate(self, images: Tensor, counts: Sequence[int] | None = None) -> Landmarks:
        """Return the discs of slices (N,1,H,W), top to bottom; `counts` as in `LandmarkLearner`."""
        if self.reads_count and counts is None:
            raise ValueError("decoding=count without the true numbers of points")
        shape = (images.shape[-2], images.shape[-1])
        maps = self(images)[-1].double().cpu().numpy()
        numbers = [None] * len(maps) if counts is None else list(counts)
        chains = [self.decode(heat, number) for heat, number in zip(maps, numbers, strict=True)]
        masks = np.stack([disc_shares(heat, chain) for heat, chain in zip(maps, chains, strict=True)])
        shares = torch.from_numpy(masks)[:, None].float().to(images.device)
        if shares.shape[-2:] != shape:
            shares = F.interpolate(shares, size=shape, mode="bilinear", align_corners=False)
        scale = np.asarray(shape) / self.options.side
        places = tuple(torch.from_numpy((chain.places + 0.5) * scale - 0.5) for chain in chains)
        return Landmarks(shares, places, tuple(torch.from_numpy(chain.scores) for chain in chains))

    def heat(self, images: Tensor) -> Tensor:
        """Return the heat-maps (N,C,side,side) that `locate` decodes: the last stack's, a channel a disc."""
        return self(images)[-1]  # type: ignore[no-any-return]

    def class_probabilities(self, images: Tensor) -> Tensor:
        """Return probabilities (N,1,H,W) of discs; impossible if decoding reads the true number."""
        return self.locate(images).probabilities

    def load_published(self, path: Path) -> None:
        """Load the network of a released file, by name and strictly, or a checkpoint of this program.

        A released file has no skeleton, so decodings that need one take the strongest candidates.
        """
        content = read_checkpoint(path)
        inner = content.get("model_weights")
        state = plain_weights(inner if isinstance(inner, Mapping) else content, path)
        state = {name.removeprefix("module."): value for name, value in state.items()}
        load_state(self if "chain_sums" in state else self.network, state, path)

    def decode(self, maps: NDArray[np.float64], count: int | None) -> Chain:
        """Return the chain of heat-maps (C,side,side) by the option `decoding`."""
        chosen = self.options
        if chosen.decoded_by == "sum":
            return decode_sum(maps, chosen.gate, chosen.variance)
        if chosen.decoded_by == "peak":
            return decode(maps, channels_by_peak(maps, chosen.gate), self.skeleton, weighted=True)
        assert count is not None
        return decode(maps, channels_by_count(maps, count), self.skeleton, weighted=False)

    def _stack_loss(self, maps: Tensor, target: Tensor, visible: Tensor) -> Tensor:
        if self.options.variant == "published":
            return stack_loss(maps, target, visible)
        return weighted_loss(maps, target, self.options.foreground_weight)

    def _targets(self, chains: Sequence[Points], shape: tuple[int, int]) -> Tensor:
        """Return the targets (N,C,side,side) of the points of each slice."""
        chosen = self.options
        make = published_targets if chosen.variant == "published" else separate_targets
        if chosen.variant == "corrected" and any(len(chain) > chosen.channels for chain in chains):
            most = max(len(chain) for chain in chains)
            raise UserError(
                f"a training slice has {most} points, expected at most {chosen.channels}; give --option "
                f"channels={most}"
            )
        made = [make(chain, shape, chosen.side, chosen.channels, chosen.variance) for chain in chains]
        return torch.from_numpy(np.stack(made)).float()

    @torch.no_grad()
    def _add_chains(self, chains: Sequence[Points], flipped: Sequence[bool], shape: tuple[int, int]) -> None:
        """Add each slice's chain, as it was before its flip, to the sums of the mean skeleton."""
        for chain, mirrored in zip(chains, flipped, strict=True):
            ordered = chain[np.argsort(chain[:, 0], kind="stable")][: self.options.channels]
            if mirrored:
                ordered[:, 1] = shape[1] - 1 - ordered[:, 1]
            normalised = normalised_chain(ordered)
            if normalised is not None:
                joints = torch.from_numpy(normalised).to(self.chain_sums.device)
                self.chain_sums[: len(joints)] += joints
                self.chain_counts[: len(joints)] += 1


def disc_shares(maps: NDArray[np.float64], chain: Chain) -> NDArray[np.float64]:
    """Return heat (side,side) whose values above 0.5 are the discs of a chain.

    The heat of a channel is divided by its maximum, so its disc lies above half of that. A chain from the sum
    of all channels divides the sum by the peak of the nearest point.
    """
    if not len(chain.places):
        return np.zeros(maps.shape[1:])
    if chain.channels[0] >= 0:
        heat: NDArray[np.float64] = (maps[chain.channels] / chain.scores[:, None, None]).max(axis=0)
        return np.clip(heat, 0, 1)
    rows, columns = np.indices(maps.shape[1:])
    distance = [(rows - row) ** 2 + (columns - column) ** 2 for row, column in chain.places]
    summed: NDArray[np.float64] = np.clip(maps, 0, None).sum(axis=0)
    tops = ndimage.maximum_filter(summed, PEAK_WINDOW)
    peaks = np.array([tops[round(row), round(column)] for row, column in chain.places])
    shares: NDArray[np.float64] = np.clip(summed / peaks[np.argmin(distance, axis=0)], 0, 1)
    return shares
