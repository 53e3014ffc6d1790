"""Nearest neighbours and k-means by faiss: the one module that imports it, on use.

faiss works on the host: features of a GPU are copied there and the answer is copied back, which makes the
host wait for the device. `faiss.Kmeans` is not used: it reads its centres through a vector type that
SimpleITK registers too, and fails where faiss was imported first. `faiss.Clustering` leaves them in an
index, from which they are read by `reconstruct_n` whatever the order of imports.
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
    """Return centres (K,C) float32 of points (N,C), and each point's centre (N,) int64; K = min(k, N).

    Lloyd's algorithm on squared Euclidean distance, run to its `iterations` on all points, from points
    drawn with `seed`; of `restarts` draws the tightest result is kept. The answer is a function of the
    arguments alone (and of the number of threads, as any sum of floats), both detached, on the device of
    `points`. N <= k: every point is a centre, and the first of equal ones holds them all. N = 0: no
    centre. A centre may be left without a point, above all where points are equal. Raises `ValueError`
    for numbers below 1, `UserError` for points that are not finite and where faiss is not installed.
    """
    if min(k, iterations, restarts) < 1:
        raise ValueError(f"k {k}, iterations {iterations}, restarts {restarts}: wanted 1 or more of each")
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
    """Return the k keys of largest inner product with each query: indices (N,k) int64 and products (N,k).

    Queries (N,C), keys (M,C), products float32 from the largest down; exact, no approximation. On unit
    vectors the product is the cosine. Of equal products any may come first. The answer is detached, on
    the device of `queries`. Raises `ValueError` where k is not in 1 .. M.
    """
    if not 1 <= k <= len(keys):
        raise ValueError(f"k is {k}, wanted 1 to {len(keys)}, the number of keys")
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
    parameters.min_points_per_centroid = 1  # below the number given it warns on stderr
    parameters.max_points_per_centroid = len(values)  # above it, it would take a sample
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
