"""Checkpoint policies: what is held out, what is asked, which step is taken, and what the record says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from episodes.plan.plan import make_plan
from episodes.store.store import Store
from fewshot.base.types import SliceRef
from fewshot.commands.main import main
from protocols.request import Request
from protocols.rules.spec import load_protocol
from protocols.runs.selection import scan_before, validation_plan, without_validation
from results.records.files import read_record
from results.records.record import Record

CPU = torch.device("cpu")


def request_of(store: Store, name: str = "alpnet-ep1") -> Request:
    return Request(store, load_protocol(name), 1, (0,), ("upper",), Path("work"), CPU, 2)


def plan_of(store: Store, fold: int, name: str = "alpnet-ep1", setting: int = 1):  # type: ignore[no-untyped-def]
    rules = load_protocol(name).evaluation
    return make_plan(store.index, store.spec, store.hash, rules, setting, fold, "upper", ("liver", "spleen"))


def test_the_scan_before_the_fold_leaves_training_and_the_question_stays(store: Store) -> None:
    # ten scans, folds of two: fold 0 asks 0 and 1 from 2, the scan before it is the last
    for fold, scan in ((0, "9"), (1, "1"), (4, "7")):
        plan = plan_of(store, fold, setting=2)
        assert scan_before(request_of(store), plan.evaluation) == scan and scan in plan.training.scans
        without = without_validation(request_of(store), plan)
        assert set(plan.training.scans) - set(without.training.scans) == {scan}
        assert without.evaluation == plan.evaluation
        dropped = len(plan.training.slices) - len(without.training.slices)
        assert (dropped, len(plan.training.excluded) - len(without.training.excluded)) == (4, 4)


def test_validation_asks_the_held_out_scan_from_the_folds_support(store: Store) -> None:
    for name in ("alpnet-ep1", "qnet-ep1", "open-ep"):
        plan = plan_of(store, 0, name).evaluation
        asked = validation_plan(plan, "9", store)
        assert asked.query_scans == ("9",) and asked.classes == plan.classes
        first = plan.tasks[0].support
        assert asked.tasks[0].support == first and len(asked.support_scans) == 1
    assert validation_plan(plan_of(store, 0).evaluation, "9", store).tasks[1].support == (SliceRef("2", 3),)


def test_a_scan_that_cannot_be_spared_is_refused(store: Store) -> None:
    from fewshot.base.errors import UserError

    whole = plan_of(store, 0)
    plan = replace(whole, training=whole.training.without_scan("9"))
    with pytest.raises(UserError, match="scan 9, the one before fold 0, is no training scan"):
        without_validation(request_of(store), plan)


TRAINED = ["--method", "ssl-alpnet", "--encoder", "resnet18", "--weights", "random", "--steps", "3"]


DIFFERENCES = "encoder resnet18 (published resnet101), 3 steps (100100), random weights (coco)"
RECIPE = f"not the published recipe: {DIFFERENCES}"


def run(work: Path, select: str, *more: str) -> int:
    at = [
        "--work",
        str(work),
        "--dataset",
        "tiny",
        "--folds",
        "0",
        "--groups",
        "upper",
        "--checkpoint-policy",
        select,
    ]
    return main(["run", *at, *TRAINED, "--option", "snapshot_every=1", *more])


def records(work: Path, policy: str) -> list[Record]:
    every = [read_record(path) for path in sorted((work / "records").glob("*.json"))]
    return [one for one in every if one.model.checkpoint == policy]


def test_three_policies_give_three_cells(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for policy in ("last", "oracle", "validation"):
        assert run(work, policy) == 0
    printed = capsys.readouterr().out
    (last,), (oracle,), (validation,) = (records(work, one) for one in ("last", "oracle", "validation"))
    assert oracle.model.key == last.model.key != validation.model.key
    assert set(last.training.scans) - set(validation.training.scans) == {"9"}
    assert last.plan_hash == oracle.plan_hash == validation.plan_hash
    assert last.model.selected is None and last.audits == (RECIPE,)
    assert oracle.audits == ("off the main board: checkpoint picked on the test fold (oracle)", RECIPE)
    mark = "checkpoint picked with labels of the tested classes, on a training scan (validation)"
    assert validation.audits == (mark, RECIPE) and f"MARKED: {mark}" in printed
    assert oracle.model.selected is not None and validation.model.selected is not None
    assert oracle.model.selected.candidates == (1, 2, 3)
    assert validation.model.selected.on == "scan 9"
    assert "validation scan held out of training" in validation.checks
    assert "checkpoint oracle" in printed and "chosen by Dice with labels: fold 0 upper: step" in printed

    def mean(record: Record) -> float:
        by_class: dict[str, list[float]] = {}
        for score in record.scores:
            by_class.setdefault(score.class_name, []).append(score.dice)
        return sum(sum(dices) / len(dices) for dices in by_class.values()) / len(by_class)

    # the oracle's own number is the fold's, and no worse than the last step's
    assert oracle.model.selected.dice == pytest.approx(mean(oracle))
    for selected in (oracle.model.selected, validation.model.selected):
        assert len(selected.dices) == 3 and selected.dice == max(selected.dices)
        assert selected.candidates[selected.dices.index(selected.dice)] == selected.step
    assert mean(oracle) >= mean(last)
    if oracle.model.selected.step == 3:
        assert oracle.scores == last.scores
    before = {path: path.read_bytes() for path in (work / "records").glob("*.json")}
    assert run(work, "validation", "--overwrite") == 0
    assert before == {path: path.read_bytes() for path in before}
    snapshot = work / "models" / validation.model.key / "step_2.pt"
    snapshot.unlink()
    capsys.readouterr()
    assert run(work, "validation") == 0  # the record is there: nothing to choose
    assert run(work, "validation", "--overwrite") == 2
    assert "step_2.pt is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ([*TRAINED, "--checkpoint-policy", "oracle"], "nothing to select from: a training of 3 steps"),
        (["--method", "all-foreground", "--checkpoint-policy", "validation"], "nothing to train"),
        ([*TRAINED, "--checkpoint-policy", "best"], "unknown value of --checkpoint-policy 'best'"),
    ],
)
def test_a_mistake_is_one_line(
    command: list[str], said: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--work", str(work), "--dataset", "tiny", "--folds", "0", "--groups", "upper"]
    assert main(["run", *at, *command]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert [path.name for path in work.iterdir()] == ["stores"]
