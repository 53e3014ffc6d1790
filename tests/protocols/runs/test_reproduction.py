"""Records remade from their own content: equal numbers, each difference by name, refusals in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from made_backbones import MadeBackbones, backbone_file, slices_of
from small_encoder import SmallEncoder

from episodes.store.store import Store
from fewshot.commands.main import main
from results.metrics.counts import dice
from results.records.files import read_record, write_record
from results.records.record import Record
from results.records.record_diff import compare_records
from results.records.record_parts import MachinePart

SMALL = ["--encoder", "resnet18", "--weights", "random", "--steps", "2"]
OWN = """
import torch
from dataclasses import dataclass


class Mine:
    @dataclass(frozen=True)
    class Options:
        threshold: float = 0.5

    trainable = False

    def __init__(self, options=None):
        self.options = options or self.Options()

    def segment(self, support, query):
        return (support.masks.float().mean(dim=0) > self.options.threshold).float().expand(len(query), -1, -1)
"""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every encoder is one convolution."""
    monkeypatch.setattr("protocols.training.models.encoder_for", lambda _cls, _name, seed: SmallEncoder(seed))


@pytest.fixture(scope="module")
def run_one(module_work: Path) -> Callable[..., Path]:
    """Return a function that runs fold 0, upper, and returns the path of the new record."""

    def run(*command: str) -> Path:
        before = set((module_work / "records").glob("*.json"))
        cells = ["--dataset", "tiny", "--folds", "0", "--groups", "upper", "--device", "cpu"]
        assert main(["run", "--work", str(module_work), *cells, *command]) == 0
        (path,) = set((module_work / "records").glob("*.json")) - before
        return path

    return run


@pytest.fixture(scope="module")
def copied(run_one: Callable[..., Path]) -> Path:
    """The record of a yardstick."""
    return run_one("--method", "copy-support", "--shots", "2")


def changed(record: Record) -> Record:
    """Return a record with one pixel more, another protocol hash, store, version, torch and processor."""
    first, *rest = record.scores
    more = replace(first, fp=first.fp + 1, dice=dice(first.tp, first.fp + 1, first.fn))
    return replace(
        record,
        scores=(more, *rest),
        protocol=replace(record.protocol, hash="0" * 64),
        dataset=replace(record.dataset, hash="1" * 16),
        method=replace(record.method, version=9),
        versions={**record.versions, "evaluation": 7},
        environment=replace(
            record.environment, torch="1.0", threads=None, processor="Abacus", device="Tesla", python="2.7"
        ),
        key=None,
    )


def test_a_yardstick_is_equal(module_work: Path, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path for path in module_work.rglob("*") if path.is_file())
    capsys.readouterr()
    assert main(["reproduce", str(copied), "--work", str(module_work)]) == 0
    out = capsys.readouterr().out
    scores = len(read_record(copied).scores)
    assert out.startswith("record   copy-support on tiny, alpnet-ep1, setting 1, fold 0, group upper\n")
    assert f"equal    all {scores} scores\n" in out and "unequal" not in out
    assert before == sorted(path for path in module_work.rglob("*") if path.is_file())


def test_every_difference_has_a_line(
    module_work: Path, copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_record(tmp_path / "other.json", changed(read_record(copied)))
    line = json.dumps(json.loads((tmp_path / "other.json").read_text()))
    (tmp_path / "other.jsonl").write_text(f"{line}\n")
    assert main(["reproduce", f"{tmp_path / 'other.jsonl'}:1", "--work", str(module_work)]) == 1
    lines = capsys.readouterr().out.splitlines()
    (number,) = [line for line in lines if line.startswith("unequal")]
    scores = read_record(copied).scores
    assert f"1 of {len(scores)} differ ({scores[0].class_name} of scan {scores[0].scan})" in number
    names = [line.split()[1].rstrip(":") for line in lines if line.startswith("differs")]
    expected = ["protocol", "data", "method", "shared", "libraries", "threads", "processor", "device"]
    assert names[: len(expected)] == expected and "method version: 9, now 1" in "\n".join(lines)
    assert "shared part evaluation: version 7, now 1" in "\n".join(lines)
    assert "threads: not recorded, now" in "\n".join(lines)


def test_a_record_of_a_jsonl_file_by_its_key(
    module_work: Path, copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line, key = json.dumps(json.loads(copied.read_text())), read_record(copied).key
    assert key is not None
    (tmp_path / "all.jsonl").write_text(f"{line}\n")
    ask = ["reproduce", str(tmp_path / "all.jsonl"), "--work", str(module_work)]
    assert main([*ask, "--cell", key[:6]]) == 0
    assert main([*ask, "--cell", "zz"]) == 2
    assert "holds 0 records of cell zz, expected exactly one" in capsys.readouterr().err


def test_a_checkpoint_chosen_on_validation_is_chosen_again(
    module_work: Path, run_one: Callable[..., Path], capsys: pytest.CaptureFixture[str], small: None
) -> None:
    """Training, the choice and the Dice of every candidate repeat; another Dice of a candidate is found."""
    policy = ["--checkpoint-policy", "validation", "--option", "snapshot_every=1", "--seed", "3"]
    path = run_one("--method", "ssl-alpnet", *SMALL, *policy)
    capsys.readouterr()
    assert main(["reproduce", str(path), "--work", str(module_work)]) == 0
    assert "ssl-alpnet on tiny, alpnet-ep1, setting 1, fold 0, group upper, seed 3" in capsys.readouterr().out
    record = read_record(path)
    selected = record.model.selected
    assert selected is not None
    other = replace(selected, dices=(0.25, *selected.dices[1:]))
    (line,) = compare_records(record, replace(record, model=replace(record.model, selected=other))).numbers
    assert line.startswith("Dice of the candidates on scan 9:")
    (line,) = compare_records(record, replace(record, model=replace(record.model, selected=None))).numbers
    assert line == "checkpoint: one of the two runs chose it by a policy"
    machine = MachinePart("cpu", "Abacus", 7, "1.0")
    older = replace(record, model=replace(record.model, trained_on=(machine,)))
    conditions = compare_records(older, record).conditions
    assert "threads of the training: 7" in "\n".join(conditions)


def test_a_trained_few_shot_method_keeps_its_second_run(
    module_work: Path, run_one: Callable[..., Path], tmp_path: Path, small: None
) -> None:
    path = run_one("--method", "adnet", *SMALL)
    assert main(["reproduce", str(path), "--work", str(module_work), "--out", str(tmp_path / "kept")]) == 0
    assert len(list((tmp_path / "kept" / "models").glob("*/last.pt"))) == 1


@pytest.mark.slow
def test_a_supervised_method(module_work: Path, run_one: Callable[..., Path]) -> None:
    sizes = ["--encoder", "resnet18-w16", "--option", "width=0.0625", "--option", "side=64"]
    path = run_one("--method", "tmunet", *sizes, "--weights", "random", "--steps", "2")
    assert main(["reproduce", str(path), "--work", str(module_work)]) == 0


@pytest.mark.slow
def test_a_file_of_weights_must_be_named(
    module_work: Path, run_one: Callable[..., Path], store: Store, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = backbone_file(tmp_path / "mine.pth", slices_of(store, ("5",)))
    path = run_one("--method", "panet", *SMALL[:2], "--weights", str(file), "--steps", "1")
    ask = ["reproduce", str(path), "--work", str(module_work)]
    capsys.readouterr()
    assert main(ask) == 2
    assert "began from the file 'mine.pth'; give it with --weights FILE" in capsys.readouterr().err
    assert main([*ask, "--weights", str(file)]) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("made")
def test_a_training_in_stages(
    module_work: Path, run_one: Callable[..., Path], made: MadeBackbones, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--encoder", "resnet18", "--steps", "2", "--option", "stage3_steps=3"]
    path = run_one("--method", "densemp", *more)
    capsys.readouterr()
    assert main(["reproduce", str(path), "--work", str(module_work)]) == 0
    assert "densemp on tiny" in capsys.readouterr().out


def test_a_users_method_runs_only_by_name(
    module_work: Path, run_one: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    path = run_one("--method", f"{file}:Mine", "--option", "threshold=0.25")
    ask = ["reproduce", str(path), "--work", str(module_work)]
    capsys.readouterr()
    assert main(ask) == 2
    assert "the user's method mine.py:Mine: its code runs only by name" in capsys.readouterr().err
    assert main([*ask, "--method", f"{file}:Mine"]) == 0
    file.write_text(OWN.replace("> self.options.threshold", ">= self.options.threshold + 2"))
    shutil.copy(file, tmp_path / "later.py")
    (tmp_path / "later").mkdir()
    shutil.move(tmp_path / "later.py", tmp_path / "later" / "mine.py")
    assert main([*ask, "--method", f"{tmp_path / 'later' / 'mine.py'}:Mine"]) == 1
    out = capsys.readouterr().out
    assert "unequal  scores:" in out and "differs  method code:" in out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--method", "adnet"], "record of copy-support, which needs no --method"),
        (["--option", "x=1"], "--option x: the record fixes it"),
        (["--cell", "ab"], "holds one record; leave --cell out"),
        (["--out", "<work>"], "is the work folder, whose records would be replaced"),
    ],
)
def test_a_mistake_is_one_line(
    more: list[str], said: str, module_work: Path, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(module_work) if word == "<work>" else word for word in more]
    capsys.readouterr()
    assert main(["reproduce", str(copied), "--work", str(module_work), *words]) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1


def test_what_no_run_made_cannot_be_remade(
    module_work: Path, copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = replace(read_record(copied), key=None)
    external = replace(record, method=replace(record.method, regime="external"))
    hybrid = replace(record, audits=("hybrid: off the main board, trained with other rules",))
    for other, said in ((external, "fewshot score"), (hybrid, "--allow-mismatch")):
        write_record(tmp_path / "r.json", other)
        assert main(["reproduce", str(tmp_path / "r.json"), "--work", str(module_work)]) == 2
        assert said in capsys.readouterr().err
    gone = replace(record, dataset=replace(record.dataset, name="elsewhere", hash="2" * 16))
    write_record(tmp_path / "r.json", gone)
    assert main(["reproduce", str(tmp_path / "r.json"), "--work", str(module_work)]) == 2
    assert "unknown dataset 'elsewhere'" in capsys.readouterr().err
