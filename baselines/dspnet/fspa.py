"""Foreground prototypes with detail: seeds, soft clustering, query-aware fusion (DSPNet's FSPA).

Tang et al., "DSPNet: Dual Semantic Prototypes Network for Few-shot Medical Image Segmentation", Medical
Image Analysis 2025, arXiv 2406.18074, section 3.3; rules M-DSP-1 to M-DSP-5 of docs/methods.md. Everything
but the seeds has fixed shapes: a shot always has five detail prototypes and a bool row of those that count.
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

STRIDE = 8  # every 8th pixel is a candidate for a seed: one position of the feature map
SEEDS = 5  # the most seeds of a shot
AREA_PER_SEED = 100  # positions
ITERATIONS = 10  # rounds of clustering
COMPACTNESS = 10.0  # divides the distances of features and places
INSIDE = 1 - 1e-6  # clustering uses a position if its share of the class is 1, up to rounding
DEEPEST = -60.0  # e^-60 of a softmax's largest weight adds nothing, and its gradients are not denormal
NORMS_FLOOR = 1e-5  # added to the product of two norms before dividing


def seeds_of_masks(masks: Tensor) -> dict[str, Tensor]:
    """Return `seeds` (S,5,2) int64, row and column on the feature map, and `seeded` (S,5) bool.

    Masks (S,H,W) bool on the host. A row without a seed is (0, 0) and not `seeded`.
    """
    seeds = np.zeros((len(masks), SEEDS, 2), dtype=np.int64)
    seeded = np.zeros((len(masks), SEEDS), dtype=np.bool_)
    for shot, mask in enumerate(masks):
        places = seeds_of(mask[::STRIDE, ::STRIDE].numpy())
        seeds[shot, : len(places)] = places
        seeded[shot, : len(places)] = True
    return {"seeds": torch.from_numpy(seeds), "seeded": torch.from_numpy(seeded)}


def check_grid(features: tuple[int, int], pixels: tuple[int, int]) -> None:
    """Raise `UserError` unless a feature map (h,w) has a position for every 8th pixel of a slice (H,W)."""
    rows, columns = (-(-side // STRIDE) for side in pixels)
    if features != (rows, columns):
        raise UserError(
            f"a feature map of {features[0]} x {features[1]} for slices of {pixels[0]} x {pixels[1]}, "
            f"expected {rows} x {columns}: seeds lie on every {STRIDE}th pixel; use an encoder of stride "
            f"{STRIDE}"
        )


def seeds_of(region: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return K seeds (K,2), row and column, of a mask on the feature map (h,w); K is 0 or 2 to 5.

    K = min(round(area / 100), 5), half to even; below two there is no seed. Each seed is the first largest
    entry, row by row, of the Euclidean distance transform of the mask in its tight box, without the earlier
    seeds. Positions outside the box do not count as background. In a box that is all mask, distances are
    those to row -1, column 0 of the box, as scipy returns them.
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
    """Five clusters for each of S shots.

    Attributes:
        centres: (S,5,C), sums of all positions' features with `weights`.
        places: (S,5,2), sums of all positions' rows and columns with `weights`.
        weights: (S,5,n), of the last round, for the n positions of the feature map.
        counts: (S,5) bool, which clusters count.
    """

    centres: Tensor
    places: Tensor
    weights: Tensor
    counts: Tensor


def detail_prototypes(
    features: Tensor, masks: Tensor, prepared: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the centres (S,5,C) of `soft_clusters`, and which of them count, (S,5) bool."""
    clusters = soft_clusters(features, masks, prepared)
    return clusters.centres, clusters.counts


@torch.no_grad()
def soft_clusters(features: Tensor, masks: Tensor, prepared: Mapping[str, Tensor]) -> Clusters:
    """Return the clusters of features (S,C,h,w) in masks (S,h,w), without gradient.

    The function runs ten rounds of soft clustering of features and places, from the seeds of `prepare`. A
    shot without seeds, or without a position that the class covers completely, has no centre that counts.
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

    With A (`attention`), g = s + A s. For each centre c, a is the softmax of <g, c> over positions. The
    prototype is the masked average of s + sum_k a_k c_k. The function computes only products with A and c:
    <g, c> = u + A u for u = <s, c>, and the average of a_k c_k is c_k times the share of a_k in the mask.

    Args:
        support: features (S,C,h,w).
        masks: (S,h,w).
        query: features (Q,C,h,w).
        details: the result of `detail_prototypes`. With None, or for a shot without a centre that counts, the
            only centre is the masked average of g, which has a gradient.
    """
    positions = support.flatten(2)
    shares = masks.flatten(1) / (masks.sum(dim=(1, 2)) + AREA_FLOOR)[:, None]
    average = masked_average(support, masks)
    mixing = attention(positions, query.flatten(2))
    received = shares[:, None] @ mixing  # (Q,S,1,n): the share of each position in the average of A s
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
    """Return A (Q,S,n,n) of (S,C,n) and (Q,C,n): for support position i a softmax over query positions j.

    The softmax is that of <s_i, q_j> / (|s_i| |q_j| + 1e-5). As in the release, A then mixes *support*
    vectors by j; both grids have the same size.
    """
    products = support.mT @ query[:, None]
    norms = (
        torch.linalg.vector_norm(support, dim=1)[:, :, None]
        * torch.linalg.vector_norm(query, dim=1)[:, None, None]
    )
    return torch.softmax(products / (norms + NORMS_FLOOR), dim=-1)


def steep_softmax(values: Tensor) -> Tensor:
    """Return the softmax over the last axis of raw dot products, which differ by hundreds.

    A weight is at least e^-60 of the largest: too small to change a float32 sum, and never denormal.
    """
    weights = torch.exp((values - values.amax(dim=-1, keepdim=True).detach()).clamp(min=DEEPEST))
    return weights / weights.sum(dim=-1, keepdim=True)


def _distances(centres: Tensor, points: Tensor) -> Tensor:
    """Return Euclidean distances (S,K,n) of centres (S,K,D) and points (S,n,D)."""
    squares = centres.square().sum(dim=2)[:, :, None] + points.square().sum(dim=2)[:, None]
    return (squares - 2 * centres @ points.mT).clamp(min=0).sqrt()
