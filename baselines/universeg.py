"""UniverSeg: a network that segments slices from a context of annotated slices, without training on the task.

Butoi et al., "UniverSeg: Universal Medical Image Segmentation", ICCV 2023, arXiv 2304.06131. The network is
the published one. Its authors trained it on many annotated datasets, so its labels are external. Its weights,
`universeg_v1_nf64_ss64_STA.pt` on the project's release page, are under the OpenRAIL++-M licence (research
use) and not part of this repository: give the path of your copy as the option `weights`. Without it the
weights are random, for tests only.

Slices are resized to 128 x 128 pixels (bilinear; masks by area) and scaled to [0, 1] by their own least and
largest value; logits are resized back to the slice. The context of a query slice is the protocol's support
for its part. The published weights were trained with contexts of 64 slices.
Rules UNIVERSEG-1 and so on are those of docs/methods.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.base.errors import UserError
from fewshot.base.seeds import seed_for
from fewshot.base.types import Support
from fewshot.encoders.checkpoints import load_released
from fewshot.files.atomic_io import sha256_of

SIDE = 128  # side of the network's inputs in pixels
FEATURES = 64
RANDOM = "random"


class CrossBlock(nn.Module):
    """Mix a target with every slice of its context (rule UNIVERSEG-1); parameter names are published."""

    def __init__(self, target_channels: int, support_channels: int) -> None:
        super().__init__()
        self._target_channels = target_channels
        self.cross = nn.ModuleDict(
            {"cross_conv": nn.Conv2d(target_channels + support_channels, FEATURES, 3, padding=1)}
        )
        self.target = nn.ModuleDict({"vmapped": _convolution(3)})
        self.support = nn.ModuleDict({"vmapped": _convolution(3)})

    def forward(self, target: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
        """Map a target (Q,Ct,h,w) and its context (Q,S,Cs,h,w) to (Q,64,h,w) and (Q,S,64,h,w)."""
        weight, bias = (
            self.get_parameter("cross.cross_conv.weight"),
            self.get_parameter("cross.cross_conv.bias"),
        )
        for_target, for_support = weight[:, : self._target_channels], weight[:, self._target_channels :]
        # the convolution of a concatenation is a sum; every context slice shares the target's part
        shared = F.conv2d(target, for_target, bias, padding=1)
        mixed = shared[:, None] + _each(lambda maps: F.conv2d(maps, for_support, padding=1), support)
        new_target = F.leaky_relu(self.get_submodule("target.vmapped.conv")(mixed.mean(dim=1)))
        convolve = self.get_submodule("support.vmapped.conv")
        return new_target, F.leaky_relu(_each(convolve, mixed))


class UniverSegNetwork(nn.Module):
    """The published network: four encoder blocks, three decoder blocks, 1,182,785 parameters."""

    def __init__(self) -> None:
        super().__init__()
        encoders = [CrossBlock(1, 2), *(CrossBlock(FEATURES, FEATURES) for _ in range(3))]
        self.enc_blocks = nn.ModuleList(encoders)
        self.dec_blocks = nn.ModuleList(CrossBlock(2 * FEATURES, 2 * FEATURES) for _ in range(3))
        self.out_conv = _convolution(1, outputs=1)

    def forward(self, target: Tensor, context: Tensor) -> Tensor:
        """Return logits (Q,128,128) of targets (Q,1,128,128); context (S,2,128,128) has image and mask."""
        support = context.expand(len(target), -1, -1, -1, -1)
        kept = []
        for number, block in enumerate(self.enc_blocks):
            if number:
                target, support = F.max_pool2d(target, 2), _each(lambda maps: F.max_pool2d(maps, 2), support)
            target, support = block(target, support)
            kept.append((target, support))
        for block, (skipped_target, skipped_support) in zip(self.dec_blocks, kept[-2::-1], strict=True):
            target = torch.cat([_doubled(target), skipped_target], dim=1)
            support = torch.cat([_each(_doubled, support), skipped_support], dim=2)
            target, support = block(target, support)
        logits: Tensor = self.out_conv["conv"](target)
        return logits[:, 0]


class UniverSeg(nn.Module):
    """The published network as a learner that has only `segment`."""

    version: ClassVar[int] = 1
    trainable: ClassVar[bool] = False
    regime: ClassVar[str] = "in-context"
    labels_used: ClassVar[str] = "external"
    published_weights: ClassVar[str] = "universeg_v1_nf64_ss64_STA.pt"

    @dataclass(frozen=True)
    class Options:
        """The weights file and its sha256, which is computed."""

        weights: str = RANDOM  # path of the published file
        weights_sha256: str = ""

        def __post_init__(self) -> None:
            if self.weights == RANDOM:
                return
            if not Path(self.weights).is_file():
                raise UserError(
                    f"option weights: no file {self.weights!r}; give the path of "
                    f"{UniverSeg.published_weights}, downloaded from the project's release page"
                )
            sha256 = sha256_of(Path(self.weights))
            if self.weights_sha256 not in ("", sha256):
                raise UserError(
                    f"option weights: {self.weights} has sha256 {sha256}, expected {self.weights_sha256}; "
                    "give the file of the earlier run"
                )
            object.__setattr__(self, "weights_sha256", sha256)

    def __init__(self, options: Options | None = None) -> None:
        super().__init__()
        self.options = self.Options() if options is None else options
        self.network = UniverSegNetwork()
        _initialise(self.network)
        if self.options.weights != RANDOM:
            load_released(Path(self.options.weights), self.network)
        self.eval()

    def segment(self, support: Support, query: Tensor) -> Tensor:
        """Return foreground probabilities (Q,H,W) of query slices (Q,1,H,W)."""
        if self.network.out_conv["conv"].bias.device != query.device:
            self.to(query.device)
        context = torch.cat([scale_to_unit(support.images), small_masks(support.masks)], dim=1)
        logits = self.network(scale_to_unit(query), context)
        back = F.interpolate(logits[:, None], size=query.shape[-2:], mode="bilinear", align_corners=False)
        return torch.sigmoid(back[:, 0])


def scale_to_unit(images: Tensor) -> Tensor:
    """Return images (N,1,H,W) at 128 x 128 pixels, each scaled to [0, 1]; a constant image becomes 0."""
    small = images
    if images.shape[-2:] != (SIDE, SIDE):
        small = F.interpolate(images, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    least, most = small.amin(dim=(1, 2, 3), keepdim=True), small.amax(dim=(1, 2, 3), keepdim=True)
    return (small - least) / torch.where(most > least, most - least, 1.0)


def small_masks(masks: Tensor) -> Tensor:
    """Return the share (N,1,128,128) of each small pixel that masks (N,H,W) bool cover."""
    return F.adaptive_avg_pool2d(masks.float()[:, None], (SIDE, SIDE))


def _convolution(kernel: int, outputs: int = FEATURES) -> nn.ModuleDict:
    """Return a convolution of 64 channels, named `conv`."""
    return nn.ModuleDict({"conv": nn.Conv2d(FEATURES, outputs, kernel, padding=kernel // 2)})


def _each(function: Callable[[Tensor], Tensor], support: Tensor) -> Tensor:
    """Return the results of a function of maps (N,C,h,w) for every slice of contexts (Q,S,C,h,w)."""
    mapped = function(support.flatten(0, 1))
    return mapped.reshape(*support.shape[:2], *mapped.shape[1:])


def _doubled(maps: Tensor) -> Tensor:
    """Return maps (N,C,h,w) at twice the size; corner cells lie on corner pixels."""
    return F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=True)


@torch.no_grad()
def _initialise(network: nn.Module) -> None:
    """Draw each weight Kaiming normal (fan in) from a seed of its name; set biases to 0."""
    for name, parameter in network.named_parameters():
        generator = torch.Generator().manual_seed(seed_for("universeg", name))
        if parameter.ndim == 1:
            parameter.zero_()
        else:
            nn.init.kaiming_normal_(parameter, generator=generator)
