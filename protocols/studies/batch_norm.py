"""BatchNorm statistics of a network from slices, with its weights untouched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from episodes.store.slices import SliceReader
from fewshot.base.seeds import seed_for
from fewshot.base.types import SliceRef

CALIBRATION_BATCH = 32  # part of the result: another batch gives other statistics


@torch.no_grad()
def calibrate_batch_norm(
    backbone: nn.Module,
    reader: SliceReader,
    refs: Sequence[SliceRef],
    *names: str | int,
    device: torch.device,
) -> None:
    """Replace the running statistics of every BatchNorm by averages over the slices; weights stay.

    The slices are shuffled, divided into batches of at most `CALIBRATION_BATCH` whose sizes differ by at most
    one, and passed once in training mode. A running statistic becomes the mean over the batches ("precise"
    BatchNorm of Wu and Johnson 2021, arXiv 2105.07576). The network is in eval mode afterwards.

    Args:
        backbone: (N,3,H,W) float32 -> maps.
        reader: of the store that holds the slices.
        refs: the slices.
        names: seed the order of the slices.
        device: where the network is.

    Raises:
        ValueError: there is no slice, or the network has no BatchNorm.
    """
    norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    if not norms or not refs:
        raise ValueError(
            f"{len(norms)} BatchNorm layers and {len(refs)} slices: expected one or more of both"
        )
    order = np.random.Generator(np.random.PCG64(seed_for("probe calibration", *names))).permutation(len(refs))
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches, in place of a moving one
    backbone.train()
    for places in np.array_split(order, -(-len(refs) // CALIBRATION_BATCH)):
        images = reader.images([refs[place] for place in places]).to(device)
        backbone(images.expand(-1, 3, -1, -1))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    backbone.eval()
