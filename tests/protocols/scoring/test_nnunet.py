"""nnU-Net by a stand-in: its commands copy labels into masks, which are scored as a supervised row."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tiny import tiny_store

from fewshot.commands.main import main
from results.records.files import read_records

STAND_IN = """#!{python}
import json, os, shutil, sys
from pathlib import Path
name, words = Path(sys.argv[0]).name, sys.argv[1:]
raw = next(Path(os.environ["nnUNet_raw"]).iterdir())
with open(os.environ["STAND_IN_LOG"], "a") as log:
    log.write(name + " " + " ".join(words) + "\\n")
if name == "nnUNetv2_predict":
    out = Path(words[words.index("-o") + 1])
    out.mkdir(exist_ok=True)
    labels = sorted((raw / "labelsTr").iterdir())
    for image in sorted((raw / "imagesTs").iterdir()):
        shutil.copy(labels[0], out / image.name.replace("_0000", ""))
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny_store(tmp_path / "work" / "stores" / "tiny")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("nnUNetv2_plan_and_preprocess", "nnUNetv2_train", "nnUNetv2_predict"):
        (programs / name).write_text(STAND_IN.format(python=sys.executable))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "log.txt"))
    plan = ["--folds", "0", "--groups", "upper", "--out", str(tmp_path / "plan.json")]
    assert main(["plan", "--work", str(tmp_path / "work"), "--dataset", "tiny", *plan]) == 0
    return tmp_path / "work"


def test_a_fold_goes_out_and_its_masks_come_back(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = work.parent / "nnunet"
    words = ["nnunet", "--work", str(work), "--plan", str(work.parent / "plan.json"), "--out", str(out)]
    assert main(words) == 0
    (record,) = read_records(work / "records")
    assert record.method.name == "nnunet" and record.method.labels_used == "target"
    assert len(record.scores) == 4 and all(score.dice is not None for score in record.scores)
    raw = out / "fold0_upper" / "raw" / "Dataset901_tiny"
    about = json.loads((raw / "dataset.json").read_text())
    assert about["labels"] == {"background": 0, "liver": 1, "spleen": 2}
    cases = {path.name.removesuffix(".nii.gz") for path in (raw / "labelsTr").iterdir()}
    assert cases == set(record.training.scans) and len(cases) == about["numTraining"]
    assert not cases & {score.scan for score in record.scores}
    assert len((work.parent / "log.txt").read_text().splitlines()) == 3
    assert main(words) == 0  # nothing is trained again
    assert len((work.parent / "log.txt").read_text().splitlines()) == 3
    capsys.readouterr()
    assert main(["leaderboard", "--work", str(work), "--dataset", "tiny", "--setting", "1"]) == 0
    assert "supervised methods, which see" in capsys.readouterr().out


def test_a_missing_program_is_one_line(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    plan = ["--plan", str(work.parent / "plan.json"), "--out", str(work.parent / "n")]
    assert main(["nnunet", "--work", str(work), *plan]) == 2
    assert "nnUNetv2_plan_and_preprocess is not on the path" in capsys.readouterr().err
