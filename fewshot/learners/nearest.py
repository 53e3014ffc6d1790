"""Nearest neighbours and k-means by faiss; only this module imports faiss, on first use.

faiss works on the host. Features of a GPU are copied there and the result is copied back, so the host waits
for the device. `faiss.Kmeans` is not used: it reads its centres through a vector type that SimpleITK
registers too, and fails if faiss was imported first. `faiss.Clustering` stores the centres in an index, and
`reconstruct_n` reads them from it in either order of imports.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewshot.base.errors import UserError


def k_means(
    points: Tensor, k: int, *, iterations: int, seed: int, restarts: int = 1
) -> tuple[Tensor, Tensor]:
    """Cluster points by Lloyd's algorithm on squared Euclidean distance.

    The result depends only on the arguments and, like any sum of floats, on the number of threads. With N <=
    k every point is a centre, and equal points belong to the first of them. A centre may have no point,
    mostly if points are equal.

    Args:
        points: (N,C).
        k: the number of centres, at least 1.
        iterations: the number of Lloyd iterations over all points.
        seed: draws the first centres from the points.
        restarts: the number of draws; the result with the smallest sum of squared distances wins.

    Returns:
        Centres (K,C) float32 with K = min(k, N), and each point's centre (N,) int64. Both are detached, on
        the device of `points`.

    Raises:
        ValueError: `k`, `iterations` or `restarts` is below 1.
        UserError: a point is not finite, or faiss is not installed.
    """
    if min(k, iterations, restarts) < 1:
        raise ValueError(f"k {k}, iterations {iterations}, restarts {restarts}: expected 1 or more of each")
    values = _on_host(points)
    if not np.isfinite(values).all():
        raise UserError(
            f"{np.count_nonzero(~np.isfinite(values))} of {values.size} values to cluster are not finite; "
            "lower the learning rate, or look for such values in images and weights"
        )
    centres = values if len(values) <= k else _lloyd(values, k, iterations, seed, restarts)
    if len(values) == 0:
        return points.detach().float(), torch.zeros(0, dtype=torch.int64, device=points.device)
    index = _faiss().IndexFlatL2(values.shape[1])
    index.add(centres)
    _distances, assigned = index.search(values, 1)
    return torch.from_numpy(centres).to(points.device), torch.from_numpy(assigned[:, 0]).to(points.device)


def nearest(queries: Tensor, keys: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k keys with the largest inner product with each query, exactly.

    The product of unit vectors is their cosine. Equal products have no fixed order.

    Args:
        queries: (N,C).
        keys: (M,C).
        k: the number of keys, 1 .. M.

    Returns:
        Indices of keys (N,k) int64 and products (N,k) float32, largest first. Both are detached, on the
        device of `queries`.

    Raises:
        ValueError: k is not in 1 .. M.
        UserError: faiss is not installed.
    """
    if not 1 <= k <= len(keys):
        raise ValueError(f"k is {k}, expected 1 to {len(keys)}, the number of keys")
    index = _faiss().IndexFlatIP(keys.shape[1])
    index.add(_on_host(keys))
    products, indices = index.search(_on_host(queries), k)
    return torch.from_numpy(indices).to(queries.device), torch.from_numpy(products).to(queries.device)


def _lloyd(values: np.ndarray, k: int, iterations: int, seed: int, restarts: int) -> np.ndarray:
    """Return k centres (k,C) of more than k values (N,C)."""
    faiss = _faiss()
    parameters = faiss.ClusteringParameters()
    parameters.niter = iterations
    parameters.nredo = restarts
    parameters.seed = seed & 0x7FFFFFFF  # a C int
    parameters.min_points_per_centroid = 1  # with fewer points per centre faiss warns on stderr
    parameters.max_points_per_centroid = len(values)  # with more points per centre faiss takes a sample
    index = faiss.IndexFlatL2(values.shape[1])
    faiss.Clustering(values.shape[1], k, parameters).train(values, index)
    centres: np.ndarray = index.reconstruct_n(0, k)
    return centres


def _on_host(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.detach().to("cpu", torch.float32).contiguous().numpy()
    return array


def _faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError as error:
        if error.name != "faiss":
            raise
        raise UserError(
            "faiss is not installed and this needs it; install the extra [cpu] (pip) or faiss-gpu (conda)"
        ) from None
    return faiss
