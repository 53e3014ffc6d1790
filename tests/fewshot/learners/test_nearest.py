"""k-means and nearest neighbours against answers by hand and by numpy, and faiss beside SimpleITK."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import Tensor

from fewshot.base.errors import UserError
from fewshot.learners.nearest import k_means, nearest

# Two pairs: the tight answer joins each pair; joining across, at (5,0) and (5,2), is a poor fixed point.
PAIRS = torch.tensor([[0.0, 0.0], [0.0, 2.0], [10.0, 0.0], [10.0, 2.0]])


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_first_coordinate(centres: Tensor) -> list[list[float]]:
    return sorted(centres.tolist())


@pytest.mark.parametrize("seed", [0, 1, 2**62])
def test_the_centres_of_separable_points_are_found(seed: int) -> None:
    centres, assigned = k_means(PAIRS, 2, iterations=10, seed=seed, restarts=20)
    assert by_first_coordinate(centres) == [[0.0, 1.0], [10.0, 1.0]]
    assert assigned.dtype == torch.int64
    assert torch.equal(centres[assigned], torch.tensor([[0.0, 1.0]] * 2 + [[10.0, 1.0]] * 2))


def test_one_centre_is_the_mean_and_each_point_of_many_goes_to_its_nearest() -> None:
    points = noise(3000, 8)
    one, _ = k_means(points, 1, iterations=3, seed=0)
    assert torch.allclose(one[0], points.mean(0), atol=1e-6)  # all of them: no sample is taken
    centres, assigned = k_means(points, 7, iterations=5, seed=0)
    assert torch.equal(assigned, torch.cdist(points.double(), centres.double()).argmin(1))


def test_more_iterations_do_not_loosen_the_clusters() -> None:
    points = noise(500, 4)
    spread = []
    for iterations in (1, 2, 5, 20):
        centres, assigned = k_means(points, 6, iterations=iterations, seed=3)
        spread.append(float(((points - centres[assigned]) ** 2).sum()))
    assert spread == sorted(spread, reverse=True) and spread[-1] < spread[0]


@pytest.mark.parametrize("k", [4, 5, 100])
def test_of_k_points_or_fewer_each_is_its_own_centre(k: int) -> None:
    centres, assigned = k_means(PAIRS, k, iterations=2, seed=0)
    assert torch.equal(centres, PAIRS) and assigned.tolist() == [0, 1, 2, 3]


def test_no_point_has_no_centre() -> None:
    centres, assigned = k_means(torch.zeros(0, 3), 5, iterations=2, seed=0)
    assert centres.shape == (0, 3) and assigned.shape == (0,) and assigned.dtype == torch.int64


@pytest.mark.parametrize("count", [3, 50])
def test_equal_points_share_one_centre(count: int) -> None:
    centres, assigned = k_means(torch.ones(count, 2), 5, iterations=5, seed=0)
    assert len(set(assigned.tolist())) == 1
    assert torch.allclose(centres[assigned], torch.ones(count, 2), atol=1e-2)


def test_the_same_call_gives_the_same_bytes_whatever_ran_before() -> None:
    points = noise(200, 6)
    kept = points.clone()
    first = k_means(points, 5, iterations=10, seed=11)
    torch.manual_seed(99)
    k_means(noise(300, 6, seed=1), 4, iterations=10, seed=12)
    state = torch.random.get_rng_state()
    again = k_means(points, 5, iterations=10, seed=11)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert torch.equal(points, kept)
    assert not torch.equal(first[0], k_means(points, 5, iterations=10, seed=12)[0])


def test_nothing_is_printed_and_no_gradient_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    centres, _ = k_means(noise(12, 3).requires_grad_(), 5, iterations=4, seed=0)
    assert not centres.requires_grad
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_points_that_are_not_finite_are_refused(bad: float) -> None:
    points = noise(20, 3)
    points[4, 1] = bad
    with pytest.raises(UserError, match="1 of 60 values"):
        k_means(points, 2, iterations=2, seed=0)


@pytest.mark.parametrize(("k", "iterations", "restarts"), [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_numbers_below_one_are_refused(k: int, iterations: int, restarts: int) -> None:
    with pytest.raises(ValueError, match="expected 1 or more"):
        k_means(PAIRS, k, iterations=iterations, seed=0, restarts=restarts)


@pytest.mark.parametrize("k", [1, 4, 60])
def test_nearest_is_the_brute_force_answer(k: int) -> None:
    queries, keys = noise(37, 16), noise(60, 16, seed=1)
    indices, products = nearest(queries, keys, k)
    every = queries.double().numpy() @ keys.double().numpy().T
    order = np.argsort(-every, axis=1)[:, :k]
    assert np.array_equal(indices.numpy(), order)
    assert np.allclose(products.numpy(), np.take_along_axis(every, order, 1), atol=1e-5)
    assert indices.dtype == torch.int64 and products.dtype == torch.float32


def test_nearest_by_hand() -> None:
    indices, products = nearest(
        torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-3.0, 0.0]]), 2
    )
    assert indices.tolist() == [[1, 0]] and products.tolist() == [[2.0, 1.0]]


@pytest.mark.parametrize("k", [0, 5])
def test_nearest_refuses_more_keys_than_there_are(k: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 4"):
        nearest(PAIRS, PAIRS, k)


def test_without_faiss_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match="install the extra"):
        nearest(PAIRS, PAIRS, 1)


SCRIPT = """
import {first}
import {second}
import torch
from fewshot.learners.nearest import k_means, nearest
points = torch.randn(400, 16, generator=torch.Generator().manual_seed(0))
centres, assigned = k_means(points, 6, iterations=10, seed=7, restarts=2)
indices, products = nearest(points, centres, 2)
for one in (centres, assigned, indices, products):
    print(one.numpy().tobytes().hex())
"""


def test_either_order_of_faiss_and_simpleitk_gives_the_same_bytes() -> None:
    said = []
    for first, second in (("faiss", "SimpleITK"), ("SimpleITK", "faiss")):
        script = SCRIPT.format(first=first, second=second)
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1] and len(said[0].split()) == 4
