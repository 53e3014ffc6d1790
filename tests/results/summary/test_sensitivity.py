"""How much the support matters, worked out by hand; shots and parts from the command line."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest
from making import record, score

from fewshot.base.errors import UserError
from fewshot.commands.main import main
from protocols.rules.spec import load_protocol
from results.records.files import read_record
from results.summary.configuration_result import configuration_results
from results.summary.support_sensitivity import (
    over_folds,
    several_supports,
    spread_of_supports,
    worst_support,
)
from results.tables.fold_tables import render

OPEN = {"protocol": {"name": "open-ep", "version": 1, "hash": "e" * 64}, "parts": 1}


def turns() -> list[object]:
    """One fold, supports 8 and 9 in turn. Liver: 8 gives 60 and 80, 9 gives 20 and 40; spleen: 50, 70, 90.

    Supports' means: liver 70 and 30, spleen 50, 70, 90. Worst (30 + 50) / 2 = 40. Spread: sqrt(2 * 20^2) and
    20, mean (28.28 + 20) / 2 = 24.14. Kidney: 40 and 40, worst 40, spread 0.
    """
    liver = [
        score("liver", scan, percent, support)
        for scan, support, percent in (("3", "8", 60), ("4", "8", 80), ("3", "9", 20), ("4", "9", 40))
    ]
    spleen = [
        score("spleen", "3", percent, support) for support, percent in (("7", 50), ("8", 70), ("9", 90))
    ]
    kidney = [score("left-kidney", "3", 40, support) for support in ("8", "9")]
    return [record(0, "upper", [*liver, *spleen], 1, **OPEN), record(0, "lower", kidney, 1, **OPEN)]


def test_worst_and_spread_by_hand() -> None:
    (block,) = configuration_results(turns())  # type: ignore[arg-type]
    assert several_supports(block)
    liver = block.support_means[0, "upper", "liver"]
    assert liver.to_dict() == {"8": pytest.approx(0.7), "9": pytest.approx(0.3)}
    assert block.class_dice(0, ("upper", "liver")) == pytest.approx(0.5)  # mean over supports, then scans
    assert worst_support(block, 0) == pytest.approx((0.3 + 0.5 + 0.4) / 3)
    wanted = (math.sqrt(2 * 0.2**2) + 0.2 + 0) / 3
    assert spread_of_supports(block, 0) == over_folds(block, spread_of_supports) == pytest.approx(wanted)


def test_the_columns_stand_in_every_table_of_such_a_protocol() -> None:
    text = render(turns())  # type: ignore[arg-type]
    header = next(line for line in text.splitlines() if line.startswith("fold"))
    assert "worst support  spread of supports" in header
    row = next(line for line in text.splitlines() if line.startswith("0 ")).split()
    # kidney, liver, spleen, lower, upper, mean, worst, spread
    assert row[1:9] == ["40.00", "50.00", "70.00", "40.00", "60.00", "53.33", "40.00", "16.09"]
    assert "supports in turn" in text
    lines = list(csv.DictReader(io.StringIO(render(turns(), "csv"))))  # type: ignore[arg-type]
    (worst,) = [line for line in lines if line["column"] == "worst support" and line["row"] == "mean"]
    assert float(worst["dice_percent"]) == pytest.approx(40)


def test_a_missing_cell_leaves_no_number() -> None:
    (block,) = configuration_results(turns()[:1])  # type: ignore[arg-type]
    assert worst_support(block, 0) is None and over_folds(block, worst_support) is None


def test_one_support_has_no_such_column() -> None:
    records = [record(0, "upper", [score("liver", "3", 50), score("spleen", "3", 50)], 1)]
    assert not several_supports(configuration_results(records)[0]) and "worst support" not in render(records)


def test_shots_and_parts_change_the_questions_and_not_the_protocol() -> None:
    protocol = load_protocol("alpnet-ep1")
    assert protocol.with_shots_and_parts() == protocol.with_shots_and_parts(1, 3) == protocol
    five = protocol.with_shots_and_parts(2, 5)
    assert five.hash == protocol.hash and five.evaluation.shots == 2
    assert five.evaluation.support_fractions == (0.1, 0.3, 0.5, 0.7, 0.9)
    assert protocol.with_shots_and_parts(parts=1).evaluation.support_fractions == (0.5,)


@pytest.mark.parametrize(
    ("name", "shots", "parts", "said"),
    [
        ("alpnet-ep1", 0, None, "--shots 0: expected 1 to 10000"),
        ("alpnet-ep1", None, 4, "--parts 4: gives 4 parts, but rule range-thirds wants an odd number"),
        ("qnet-ep1", None, 2, "rule list-thirds wants an odd number"),
        ("alpnet-ep1", None, 0, "--parts 0: expected 1 to 999"),
        ("open-ep", None, 3, "rule whole-scan has exactly one"),
    ],
)
def test_numbers_that_cannot_be_are_refused(
    name: str, shots: int | None, parts: int | None, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        load_protocol(name).with_shots_and_parts(shots, parts)


def test_two_shots_and_five_parts_from_run_to_score(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--work", str(work), "--dataset", "tiny", "--folds", "0", "--groups", "upper"]
    asked = [*at, "--shots", "2", "--parts", "5"]
    assert main(["run", *asked, "--method", "copy-support", "--save-predictions"]) == 0
    assert "2 shots; 5 parts" in capsys.readouterr().out
    (path,) = (work / "records").glob("*.json")
    found = read_record(path)
    assert (found.shots, found.parts) == (2, 5)
    assert {tuple(score.supports) for score in found.scores} == {("2", "3")}
    assert found.training.scans == ("4", "5", "6", "7", "8", "9")
    assert main(["overlay", "--work", str(work), path.stem]) == 0
    plan = work / "plan.json"
    assert main(["plan", *asked, "--out", str(plan)]) == 0
    assert json.loads(plan.read_text())["plans"][0]["plan_hash"] == found.plan_hash
    predictions = str(work / "predictions" / str(found.key))
    command = ["score", predictions, "--work", str(work), "--plan", str(plan), "--name", "theirs"]
    command += ["--labels-used", "none"]
    assert main(command) == 0
    theirs = [read_record(p) for p in (work / "records").glob("*.json") if p != path]
    assert [r.scores for r in theirs] == [found.scores]


def test_one_part(work: Path) -> None:
    at = ["--work", str(work), "--dataset", "tiny", "--folds", "1", "--groups", "lower", "--parts", "1"]
    assert main(["run", *at, "--method", "all-foreground"]) == 0
    records = [read_record(path) for path in (work / "records").glob("*.json")]
    assert [r.parts for r in records if r.fold == 1] == [1]


def test_too_many_shots_are_one_line(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", "--work", str(work), "--dataset", "tiny", "--shots", "8"]
    assert main(command) == 2
    message = capsys.readouterr().err
    assert "expected at least 8 more for support and one for training" in message and message.count("\n") == 1
