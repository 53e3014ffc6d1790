"""Masks from files: counted exactly as a run counts its own, and refused where they are not what is asked."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import nibabel
import numpy as np
import pytest
from seal_again import edit_index, edit_json
from tiny import tiny_store

from episodes.io.geometry import Grid, affine_of
from episodes.io.nifti import write_nifti
from episodes.plan.plan import make_plan
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef
from fewshot.commands.experiment.score import LABELS_USED
from fewshot.commands.main import main
from protocols.rules.spec import load_protocol
from protocols.scoring.mask_files import prediction_files
from protocols.scoring.plan_file import check_one_support
from results.records.files import read_record, read_records
from results.records.record import Record
from results.records.record_parts import MethodPart
from results.summary.notes import LABELS

CLASSES = {"liver": 1, "right-kidney": 2, "left-kidney": 3, "spleen": 4}
ASKED = ["--dataset", "tiny", "--folds", "0,1"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with records and saved masks of a yardstick, the same masks in one folder, and a plan."""
    work = tmp_path_factory.mktemp("done") / "work"
    index = tiny_store(work / "stores" / "tiny").path / "index.json"
    # absent from a query: a score without Dice
    edit_index(index, lambda content: content["scans"][1]["class_slices"].update(spleen=[]))
    run = ["run", "--work", str(work), *ASKED, "--method", "copy-support", "--save-predictions"]
    assert main(run) == 0
    (work / "theirs").mkdir()
    for path in (work / "predictions").glob("*/counted/*.nii.gz"):
        shutil.copy(path, work / "theirs")
    assert main(["plan", "--work", str(work), *ASKED, "--out", str(work / "plan.json")]) == 0
    return work


@pytest.fixture
def work(tmp_path: Path, done: Path) -> Path:
    """A work folder without records, with the masks in `theirs` and the plan."""
    for name in ("stores", "theirs"):
        shutil.copytree(done / name, tmp_path / "work" / name)
    shutil.copy(done / "plan.json", tmp_path / "work")
    return tmp_path / "work"


def score(work: Path, *more: str) -> int:
    plan = ["--plan", str(work / "plan.json"), "--name", "theirs"]
    labels = [] if "--labels-used" in more else ["--labels-used", "none"]
    return main(["score", "--work", str(work), str(work / "theirs"), *plan, *labels, *more])


def by_cell(records: list[Record]) -> dict[tuple[int, str], Record]:
    return {(record.fold, record.group): record for record in records}


def test_saved_predictions_scored_again_give_the_same_counts(done: Path, work: Path) -> None:
    assert score(work) == 0
    own, scored = by_cell(read_records(done / "records")), by_cell(read_records(work / "records"))
    assert len(own) == 4 and own.keys() == scored.keys()
    for cell, record in own.items():
        assert scored[cell].scores == record.scores
        assert [found.scan for found in record.scores if found.undefined] == ["1"] * (cell == (0, "upper"))
        assert sum(found.fp + found.fn for found in record.scores) > 0  # no comparison of zeros
        for key in ("protocol", "dataset", "grid", "setting", "plan_hash", "shots", "parts", "training"):
            assert getattr(scored[cell], key) == getattr(record, key)


def test_the_record_and_the_table_are_marked_external(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(work, "--labels-used", "target") == 0
    printed = capsys.readouterr().out
    assert "MARKED: scored from files" in printed and "made elsewhere" in printed
    assert "initial weights: not known" in printed and "uses labels of the tested classes" in printed
    assert "theirs on tiny, setting 1" in printed
    assert len(read_records(work / "records")) == 4
    for path in (work / "records").glob("*.json"):
        record = read_record(path)
        assert record.method.name == "theirs" and record.method.regime == "external"
        assert record.model.checkpoint == "external" and record.audits == ("scored from files",)
        assert (work / "logs" / f"{record.key}.json").is_file()


def test_the_labels_behind_the_masks_have_no_default(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = ["--plan", str(work / "plan.json"), "--name", "theirs"]
    assert main(["score", "--work", str(work), str(work / "theirs"), *plan]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "--labels-used is missing" in message
    for value, meaning in LABELS_USED.items():
        assert f"{value} ({meaning})" in message
    assert not (work / "records").exists()


@pytest.mark.parametrize(
    "turn", [np.s_[:, :, ::-1], np.s_[:, ::-1], np.s_[::-1, ::-1, ::-1], "transposed"], ids=str
)
def test_right_masks_in_another_orientation_are_100_percent(
    work: Path, turn: object, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(work / "stores" / "tiny")
    for scan in ("0", "1", "2", "3"):
        for value in CLASSES.values():
            stored = store.scan(scan)
            affine = affine_of(Grid(stored.spacing_mm, stored.origin, stored.direction))
            voxels = np.asarray(stored.labels == value, dtype=np.uint8).T  # (x,y,z)
            if turn == "transposed":
                voxels, affine = voxels.transpose(1, 2, 0), affine[:, [1, 2, 0, 3]]
            else:
                for axis, part in enumerate(reversed((*turn, np.s_[:])[:3])):  # type: ignore[misc]
                    if part.step == -1:
                        affine[:, 3] += affine[:, axis] * (voxels.shape[axis] - 1)
                        affine[:, axis] *= -1
                        voxels = np.flip(voxels, axis)
            image = nibabel.Nifti1Image(voxels, affine)
            nibabel.save(image, work / "theirs" / f"scan_{scan}_label_{value}.nii.gz")
    assert score(work) == 0
    dices = [found.dice for record in read_records(work / "records") for found in record.scores]
    assert {dice for dice in dices if dice is not None} == {1.0}


def test_masks_that_lost_their_geometry_are_refused(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = work / "theirs" / "scan_1_label_1.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.asarray(nibabel.load(path).dataobj), np.eye(4)), path)
    assert score(work) == 2
    message = capsys.readouterr().err
    assert "has spacing (1, 1, 1) mm (z,y,x), expected (7.7, 1.25, 1.25)" in message
    assert "affine [[-1.25, 0.0, 0.0" in message and not (work / "records").exists()


@pytest.mark.parametrize("value", LABELS_USED)
def test_each_value_stands_in_the_record_and_in_words_in_the_table(
    value: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(work, "--labels-used", value) == 0
    assert {r.method.labels_used for r in read_records(work / "records")} == {value}
    assert (LABELS[value] or "labels used in training: none") in capsys.readouterr().out


def test_the_values_are_those_of_records_and_of_tables() -> None:
    assert set(LABELS_USED) == set(LABELS) == set(get_args(get_type_hints(MethodPart)["labels_used"]))


def test_the_same_files_give_the_same_records_and_other_files_other_ones(work: Path) -> None:
    assert score(work) == 0
    before = {path.name: path.read_bytes() for path in (work / "records").iterdir()}
    assert score(work, "--overwrite") == 0
    assert before == {path.name: path.read_bytes() for path in (work / "records").iterdir()}
    replace_mask(work, np.zeros((8, 65, 65), dtype=np.uint8))
    assert score(work) == 0
    assert len(list((work / "records").iterdir())) == 8


def test_the_truth_as_prediction_is_100_percent(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(work / "stores" / "tiny")
    for scan in ("0", "1", "2", "3"):
        for value in CLASSES.values():
            truth = np.asarray(store.scan(scan).labels == value)
            write(work / "theirs" / f"scan_{scan}_label_{value}.nii.gz", store, scan, truth)
    assert score(work) == 0
    records = read_records(work / "records")
    dices = [found.dice for record in records for found in record.scores]
    assert dices.count(1.0) == 15 and dices.count(None) == 1
    assert "100.0" in capsys.readouterr().out


def test_counts_of_a_hand_made_mask(work: Path) -> None:
    """One pixel too many and one too few count; pixels off the scored slices and the square do not."""
    store = Store.open(work / "stores" / "tiny")
    truth = np.array(store.scan("0").labels == 1)
    shown = np.flatnonzero(truth.any(axis=(1, 2)))
    mask = truth.copy()
    mask[shown[0], 0, 0] = True  # a false positive
    mask[shown[-1] + 1, 0, 0] = True  # outside the range: counts nowhere
    mask[shown[0], 64, 64] = True  # outside the model's square: counts nowhere
    y, x = np.argwhere(truth[shown[1]])[0]
    mask[shown[1], y, x] = False  # a false negative
    write(work / "theirs" / "scan_0_label_1.nii.gz", store, "0", mask)
    assert score(work) == 0
    record = by_cell(read_records(work / "records"))[0, "upper"]
    (found,) = (one for one in record.scores if (one.class_name, one.scan) == ("liver", "0"))
    assert (found.tp, found.fp, found.fn) == (int(truth.sum()) - 1, 1, 1)


def test_a_pattern_fills_in_fold_and_group(done: Path, work: Path) -> None:
    for path in (done / "records").glob("*.json"):
        record = read_record(path)
        shutil.copytree(
            done / "predictions" / str(record.key) / "counted", work / f"f{record.fold}" / record.group
        )
    shutil.rmtree(work / "theirs")
    plan = ["--plan", str(work / "plan.json"), "--name", "theirs"]
    labels = ["--labels-used", "none"]
    assert main(["score", "--work", str(work), str(work / "f{fold}" / "{group}"), *plan, *labels]) == 0
    assert len(read_records(work / "records")) == 4


def write(path: Path, store: Store, scan: str, array: np.ndarray) -> None:
    stored = store.scan(scan)
    write_nifti(path, array, stored.spacing_mm, stored.origin, stored.direction)


def replace_mask(work: Path, array: np.ndarray, name: str = "scan_1_label_1.nii.gz") -> None:
    write(work / "theirs" / name, Store.open(work / "stores" / "tiny"), "1", array)


def edit_plan(work: Path, *path: str | int, value: object) -> None:
    def edit(content: dict[str, Any]) -> None:
        place: Any = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    edit_json(work / "plan.json", edit)


def other_store(work: Path) -> None:
    index = work / "stores" / "tiny" / "index.json"
    edit_index(index, lambda content: content["scans"][0].update(spacing_mm=[8.0, 1.25, 1.25]))


def edit_setting(work: Path) -> None:
    path = work / "plan.json"
    path.write_text(path.read_text().replace('"setting": 1', '"setting": 2'))


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "file missing": (lambda w: (w / "theirs" / "scan_3_label_2.nii.gz").unlink(), "scan_3_label_2.nii.gz is"),
    "two missing": (
        lambda w: [(w / "theirs" / f"scan_3_label_{k}.nii.gz").unlink() for k in (1, 2)],
        "and 1 more are missing of 15",
    ),
    "other shape": (lambda w: replace_mask(w, np.zeros((8, 64, 64), np.uint8)), "shape (8, 64, 64)"),
    "not binary": (lambda w: replace_mask(w, np.full((8, 65, 65), 4, np.uint8)), "value 4"),
    "probability": (lambda w: replace_mask(w, np.full((8, 65, 65), 0.5, np.float32)), "value 0.5"),
    "no number": (lambda w: replace_mask(w, np.full((8, 65, 65), np.nan, np.float32)), "value nan"),
    "other store": (other_store, "plan.json is for tiny with hash"),
    "edited setting": (edit_setting, "plan.json was changed after it was written"),
    "a key twice": (
        lambda w: (w / "plan.json").write_text('{"plans": [], "plans": []}'),
        "key 'plans' stands there twice",
    ),
    "name of a folder": (
        lambda w: [
            edit_plan(w, "plans", n, "evaluation", "dataset", "name", value="../stores/tiny") for n in (0, 1)
        ],
        "was edited",
    ),
    "other protocol": (lambda w: edit_plan(w, "protocol", "hash", value="ab" * 32), "abababab"),
    "no protocol": (lambda w: edit_plan(w, "protocol", "name", value="mine"), "unknown protocol 'mine'"),
    "edited plan": (lambda w: edit_plan(w, "plans", 1, "evaluation", "fold", value=3), "was edited"),
    "two settings": (lambda w: edit_plan(w, "plans", 1, "setting", value=2), "plans of 2 datasets"),
    "empty": (lambda w: edit_plan(w, "plans", value=[]), "plans of 0 datasets"),
    "no plan": (lambda w: (w / "plan.json").write_text("{}"), "has no seal"),
    "no JSON": (lambda w: (w / "plan.json").write_bytes(b"\x1f\x8b\xff"), "expected a plan file"),
    "no file": (lambda w: (w / "plan.json").unlink(), "no such file"),
    "not prepared": (lambda w: shutil.rmtree(w / "stores"), "unknown dataset 'tiny'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_no_record(
    mistake: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, said = MISTAKES[mistake]
    make(work)
    assert score(work) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1
    assert not (work / "records").exists() and not (work / "logs").exists()


def test_a_file_that_would_answer_two_questions_is_refused(work: Path) -> None:
    store, protocol = Store.open(work / "stores" / "tiny"), load_protocol("alpnet-ep1")
    plan = make_plan(
        store.index, store.spec, store.hash, protocol.evaluation, 1, 0, "upper", ("liver", "spleen")
    ).evaluation
    with pytest.raises(UserError, match="would serve folds 0 and 1"):
        prediction_files(str(work / "theirs"), [plan, dataclasses.replace(plan, fold=1)])
    other = dataclasses.replace(plan.tasks[0], support=(SliceRef("7", 3),))
    with pytest.raises(UserError, match="liver of scan 0 from 2 supports in turn"):
        check_one_support(work / "plan.json", dataclasses.replace(plan, tasks=(*plan.tasks, other)))
