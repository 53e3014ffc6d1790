"""Records, models and predictions of another work folder: gathered by hash, never overwritten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fewshot.commands.main import main

RUN = ["--dataset", "tiny", "--folds", "0", "--save-predictions"]
MODEL = ["--method", "ssl-alpnet", "--encoder", "resnet18", "--weights", "random", "--steps", "1"]


@pytest.fixture(scope="module")
def site(module_work: Path) -> Path:
    """The work folder of another site; no test changes it."""
    assert main(["run", "--work", str(module_work), *RUN, *MODEL]) == 0
    return module_work


@pytest.fixture
def other(site: Path, tmp_path: Path) -> Path:
    """A copy of the site that a test may change."""
    return Path(shutil.copytree(site, tmp_path / "other"))


def contents(work: Path) -> dict[str, bytes]:
    parts = ("records", "models", "predictions")
    return {
        str(path.relative_to(work)): path.read_bytes()
        for part in parts
        for path in sorted((work / part).rglob("*"))
        if path.is_file()
    }


def sync(source: Path, work: Path, *more: str) -> int:
    return main(["sync", str(source), "--work", str(work), *more])


def test_everything_is_gathered_once(site: Path, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sync(site, work) == 0
    assert "records: 2 copied, 0 here already" in capsys.readouterr().out
    assert contents(work) == contents(site)
    assert {path.name for path in (work / "logs").glob("*.json")} == {
        path.name for path in (site / "logs").glob("*.json")
    }
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*") if "locks" not in path.parts}
    assert sync(site, work) == 0
    assert "records: 0 copied, 2 here already" in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in work.rglob("*") if "locks" not in path.parts}
    assert {path: time for path, time in after.items() if path.is_file()} == {
        path: time for path, time in before.items() if path.is_file()
    }
    assert main(["jobs", "--work", str(work), "--dataset", "tiny", "--folds", "0", *MODEL]) == 0
    assert capsys.readouterr().out.strip() == ""


def test_parts_may_be_chosen(site: Path, work: Path) -> None:
    assert sync(site, work, "--parts", "records") == 0
    assert not (work / "models").exists() and len(list((work / "records").iterdir())) == 2


def test_a_conflict_is_named_and_stays(site: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = next((other / "records").glob("*.json"))
    content = json.loads(record.read_text())
    content["fallback_slices"] = 3
    record.write_text(json.dumps(content))
    mask = next((other / "predictions").rglob("*.nii.gz"))
    mask.write_bytes(b"another mask")
    next((other / "models").glob("*/losses.csv")).with_name("notes.txt").write_text("more")
    before = contents(other)
    assert sync(site, other) == 1
    shown = capsys.readouterr().out
    assert f"CONFLICT {record}: other content" in shown
    assert f"{mask.name} has other content" in shown and "notes.txt is missing there" in shown
    assert shown.count("CONFLICT") == 3 and contents(other) == before


def test_an_unfinished_training_is_left_out(
    other: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = (other / "models").iterdir()
    losses = folder / "losses.csv"
    losses.write_text(losses.read_text().splitlines()[0] + "\n")
    assert sync(other, work) == 0
    assert f"models: {folder.name} is left out: its training stands at step 0 of 1" in capsys.readouterr().out
    assert not list((work / "models").glob("*")) and len(list((work / "records").iterdir())) == 2


@pytest.mark.parametrize("part", ["records", "models"])
def test_an_edited_file_is_refused(
    part: str, other: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A record or spec with a broken seal does not come here."""
    file = next((other / part).rglob("*.json") if part == "records" else (other / part).glob("*/spec.json"))
    content = json.loads(file.read_text())
    content["schema" if part == "models" else "fallback_slices"] = 7
    file.write_text(json.dumps(content))
    assert sync(other, work, "--parts", part) == 2
    error = capsys.readouterr().err
    assert str(file) in error and error.count("\n") == 1 and not (work / part / file.name).exists()


def test_half_a_copy_is_no_model(site: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that is stopped leaves nothing under the model's name."""

    def stopped(_source: object, _target: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("protocols.campaign.gathering.shutil.copyfile", stopped)
        assert sync(site, work, "--parts", "models") == 130
    assert list((work / "models").iterdir()) == []
    assert sync(site, work) == 0 and contents(work) == contents(site)


@pytest.mark.parametrize(
    ("more", "said"), [(["--parts", "record"], "did you mean 'records'"), ([], "is this work folder")]
)
def test_mistakes_are_one_line(
    more: list[str], said: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sync(work, work, *more) == 2
    assert said in capsys.readouterr().err
    assert sync(work / "nothing", work) == 2
