"""Some of the released RPT's vectors in every test run; test_verify.py replays all, and GMRD's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewshot.commands.develop import verify
from protocols.conformance.parts import rpt
from protocols.conformance.quantity import Quantity
from protocols.conformance.replays.made_state import load_episode_weights, made_state
from protocols.conformance.replays.replay import read_vectors
from protocols.conformance.replays.threshold_replay import new_learner


def assert_all_ok(quantities: Iterator[Quantity], least: int) -> None:
    found = list(quantities)
    assert len(found) >= least
    assert [verify.line(quantity) for quantity in found if not quantity.ok] == []


def made_rpt(facts: dict[str, Any], mode: str, **options: Any) -> Any:
    learner = new_learner("rpt", **options)
    replaced = {rpt.BIAS: facts[f"bias_{mode}"]}
    load_episode_weights(learner, made_state(learner), replaced, {rpt.SCALED: facts["reduce1_scale"]})
    return learner.train(mode == "train")


def test_rpt_in_evaluation(golden: Path) -> None:
    expected, vectors = read_vectors(golden / "rpt")
    learner = made_rpt(expected["soft"], "eval")
    assert_all_ok(rpt.check_evaluation("rpt/soft", learner, "soft", vectors, expected["soft"]), 18)


def test_a_corrected_defect_is_seen_by_the_vectors(golden: Path) -> None:
    expected, vectors = read_vectors(golden / "rpt")
    learner = made_rpt(expected["small"], "eval", few_cells="repeat")
    found = {q.name: q for q in rpt.check_evaluation("rpt", learner, "small", vectors, expected["small"])}
    assert found["rpt/features_eval"].ok and not found["rpt/points"].ok and not found["rpt/regions_eval"].ok
