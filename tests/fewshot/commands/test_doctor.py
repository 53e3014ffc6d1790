"""`fewshot doctor`: the installation, every kind of fault in a work folder, and older work folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from seal_again import edit_index, edit_json, write_supervoxels
from tiny import tiny_store

from episodes.io.nifti import read_nifti, write_nifti
from fewshot.commands.main import main
from fewshot.files.seals import hash_file

TRAIN = ["--dataset", "tiny", "--method", "ssl-alpnet", "--encoder", "resnet18", "--weights", "random"]
SHORT = [*TRAIN, "--steps", "2", "--option", "snapshot_every=1", "--folds", "0", "--groups", "upper"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with one of everything; tests copy it."""
    work = tmp_path_factory.mktemp("done") / "work"
    write_supervoxels(tiny_store(work / "stores" / "tiny"))
    assert main(["run", "--work", str(work), *SHORT, "--save-predictions"]) == 0
    yardstick = ["--dataset", "tiny", "--method", "copy-support", "--save-predictions"]
    assert main(["run", "--work", str(work), *yardstick]) == 0
    assert main(["distances", "--work", str(work), "--dataset", "tiny"]) == 0
    return work


@pytest.fixture
def work(tmp_path: Path, done: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "work"))


def test_the_installation_is_described(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["doctor", "--work", str(work)]) == 0
    text = capsys.readouterr().out
    for word in ("fewshot 0", "program: ", "torch ", " threads of ", "bf16 on this processor: ", "GPUs",
                 "GB free", "weights: none", "locks: flock", "locks held"):  # fmt: skip
        assert word in text
    nearly_full = shutil.disk_usage(work)._replace(free=10**9)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: nearly_full)
    monkeypatch.setenv("FEWSHOT_LOCKS", "lease")
    assert main(["doctor", "--work", str(work)]) == 0
    text = capsys.readouterr().out
    assert "warning: less than 5 GB are free" in text and "locks: leases (FEWSHOT_LOCKS=lease)" in text
    assert main(["doctor", "--work", str(work / "none")]) == 0
    assert "does not exist yet" in capsys.readouterr().out
    assert main(["doctor", "--verify", "--work", str(work / "none")]) == 2


def test_a_sound_work_folder_has_no_fault(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--verify", "--work", str(done)]) == 0
    # a store, a model, 11 records, 11 predictions, 10 distances
    assert "checking: 34 of 34 sound, 0 faults, 0 not checked" in capsys.readouterr().out


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def first(work: Path, pattern: str) -> Path:
    return sorted(work.glob(pattern))[0]


def other_mask(work: Path, pattern: str = "predictions/*/counted/*.nii.gz") -> None:
    path = first(work, pattern)
    old = read_nifti(path)
    write_nifti(path, np.ones_like(old.array), old.spacing_mm, old.origin, old.direction)


def wrong_fact(work: Path) -> None:
    edit_index(
        work / "stores" / "tiny" / "index.json", lambda index: index["scans"][4].update(superpixel_slices=[0])
    )


def copy_record(work: Path) -> None:
    one, two = sorted((work / "records").iterdir())[:2]
    shutil.copy(one, two)


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "index": (lambda w: flip(w / "stores" / "tiny" / "index.json"), "store tiny: "),
    "image": (lambda w: flip(w / "stores/tiny/images/4.npy"), "images/4.npy is not as prepared"),
    "labels": (lambda w: flip(w / "stores/tiny/labels/4.npy"), "labels/4.npy is not as prepared"),
    "superpixels": (lambda w: flip(w / "stores/tiny/superpixels/4.npy"), "4.npy is not as prepared"),
    "supervoxels": (lambda w: flip(w / "stores/tiny/supervoxels/4.npy"), "4.npy is not as prepared"),
    "fact that the arrays deny": (wrong_fact, "superpixel_slices of scan 4 is [0], its arrays give"),
    "spec": (lambda w: flip(first(w, "models/*/spec.json")), "model "),
    "checkpoint": (lambda w: flip(first(w, "models/*/last.pt")), "last.pt was changed"),
    "snapshot": (lambda w: flip(first(w, "models/*/step_1.pt")), "step_1.pt was changed"),
    "extras": (lambda w: flip(first(w, "models/*/record_extras.json")), "/record_extras.json"),
    "renamed model": (lambda w: first(w, "models/*").rename(w / "models" / ("0" * 16)), "is of key"),
    "record": (lambda w: flip(first(w, "records/*.json")), "record "),
    "copied record": (copy_record, "holds the record"),
    "prediction": (other_mask, "counts "),
    "label map": (lambda w: other_mask(w, "predictions/*/*.nii.gz"), "is not the label map of the masks"),
    "damaged prediction": (lambda w: flip(first(w, "predictions/*/counted/*.nii.gz")), "predictions "),
    "missing prediction": (lambda w: first(w, "predictions/*/counted/*.nii.gz").unlink(), "is missing"),
    "prediction without record": (lambda w: first(w, "records/*.json").unlink(), "has no record in"),
    "distances": (
        lambda w: edit_text(first(w, "distances/*.json"), '"tolerance_mm": 2.0', '"tolerance_mm": 3.0'),
        "was changed",
    ),
}


def edit_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("name", FAULTS)
def test_every_kind_of_fault_is_one_line_and_status_2(
    work: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, said = FAULTS[name]
    change(work)
    capsys.readouterr()
    assert main(["doctor", "--verify", "--work", str(work)]) == 2
    lines = capsys.readouterr().out.splitlines()
    faults = [line for line in lines if line.startswith("fault: ")]
    assert any(said in line for line in faults), faults
    assert len(lines) == len(faults) + 1 and f"{len(faults)} faults" in lines[-1]


def make_older(work: Path) -> None:
    """Take away what earlier versions did not write: seals, hashes, trainings in checkpoints, label maps."""
    for folder in (work / "predictions").iterdir():
        counted = shutil.move(folder / "counted", folder.with_name("counted"))
        shutil.rmtree(folder)
        shutil.move(counted, folder)
    for path in work.rglob("*.sha256"):
        path.unlink()
    for path in [*work.rglob("*.json")]:
        if "runs" in path.parts or "logs" in path.parts:
            continue
        content = json.loads(path.read_text())
        content.pop("seal")
        path.write_text(json.dumps(content, sort_keys=True, indent=1) + "\n")
        if path.parent.name == "records":
            path.rename(path.with_name(f"{content['key']}.json"))
    for path in work.rglob("*.pt"):
        state = torch.load(path, weights_only=True)
        if path.name == "last.pt":
            identity = json.loads(state["identity"])
            del identity["training"]
            state["identity"] = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        else:
            del state["identity"]
        torch.save(state, path)


def test_an_older_work_folder_is_refused_with_the_way_out_and_sealed_to_the_same_content(
    work: Path, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_older(work)
    for command in (["table"], ["run", *SHORT], ["list", "models"], ["list", "stores"]):
        assert main([*command, "--work", str(work)]) == 2, command
        assert "fewshot doctor --seal" in capsys.readouterr().err
    assert main(["doctor", "--seal", "--work", str(work)]) == 0
    assert "0 faults" in capsys.readouterr().out
    shutil.rmtree(work / "distances")  # an older measure is measured again
    assert main(["doctor", "--verify", "--work", str(work)]) == 0
    assert main(["run", "--work", str(work), *SHORT]) == 0
    for part in ("records", "models"):
        for path in (done / part).rglob("*"):
            if path.suffix in (".json", ".csv"):
                assert (work / path.relative_to(done)).read_bytes() == path.read_bytes()
            elif path.suffix == ".pt":
                ours, theirs = (
                    torch.load(one, weights_only=True)["model"]
                    for one in (path, work / path.relative_to(done))
                )
                assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


OLDER_FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "array": (lambda w: flip(w / "stores/tiny/images/4.npy"), "not as prepared"),
    "fact": (
        lambda w: edit_text(w / "stores/tiny/index.json", '_slices": [\n    0', '_slices": [\n    7'),
        "superpixel_slices of scan",
    ),
    "checkpoint": (lambda w: flip(first(w, "models/*/last.pt")), "last.pt is damaged: the checksum"),
    "spec": (lambda w: edit_text(first(w, "models/*/spec.json"), '"seed": 0', '"seed": 1'), "is of key"),
    "record": (lambda w: edit_text(first(w, "records/*.json"), '"tp": ', '"tp": 1'), "record "),
}  # fmt: skip


@pytest.mark.parametrize("name", OLDER_FAULTS)
def test_what_cannot_be_true_is_not_sealed(work: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_older(work)
    change, said = OLDER_FAULTS[name]
    change(work)
    capsys.readouterr()
    assert main(["doctor", "--seal", "--work", str(work)]) == 2
    (fault,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fault: ")]
    assert said in fault


def test_a_file_of_records_is_sealed_line_by_line(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [json.loads(path.read_text()) for path in sorted((work / "records").iterdir())]
    folder = work.parent / "data"
    folder.mkdir()
    for number, one in enumerate(records):
        if number % 2:
            one.pop("seal")
    (folder / "several.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    assert main(["table", "--records", str(folder)]) == 2
    assert main(["doctor", "--seal", "--work", str(work), "--records", str(folder)]) == 0
    assert main(["table", "--records", str(folder)]) == 0
    capsys.readouterr()


def test_a_sealed_work_folder_is_left_as_it_is(done: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file()}
    assert main(["doctor", "--seal", "--work", str(done)]) == 0
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file()} == before


def test_edit_json_is_no_fault_of_its_own(work: Path) -> None:
    """The helper of these tests leaves a sound file sound."""
    edit_json(first(work, "models/*/record_extras.json"), lambda _content: None)
    assert hash_file(first(work, "models/*/last.pt")).is_file()
    assert main(["doctor", "--verify", "--work", str(work)]) == 0
