"""The released DSPNet's vectors: seeds, centres, logits, losses, gradients, and that they can fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fewshot.commands.develop import verify
from fewshot.learners.learner import PrototypeLearner
from protocols.conformance.parts import dspnet
from protocols.conformance.quantity import Quantity
from protocols.conformance.replays import replay


@pytest.fixture(scope="module")
def made() -> PrototypeLearner:
    return dspnet.build_reference()


def assert_all_ok(quantities: Iterator[Quantity], wanted: int) -> None:
    found = list(quantities)
    assert len(found) == wanted
    assert [verify.line(quantity) for quantity in found if not quantity.ok] == []


def test_parameters_are_those_of_the_released_model(made: PrototypeLearner) -> None:
    assert sum(p.numel() for p in made.parameters()) + 16_190_464 == 59_280_448


@pytest.mark.parametrize("name", ["huge", "small"])
def test_evaluation_vectors(made: PrototypeLearner, golden: Path, name: str) -> None:
    _expected, vectors = replay.read_vectors(golden / "dspnet")
    assert_all_ok(replay.check_evaluation(made.eval(), name, vectors, "golden"), 3)


def test_seeds_and_centres(made: PrototypeLearner, golden: Path) -> None:
    _expected, vectors = replay.read_vectors(golden / "dspnet")
    assert_all_ok(dspnet.check_details(made.eval(), "huge", vectors, "golden"), 3)


def test_another_alpha_is_seen(made: PrototypeLearner, golden: Path) -> None:
    _expected, vectors = replay.read_vectors(golden / "dspnet")
    options = made.options
    made.options = type(options)(preset="released", alpha_background=0.9)
    try:
        errors = {q.name: q for q in replay.check_evaluation(made.eval(), "small", vectors, "golden")}
    finally:
        made.options = options
    assert errors["golden/small/features_eval"].ok and not errors["golden/small/eval_logits"].ok
