"""The vectors of the released ADNet, Q-Net and their supervoxels, and that a wrong rule is seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fewshot.commands.develop import verify
from protocols.conformance.parts import adnet, qnet, supervoxels
from protocols.conformance.quantity import Quantity
from protocols.conformance.replays.replay import loss_quantity, read_episode, read_vectors


@pytest.fixture(scope="module")
def made_adnet() -> Any:
    return adnet.build_reference("adnet")


@pytest.fixture(scope="module")
def made_qnet() -> Any:
    return adnet.build_reference("qnet")


def assert_all_ok(quantities: Iterator[Quantity], wanted: int) -> None:
    found = list(quantities)
    assert len(found) == wanted
    assert [verify.line(quantity) for quantity in found if not quantity.ok] == []


def failed(quantities: Iterator[Quantity]) -> set[str]:
    return {quantity.name.rsplit("/", 1)[1] for quantity in quantities if not quantity.ok}


@pytest.mark.parametrize("name", ["tiny", "batch", "absent"])
def test_answers_of_adnet(made_adnet: Any, golden: Path, name: str) -> None:
    expected, vectors = read_vectors(golden / "adnet")
    adnet.set_entry(made_adnet, "t", expected["t_eval"])
    assert_all_ok(adnet.check_evaluation(made_adnet, name, vectors, "adnet"), 5)


@pytest.mark.parametrize(("name", "count"), [("small", 22), ("saturated", 17)])
def test_training_steps_of_adnet(golden: Path, name: str, count: int) -> None:
    expected, vectors = read_vectors(golden / "adnet")
    assert_all_ok(
        adnet.check_training(adnet.build_reference("adnet"), name, vectors, expected[name], "adnet"), count
    )


def test_resizing_without_aligned_corners_is_seen(made_adnet: Any, golden: Path) -> None:
    expected, vectors = read_vectors(golden / "adnet")
    adnet.set_entry(made_adnet, "t", expected["t_eval"])
    before = made_adnet.options
    made_adnet.options = replace(before, align_corners=False)
    try:
        assert failed(adnet.check_evaluation(made_adnet, "tiny", vectors, "a")) == {"prob_eval", "mask_eval"}
    finally:
        made_adnet.options = before


@pytest.mark.parametrize("name", ["small", "alpha_06", "everything"])
def test_answers_of_qnet(made_qnet: Any, golden: Path, name: str) -> None:
    expected, vectors = read_vectors(golden / "qnet")
    assert_all_ok(qnet.check_evaluation(made_qnet, name, vectors, expected[name], "qnet"), 17)


def test_a_training_step_of_qnet(golden: Path) -> None:
    expected, vectors = read_vectors(golden / "qnet")
    learner = adnet.build_reference("qnet")
    assert_all_ok(qnet.check_training(learner, "alpha_06", vectors, expected["alpha_06"], "qnet"), 30)


def test_another_refinement_is_seen(made_qnet: Any, golden: Path) -> None:
    expected, vectors = read_vectors(golden / "qnet")
    before = made_qnet.options
    made_qnet.options = replace(before, refinement="exchanged")
    try:
        found = failed(qnet.check_evaluation(made_qnet, "small", vectors, expected["small"], "qnet"))
    finally:
        made_qnet.options = before
    assert {"refined_fine_eval", "refinement_loss_coarse"} <= found and "prob_eval_plain" not in found


def test_supervoxels(golden: Path) -> None:
    assert_all_ok(supervoxels.check(golden / "supervoxels"), 10)


def test_another_spacing_is_seen(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = supervoxels.volume_supervoxels
    monkeypatch.setattr(
        supervoxels, "volume_supervoxels", lambda image, _spacing, least: right(image, (1.0, 1.0, 1.0), least)
    )
    wrong = {q.name for q in supervoxels.check(golden / "supervoxels") if not q.ok}
    assert "supervoxels/abdomen/partition" in wrong and "supervoxels/isotropic/partition" not in wrong


def test_the_families_are_known_to_the_command() -> None:
    assert {"adnet", "qnet", "supervoxels"} <= set(verify.FAMILIES)


def test_several_queries_are_read(golden: Path) -> None:
    _expected, vectors = read_vectors(golden / "adnet")
    episode = read_episode(vectors, "batch")
    assert episode.query_images.shape == (1, 3, 1, 128, 128) and episode.query_masks.shape == (1, 3, 128, 128)


def test_a_loss_of_zero_is_compared_absolutely() -> None:
    assert loss_quantity("a", 1e-7, 0.0).ok and not loss_quantity("a", 1e-5, 0.0).ok
    assert loss_quantity("a", 1.00009, 1.0).ok and not loss_quantity("a", 1.0002, 1.0).ok
