"""One trained model under several protocols: encoded once, one table, misfits refused or marked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cell_plans import Counting
from tiny import tiny_store

from baselines.ssl_alpnet import SSLALPNet
from episodes.plan.plan import make_plan
from episodes.store.slices import SliceReader, normalisation
from episodes.store.store import Store
from fewshot.commands.main import main
from protocols.cells.evaluate import evaluate
from protocols.rules.spec import load_protocol
from results.records.files import read_record
from results.records.record import Record

TRAINED = ["--method", "ssl-alpnet", "--encoder", "resnet18", "--weights", "random", "--steps", "1"]
FOUR = ("alpnet-ep1", "adnet-ep1", "qnet-ep1", "open-ep")


@pytest.fixture(scope="module")
def done(module_work: Path) -> Path:
    """A work folder with two models, one of each setting, of fold 0 and group upper."""
    for setting in ("1", "2"):
        run = ["run", "--work", str(module_work), "--dataset", "tiny", "--setting", setting, "--folds", "0"]
        assert main([*run, "--groups", "upper", *TRAINED]) == 0
    return module_work


@pytest.fixture
def work(done: Path, tmp_path: Path) -> Path:
    shutil.copytree(done, tmp_path / "work")
    return tmp_path / "work"


def records(work: Path) -> list[Record]:
    return [read_record(path) for path in sorted((work / "records").glob("*.json"))]


def key_of(work: Path, setting: int) -> str:
    found = [r.model.key for r in records(work) if r.setting == setting]
    return str(found[0])


def asked(work: Path, setting: int, protocols: str, *more: str) -> int:
    key = key_of(work, setting)
    return main(["evaluate", key, "--work", str(work), "--protocol", protocols, *more])


def test_four_protocols_give_one_table(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(work, 1, ",".join(FOUR)) == 0
    printed = capsys.readouterr().out
    assert printed.count("ssl-alpnet on tiny, setting 1, under adnet-ep1, alpnet-ep1, open-ep, qnet-ep1") == 1
    table = printed[printed.index(", under adnet-ep1") :].splitlines()
    words = [line.replace(" !", "").split() for line in table]  # "!": marked, see the notes
    rows = [row[:2] for row in words if row and row[0] in FOUR]
    assert [(name, fold) for name, fold in rows] == [(n, f) for n in sorted(FOUR) for f in ("0", "all")]
    shown = [line.strip() for line in table if "not the published recipe" in line]
    assert len(shown) == 1 and shown[0].startswith("MARKED: not the")  # once, since all protocols share it
    by_protocol = {name: [r for r in records(work) if r.protocol.name == name] for name in FOUR}
    assert {r.model.key for name in FOUR[1:] for r in by_protocol[name]} == {key_of(work, 1)}
    assert [r.group for r in by_protocol["qnet-ep1"]] == ["abdomen"]
    # fold 0 of ADNet's protocol asks what alpnet-ep1 asks
    same = [
        next(r for r in by_protocol[name] if r.setting == 1 and r.group == "upper").scores
        for name in ("alpnet-ep1", "adnet-ep1")
    ]
    assert same[0] == same[1]
    upper = next(r for r in by_protocol["open-ep"] if r.group == "upper")
    assert len(upper.scores) == 2 * 2 * 8 and {len(s.supports) for s in upper.scores} == {1}
    assert all(s.slices == 8 for s in upper.scores)


def test_every_slice_is_encoded_once_for_all_protocols(done: Path) -> None:
    store = Store.open(done / "stores" / "tiny")
    plans = [
        make_plan(store.index, store.spec, store.hash, protocol.evaluation, 1, 0, group, classes).evaluation
        for protocol in map(load_protocol, FOUR)
        for group, classes in protocol.groups_for(store.spec).items()
    ]
    reader = SliceReader(store, normalisation(store, "per-scan", ()))
    encoder = Counting()
    found = evaluate(SSLALPNet(encoder).eval(), plans, reader, device=torch.device("cpu"))
    assert len(encoder.seen) == len(set(encoder.seen)) <= 80
    alone = evaluate(SSLALPNet(Counting()).eval(), plans[-1:], reader, device=torch.device("cpu"))
    assert alone[0].scores == found[-1].scores


def test_a_protocol_whose_rules_do_not_fit_is_refused_by_name(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(records(work))
    # setting 2 of upper drops slices 1-4; the family of Q-Net drops 1-6 of all organs
    assert asked(work, 2, "adnet-ep1,qnet-ep1") == 1
    out = capsys.readouterr().out
    assert "refused: model" in out and "under qnet-ep1: other training slices" in out
    assert len(records(work)) == before + 1
    assert asked(work, 2, "qnet-ep1") == 2
    message = capsys.readouterr().err
    assert "training slices (setting 2 drops by union)" in message and "--allow-mismatch" in message


def test_a_mismatch_that_is_allowed_is_marked_hybrid(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(work, 2, "qnet-ep1", "--allow-mismatch", "--setting", "2", "--folds", "0") == 0
    assert "MARKED: hybrid: off the main board, trained with other training slices" in capsys.readouterr().out
    (found,) = [r for r in records(work) if r.protocol.name == "qnet-ep1"]
    # what the model was trained on, not what the protocol asks: 7 scans of 8 slices without 1-4
    assert found.training.slices == 7 * 4 and found.training.slices_excluded == 7 * 4
    assert "no training scan in the fold" in found.checks
    assert not any(check.startswith("setting 2") for check in found.checks)
    # asked in setting 1 the excluded slices stay those of its training
    assert asked(work, 2, "alpnet-ep1", "--allow-mismatch", "--setting", "1", "--folds", "0") == 0
    hybrids = [r for r in records(work) if r.audits[0].startswith("hybrid") and r.setting == 1]
    assert len(hybrids) == 2 and all(r.training.slices_excluded == 28 for r in hybrids)


def test_no_mismatch_lets_queries_be_trained_on(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--allow-mismatch", "--setting", "1", "--folds", "2")
    assert asked(work, 1, "alpnet-ep1", *arguments) == 2
    assert "all of its queries were trained on" in capsys.readouterr().err


MISTAKES: list[tuple[tuple[str, ...], str]] = [
    (("--protocol", "qnet-ep1", "--allow-mismatch"), "--allow-mismatch needs --setting"),
    (("--protocol", "alpnet-ep1,qnet-ep9"), "did you mean 'qnet-ep1'"),
    (("--dataset", "othr"), "unknown dataset 'othr'"),
]


@pytest.mark.parametrize(("more", "said"), MISTAKES, ids=[said for _more, said in MISTAKES])
def test_a_mistake_is_one_line(
    more: tuple[str, ...], said: str, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", key_of(done, 1), "--work", str(done), *more]) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1


def test_checkpoint_files_are_asked_under_several_protocols(done: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(done / "stores", work / "stores")
    file = str(done / "models" / key_of(done, 1) / "last.pt")
    question = ["--dataset", "tiny", "--setting", "1", "--folds", "0", "--encoder", "resnet18"]
    several = ["--protocol", "alpnet-ep1,open-ep,qnet-ep1", "--checkpoint", file]
    assert main(["evaluate", "--work", str(work), *question, *several]) == 0
    found = {(r.protocol.name, r.group): r for r in records(work)}
    assert len(found) == 5 and all(r.model.checkpoint == "external" for r in found.values())
    (trained,) = [r for r in records(done) if r.setting == 1]
    assert found["alpnet-ep1", "upper"].scores == trained.scores


def test_open_ep_writes_a_file_for_every_support(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = tmp_path / "work"
    tiny_store(work / "stores" / "tiny")
    run: Callable[..., int] = main
    arguments = ["--dataset", "tiny", "--folds", "0", "--groups", "upper", "--method", "copy-support"]
    assert run(["run", "--work", str(work), *arguments, "--protocol", "open-ep", "--save-predictions"]) == 0
    (folder,) = (work / "predictions").iterdir()
    names = {path.name for path in (folder / "counted").iterdir()}
    assert len(names) == 32 and "scan_0_label_1_support_2.nii.gz" in names
    maps = {path.name for path in folder.glob("*.nii.gz")}
    assert len(maps) == 16 and "scan_0_support_2.nii.gz" in maps
    capsys.readouterr()
    assert main(["overlay", "--work", str(work), folder.name]) == 0
