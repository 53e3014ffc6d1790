"""Every fault is found by its own check alone, and every registered learner keeps the contract."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from broken_learners import (
    FAULTS,
    ComparesPartsTogether,
    ForegroundAlone,
    Probabilities,
    SegmentOnly,
    SegmentsPartsTogether,
    Sound,
)
from places import HELPERS
from small_encoder import SMALL, SmallEncoder

from fewshot.commands.main import main
from fewshot.contract.checks import CHECKS, check_method
from fewshot.learners.registry import METHODS, resolve_method

BROKEN = HELPERS / "broken_learners.py"


def statuses(method: type[Any]) -> dict[str, str]:
    return {result.name: result.status for result in check_method(method, SmallEncoder)}


@pytest.mark.parametrize("method", FAULTS, ids=lambda method: method.__name__)
def test_a_fault_is_found_by_its_own_check_alone(method: type[Any]) -> None:
    name, message = FAULTS[method]
    failed = {
        result.name: result.message
        for result in check_method(method, SmallEncoder)
        if result.status == "FAIL"
    }
    assert list(failed) == [name], failed
    assert re.search(message, failed[name]), failed[name]
    assert "allowed: " in failed[name] and "\n" not in failed[name]


def test_every_check_is_failed_by_some_learner() -> None:
    like_one_pixel = {"full mask", "no background"}  # the same check with another mask
    warns_only = {"scores"}
    checks = {check.name for check in CHECKS}
    assert {name for name, _ in FAULTS.values()} == checks - like_one_pixel - warns_only


def test_a_sound_learner_passes_every_check() -> None:
    assert statuses(Sound) == {check.name: "ok" for check in CHECKS}


def test_scores_that_look_like_probabilities_are_a_warning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = {result.name: result for result in check_method(Probabilities, SmallEncoder)}
    assert {name for name, result in results.items() if result.status != "ok"} == {"scores"}
    assert results["scores"].status == "warn"
    assert re.search(r"to 1 and sum to 1, which look like", results["scores"].message)
    monkeypatch.setattr("fewshot.contract.checks.check_method", lambda _method: list(results.values()))
    assert main(["check-method", f"{BROKEN}:Probabilities"]) == 0
    assert "no check failed, warnings: 1" in capsys.readouterr().out


def test_a_wrong_shape_names_logits() -> None:
    failed = [result for result in check_method(ForegroundAlone, SmallEncoder) if result.status == "FAIL"]
    said = r"ForegroundAlone.logits returned shape \(1, 1, 8, 8\) for 1 query slices, expected .*\(1,2,h,w\)"
    assert failed[0].name == "shape" and re.search(said, failed[0].message), failed


def test_of_segment_alone_training_is_not_asked() -> None:
    found = statuses(SegmentOnly)
    training = {"scores", "empty prediction", "loss", "training", "repeatable training", "save and load"}
    assert found == {check.name: "n/a" if check.name in training else "ok" for check in CHECKS}


def test_a_declared_support_order_is_accepted() -> None:
    class Declared(next(m for m in FAULTS if m.__name__ == "FirstShotAlone")):  # type: ignore[misc]
        support_order_matters = True

    assert statuses(Declared)["support order"] == "ok"


def test_a_declared_query_batch_is_accepted() -> None:
    assert statuses(SegmentsPartsTogether)["batch"] == "n/a"
    assert statuses(ComparesPartsTogether)["batch"] == "ok"


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_registered_learner_keeps_the_contract(name: str) -> None:
    results = check_method(resolve_method(name), SMALL.get(name, SmallEncoder))
    assert [result for result in results if result.status == "FAIL"] == []


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    check_method(SegmentOnly, SmallEncoder)
    assert torch.equal(before, torch.get_rng_state())


def test_the_command_prints_a_line_a_check_and_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-method", f"{BROKEN}:NoOptions"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CHECKS) + 1
    assert re.match(r"build +FAIL +NoOptions has no class Options; allowed: ", lines[0])
    assert main(["check-method", f"{BROKEN}:SegmentOnly", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [set(one) for one in found] == [{"name", "status", "message"}] * len(CHECKS)
    assert [one["name"] for one in found] == [check.name for check in CHECKS]
