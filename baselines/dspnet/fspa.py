"""Foreground prototypes with detail: seeds, soft clustering, query-aware fusion (DSPNet's FSPA).

Tang et al., "DSPNet: Dual Semantic Prototypes Network for Few-shot Medical Image Segmentation", Medical
Image Analysis 2025, arXiv 2406.18074, section 3.3; rules M-DSP-1 to M-DSP-5 of docs/methods.md. Everything
but the seeds has fixed shapes: a shot always has five detail prototypes and a row that says which count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from fewshot.base.errors import UserError
from fewshot.learners.prototypes import AREA_FLOOR, masked_average

STRIDE = 8  # seeds are looked for on every 8th pixel, which is one position of the feature map
SEEDS = 5  # at most, a shot
AREA_PER_SEED = 100  # positions
ITERATIONS = 10  # of the clustering
COMPACTNESS = 10.0  # divides distances of features and of places alike
INSIDE = 1 - 1e-6  # a position is clustered if its share of the class is 1, up to rounding
DEEPEST = -60.0  # e^-60 of a softmax's largest weight adds nothing, and its gradients are no denormals
NORMS_FLOOR = 1e-5  # added to the product of two norms before dividing


def seeds_of_masks(masks: Tensor) -> dict[str, Tensor]:
    """Return `seeds` (S,5,2) int64, row and column on the feature map, and `seeded` (S,5) bool.

    Masks (S,H,W) bool on the host. Rows that are no seed are (0, 0) and not `seeded`.
    """
    seeds = np.zeros((len(masks), SEEDS, 2), dtype=np.int64)
    seeded = np.zeros((len(masks), SEEDS), dtype=np.bool_)
    for shot, mask in enumerate(masks):
        found = seeds_of(mask[::STRIDE, ::STRIDE].numpy())
        seeds[shot, : len(found)] = found
        seeded[shot, : len(found)] = True
    return {"seeds": torch.from_numpy(seeds), "seeded": torch.from_numpy(seeded)}


def check_grid(features: tuple[int, int], pixels: tuple[int, int]) -> None:
    """Raise `UserError` unless a feature map (h,w) has a position for every 8th pixel of a slice (H,W)."""
    rows, columns = (-(-side // STRIDE) for side in pixels)
    if features != (rows, columns):
        raise UserError(
            f"a feature map of {features[0]} x {features[1]} for slices of {pixels[0]} x {pixels[1]}, wanted "
            f"{rows} x {columns}: seeds lie on every {STRIDE}th pixel; use an encoder of stride {STRIDE}"
        )


def seeds_of(region: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return K seeds (K,2), row and column, of a mask on the feature map (h,w); K is 0 or 2 to 5.

    K = min(round(area / 100), 5), half to even, and none below two. Each seed is the first largest entry,
    row by row, of the Euclidean distance transform of the mask in its tight box, without the seeds before
    it; what lies outside the box is no background. A box that is all mask has its distances to row -1,
    column 0 of it, as scipy gives.
    """
    count = min(round(int(region.sum()) / AREA_PER_SEED), SEEDS)
    if count < 2:
        return np.zeros((0, 2), dtype=np.int64)
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    box = region[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    seeds = []
    for _ in range(count):
        row, column = np.unravel_index(np.argmax(distance_transform_edt(box)), box.shape)
        box[row, column] = False
        seeds.append((rows[0] + row, columns[0] + column))
    return np.array(seeds, dtype=np.int64)


class Clusters(NamedTuple):
    """What the soft clustering of S shots came to; five of all, of which `counts` (S,5) bool count.

    `centres` (S,5,C), their `places` (S,5,2), row and column on the feature map, and `weights` (S,5,n) of the
    last round: a centre is the sum of all positions' features by them, and so is its place.
    """

    centres: Tensor
    places: Tensor
    weights: Tensor
    counts: Tensor


def detail_prototypes(
    features: Tensor, masks: Tensor, prepared: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the centres (S,5,C) that `soft_clusters` finds, and which count (S,5)."""
    found = soft_clusters(features, masks, prepared)
    return found.centres, found.counts


@torch.no_grad()
def soft_clusters(features: Tensor, masks: Tensor, prepared: Mapping[str, Tensor]) -> Clusters:
    """Return the clusters of features (S,C,h,w) in masks (S,h,w).

    Ten rounds of soft clustering of features and places from the seeds of `prepare`; no gradient. A shot
    without seeds, or without a position that is all the class's, has no centre that counts.
    """
    rows, columns = (torch.arange(n, device=features.device) for n in features.shape[-2:])
    places = torch.cartesian_prod(rows, columns).to(features.dtype).expand(len(features), -1, -1)
    points = torch.cat([features.flatten(2).mT, places], dim=2)
    inside = masks.flatten(1) >= INSIDE
    outside = ~inside[:, None]
    positions = prepared["seeds"][..., 0] * features.shape[-1] + prepared["seeds"][..., 1]
    centres = points.gather(1, positions[..., None].expand(-1, -1, points.shape[2]))
    for _ in range(ITERATIONS):
        distances = _distances(centres, points) / COMPACTNESS
        weights = torch.softmax((-distances).masked_fill(outside, torch.finfo(points.dtype).min), dim=2)
        centres = weights @ points
    channels = features.shape[1]
    counts = prepared["seeded"] & inside.any(dim=1, keepdim=True)
    return Clusters(centres[..., :channels], centres[..., channels:], weights, counts)


def semantic_prototypes(
    support: Tensor, masks: Tensor, query: Tensor, details: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Return FSPA's prototype (Q,S,C) of every shot for every query.

    Features (S,C,h,w) and (Q,C,h,w), masks (S,h,w), `details` as `detail_prototypes` gives them; None, or
    a shot of which none count: its only centre is the masked average of g, which carries gradient.

    With A (`attention`), g = s + A s; for each centre c, a = softmax over positions of <g, c>; the prototype
    is the masked average of s + sum_k a_k c_k. Only products with A and c are formed: <g, c> = u + A u for
    u = <s, c>, and the average of a_k c_k is c_k times the share of a_k in the mask.
    """
    positions = support.flatten(2)
    shares = masks.flatten(1) / (masks.sum(dim=(1, 2)) + AREA_FLOOR)[:, None]
    average = masked_average(support, masks)
    mixing = attention(positions, query.flatten(2))
    received = shares[:, None] @ mixing  # (Q,S,1,n): what each position adds to the average of g
    of_aware = average + (received @ positions.mT)[:, :, 0]
    centres = of_aware[:, :, None]
    counting = torch.ones_like(shares[:, :1], dtype=torch.bool)
    if details is not None:
        detail, counts = details
        centres = torch.cat([centres, detail.expand(len(query), -1, -1, -1)], dim=2)
        counting = torch.cat([~counts.any(dim=1, keepdim=True), counts], dim=1)
    alike = centres @ positions  # (Q,S,K,n)
    alike = alike + alike @ mixing.mT
    within = (steep_softmax(alike) @ shares[:, :, None])[..., 0]
    fused = (within * counting)[:, :, None] @ centres
    return average + fused[:, :, 0]


def attention(support: Tensor, query: Tensor) -> Tensor:
    """Return A (Q,S,n,n) of (S,C,n) and (Q,C,n): softmax over query positions j of support position i.

    Of <s_i, q_j> / (|s_i| |q_j| + 1e-5). A then mixes *support* vectors by j, as released: both grids are
    of one size.
    """
    products = support.mT @ query[:, None]
    norms = (
        torch.linalg.vector_norm(support, dim=1)[:, :, None]
        * torch.linalg.vector_norm(query, dim=1)[:, None, None]
    )
    return torch.softmax(products / (norms + NORMS_FLOOR), dim=-1)


def steep_softmax(values: Tensor) -> Tensor:
    """Return the softmax over the last axis of raw dot products, which differ by hundreds.

    Weights below e^-60 of the largest are raised to it: invisible in float32, and no denormals arise.
    """
    weights = torch.exp((values - values.amax(dim=-1, keepdim=True).detach()).clamp(min=DEEPEST))
    return weights / weights.sum(dim=-1, keepdim=True)


def _distances(centres: Tensor, points: Tensor) -> Tensor:
    """Return Euclidean distances (S,K,n) of centres (S,K,D) and points (S,n,D)."""
    squares = centres.square().sum(dim=2)[:, :, None] + points.square().sum(dim=2)[:, None]
    return (squares - 2 * centres @ points.mT).clamp(min=0).sqrt()
