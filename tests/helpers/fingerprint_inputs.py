"""Inputs of the numeric fingerprint: made by formulas and numpy's generators, equal on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tiny import tiny_store
from torch import Tensor, nn

from episodes.io.nifti import write_nifti
from episodes.plan.plan import CellPlan, make_plan
from episodes.store.slices import SliceReader, normalisation
from episodes.store.store import Store
from fewshot.base.types import Episode
from fewshot.learners.learner import PrototypeLearner
from fewshot.learners.prototypes import masked_average, resize_masks, similarities
from protocols.rules.spec import load_protocol

BLOCK = 16  # pixels a side
OWN_FACTS = """modality = "mr"
image_size = 40
patient_threshold = 50.0
superpixel_min_size = 20
folds = 2
crop_or_pad = true
[classes]
liver = 1
spleen = 2
[groups]
upper = ["liver", "spleen"]
"""


def waves(*shape: int) -> Tensor:
    """Return a tensor of `shape`, float32, of values in [-2, 2] without a pattern that repeats."""
    places = np.arange(np.prod(shape), dtype=np.float64)
    values = np.sin(0.37 * places + 0.5) + np.cos(places * places % 91.7)
    return torch.from_numpy(values.reshape(shape).astype(np.float32))


def discs(name: int, count: int, size: int) -> tuple[Tensor, Tensor]:
    """Return slices (N,1,size,size) float32 of a bright disc on noise, and the discs (N,size,size) bool."""
    draw = np.random.Generator(np.random.PCG64(name))
    rows, columns = np.mgrid[:size, :size] / size
    images = draw.uniform(-0.5, 0.5, (count, 1, size, size)) - 0.5
    masks = np.zeros((count, size, size), dtype=bool)
    for number, (y, x, radius) in enumerate(draw.uniform(-1, 1, (count, 3))):
        masks[number] = np.hypot(rows - 0.5 - 0.04 * y, columns - 0.5 - 0.04 * x) < 0.42 + 0.02 * radius
        images[number, 0][masks[number]] += 2.0
    return torch.from_numpy(images.astype(np.float32)), torch.from_numpy(masks)


def disc_episode(learner: PrototypeLearner | None, step: int, size: int, batch: int = 1) -> Episode:
    """Return the episodes of a step, one shot and one query each, prepared by `learner`."""
    images, masks = discs(step, 2 * batch, size)
    support, query = images[:batch, None], images[batch:, None]
    prepared = [] if learner is None else [learner.prepare(mask[None]) for mask in masks[:batch]]
    stacked = {key: torch.stack([one[key] for one in prepared]) for key in (prepared[0] if prepared else {})}
    return Episode(support, masks[:batch, None], query, masks[batch:, None], stacked, f"discs:{step}")


def blocks(image: NDArray[np.generic]) -> NDArray[np.uint16]:
    """Return superpixels (Z,H,W) that need no segmentation: squares; 3 is absent, the last slice empty."""
    depth, height, width = image.shape
    rows, columns = np.mgrid[:height, :width] // BLOCK
    numbers = (1 + rows * (width // BLOCK) + columns).astype(np.uint16)
    numbers[numbers == 3] = 2
    maps = np.repeat(numbers[None], depth, axis=0)
    maps[-1] = 0
    return maps


@dataclass(frozen=True)
class BlockVoxels:
    """Supervoxels of a store that need no segmentation: the squares of `blocks`, through all slices."""

    store: Store

    def scan(self, scan_id: str) -> NDArray[np.uint16]:
        """Return the map of a scan, (Z,H,W)."""
        return blocks(self.store.scan(scan_id).image)


class ColourPictures:
    """Sixteen pictures of 60 x 70 whose three channels differ, float32 in [0,1]."""

    source = "colours"
    hashes = tuple(f"{number:016x}" for number in range(16))
    cuts = (None,)

    def __len__(self) -> int:
        return len(self.hashes)

    def read(self, number: int) -> Tensor:
        """Return picture `number`, (3,60,70)."""
        return (waves(number + 1, 3, 60, 70)[-1] + 2) / 4


def block_store(path: Path) -> Store:
    """Return a new store of ten scans of 8 x 65 x 65, four organs and five folds, with `blocks`."""
    return tiny_store(path, superpixels_of=blocks)


def write_own_folder(folder: Path) -> Path:
    """Write four scans of a folder of the user's, whose slices are no squares, and their facts."""
    rows, columns = np.mgrid[:44, :36]
    for number in range(1, 5):
        draw = np.random.Generator(np.random.PCG64(number))
        image = np.where(np.hypot(rows - 22, columns - 18) < 16, 120, 0) + draw.integers(0, 30, (5, 44, 36))
        labels = np.zeros(image.shape, dtype=np.uint8)
        labels[1:4, 14:28, 6 + number : 16] = 1
        labels[2, 20:27, 22:30] = 2
        image = image + 100 * labels
        for kind, array in (("image", image.astype(np.int16)), ("label", labels)):
            write_nifti(
                folder / f"{kind}_{number}.nii.gz", array, (6.5, 1.25, 1.5), (-10.0, 20.0, 5.5),
                (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0),
            )  # fmt: skip
    (folder / "facts.toml").write_text(OWN_FACTS)
    return folder


class SmallEncoder(nn.Module):
    """One convolution of stride `stride`: (N,inputs,H,W) -> (N,8,H/stride,W/stride)."""

    out_channels = 8

    def __init__(self, stride: int = 8, inputs: int = 1, name: int = 0) -> None:
        super().__init__()
        self.body = nn.Conv2d(inputs, 8, stride, stride=stride, bias=False)
        self.norm = nn.BatchNorm2d(8)
        with torch.no_grad():
            self.body.weight.copy_(waves(name + 1, *self.body.weight.shape)[-1] / stride)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.norm(self.body(images))
        return features


class PlainLearner(PrototypeLearner):
    """The base class with the shortest `logits`: cosines with one prototype a class."""

    def logits(self, support_features: Tensor, support_masks: Tensor, query_features: Tensor) -> Tensor:  # type: ignore[override]
        shares = resize_masks(support_masks, (support_features.shape[-2], support_features.shape[-1]))
        means = [masked_average(support_features, share).mean(0) for share in (1 - shares, shares)]
        return similarities(torch.stack(means), query_features, 20.0)


def block_plan(store: Store) -> CellPlan:
    """Return the plan of fold 0 and the first group of a block store."""
    protocol = load_protocol("alpnet-ep1")
    group, classes = next(iter(protocol.groups_for(store.spec).items()))
    return make_plan(store.index, store.spec, "0" * 16, protocol.evaluation, 1, 0, group, classes)


def reader_of(store: Store, rule: str = "per-scan") -> SliceReader:
    """Return the reader of a store's slices, normalised by a rule."""
    return SliceReader(store, normalisation(store, rule, store.index.scans[4:]))
