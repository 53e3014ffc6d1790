"""Trained on one dataset, asked on another: nothing of the tested one is seen, classes go by name."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import DEPTH, SIZE, tiny_spec, tiny_store

from episodes.plan.plan import make_plan
from episodes.pseudo_labels.superpixels import volume_superpixels
from episodes.store.slices import normalisation
from episodes.store.store import SourceScan, Store, new_store
from fewshot.base.errors import UserError
from fewshot.commands.main import main
from protocols.rules.audits import AuditError
from protocols.rules.spec import load_protocol
from protocols.runs.cross_dataset import (
    OWN_CT,
    UNSEEN,
    audit_cross_dataset,
    check_pair,
    cross_dataset_intensities,
    cross_dataset_plan,
)
from results.records.files import read_record
from results.records.record_parts import TrainingPart

TRAINED = ["--method", "ssl-alpnet", "--encoder", "resnet18", "--weights", "random", "--steps", "1"]


def other_store(path: Path, modality: str = "mr", classes: dict[str, int] | None = None) -> Store:
    """Write four scans of another dataset: liver stored as 7 on slices 2-3, spleen as 1 on slices 3-4."""
    chosen = {"spleen": 1, "liver": 7} if classes is None else classes
    spec = dataclasses.replace(
        tiny_spec(), name="other", modality=modality, classes=chosen, tested=tuple(chosen),
        fold_borders=(0, 2, 4),
    )  # fmt: skip
    with new_store(path, spec) as writer:
        for number in range(4):
            draw = np.random.Generator(np.random.PCG64(100 + number))
            image = draw.integers(100, 400, (DEPTH, SIZE, SIZE)).astype(np.int16)
            labels = np.zeros((DEPTH, SIZE, SIZE), dtype=np.uint8)
            labels[2:4, 10:30, 10:30] = 7 if 7 in chosen.values() else 0
            labels[3:5, 40:50, 40:50] = 1
            writer.add(
                SourceScan(
                    str(number), image, labels, volume_superpixels(image, 50.0, 60, 1), (1.0, 1.0, 1.0),
                    (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0), f"{number:064x}",
                    "0" * 64,
                )
            )  # fmt: skip
    return Store.open(path)


@pytest.fixture(scope="module")
def work(module_work: Path) -> Path:
    other_store(module_work / "stores" / "other")
    return module_work


def stores(work: Path) -> tuple[Store, Store]:
    return Store.open(work / "stores" / "other"), Store.open(work / "stores" / "tiny")


def plan_of(store: Store, setting: int, *classes: str):  # type: ignore[no-untyped-def]
    rules = load_protocol("alpnet-ep1").evaluation
    return make_plan(store.index, store.spec, store.hash, rules, setting, 1, "g", classes)


def test_training_is_all_of_the_other_dataset_without_the_classes_by_name(work: Path) -> None:
    other, tiny = stores(work)
    first = cross_dataset_plan(plan_of(tiny, 1, "liver", "spleen"), other)
    assert first.training.scans == ("0", "1", "2", "3") and len(first.training.slices) == 32
    assert first.evaluation == plan_of(tiny, 1, "liver", "spleen").evaluation
    # liver is 1 in one dataset and 7 in the other: by name it is on slices 2 and 3
    liver = cross_dataset_plan(plan_of(tiny, 2, "liver"), other)
    assert {ref.z for ref in liver.training.excluded} == {2, 3} and len(liver.training.excluded) == 8
    both = cross_dataset_plan(plan_of(tiny, 2, "liver", "spleen"), other)
    assert {ref.z for ref in both.training.excluded} == {2, 3, 4}
    with pytest.raises(UserError, match="'right-kidney' is not annotated in other, so setting 2 can't drop"):
        cross_dataset_plan(plan_of(tiny, 2, "right-kidney"), other)


def test_intensities_go_with_the_modality(tmp_path: Path) -> None:
    protocol = load_protocol("alpnet-ep1")
    ct = other_store(tmp_path / "ct", "ct")
    mr = tiny_store(tmp_path / "mr")
    ours, theirs, marks = cross_dataset_intensities(protocol, ct, mr)
    assert (ours.rule, theirs.rule, marks) == ("training-scans", "per-scan", ())
    ours, theirs, marks = cross_dataset_intensities(protocol, mr, ct)
    assert (ours.rule, theirs.rule, marks) == ("per-scan", "per-scan", (OWN_CT,))
    ours, theirs, marks = cross_dataset_intensities(protocol, ct, ct)
    assert theirs.mean_std["3"] == ours.mean_std["0"] and marks == ()
    assert theirs.mean_std["0"] == normalisation(ct, "training-scans", ct.index.scans).mean_std["0"]


def test_a_tested_scan_in_the_training_dataset_stops_the_run(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, tiny = stores(work)
    plan = cross_dataset_plan(plan_of(tiny, 2, "liver"), other)
    intensities = normalisation(other, "per-scan", ())
    found = audit_cross_dataset(plan, other, tiny, intensities)
    assert found == (UNSEEN, "setting 2: no training slice shows a tested class")
    hashes = {"0": "a", "1": "b"}
    monkeypatch.setattr(
        Store, "image_hashes", lambda self: hashes if self.spec.name == "other" else {"5": "b"}
    )
    with pytest.raises(AuditError, match="scan 1 of other and 5 of tiny hold the same image"):
        audit_cross_dataset(plan, other, tiny, intensities)


def test_one_model_serves_all_folds_and_the_record_names_both_datasets(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "--work", str(work), "--dataset", "tiny", "--train-dataset", "other", *TRAINED]
    assert main([*command, "--folds", "0,1", "--groups", "upper"]) == 0
    assert "ssl-alpnet on tiny (trained on other), setting 1" in capsys.readouterr().out
    records = [read_record(path) for path in sorted((work / "records").glob("*.json"))]
    assert len(records) == 2 and len({record.model.key for record in records}) == 1
    other, tiny = stores(work)
    for record in records:
        assert (record.dataset.name, record.dataset.hash) == ("tiny", tiny.hash)
        trained = record.train_dataset
        assert trained is not None and (trained.name, trained.hash) == ("other", other.hash)
        assert record.training == TrainingPart(("0", "1", "2", "3"), slices=32, slices_excluded=0)
        assert UNSEEN in record.checks
    before = {path: path.read_bytes() for path in (work / "records").glob("*.json")}
    assert main([*command, "--folds", "0", "--groups", "upper", "--overwrite"]) == 0
    assert before == {path: path.read_bytes() for path in before}


def test_evaluate_asks_such_a_model_again_and_refuses_one_of_a_single_fold(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "work"
    shutil.copytree(work / "stores", again / "stores")
    run = ["run", "--work", str(again), *TRAINED, "--groups", "upper", "--folds", "0"]
    assert main([*run, "--dataset", "tiny", "--train-dataset", "other"]) == 0
    (path,) = (again / "records").glob("*.json")
    before, key = path.read_bytes(), read_record(path).model.key
    ask = ["evaluate", "--work", str(again), "--dataset", "tiny", "--groups", "upper", "--setting", "1"]
    assert main([*ask, key, "--folds", "0", "--overwrite", "--protocol", "alpnet-ep1,open-ep"]) == 0
    assert path.read_bytes() == before
    other, _tiny = stores(work)
    records = [read_record(path) for path in (again / "records").glob("*.json")]
    assert {r.train_dataset.hash for r in records} == {other.hash} and len(records) == 2
    capsys.readouterr()
    assert main([*run, "--dataset", "other"]) == 0
    keys = {path.parent.name for path in (again / "models").glob("*/spec.json")} - {key}
    assert main([*ask, keys.pop(), "--folds", "0"]) == 2
    assert "other training scans" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--train-dataset", "tiny", *TRAINED], "is the tested dataset"),
        (["--train-dataset", "othr", *TRAINED], "did you mean 'other'"),
        (["--train-dataset", "other", "--method", "copy-support"], "nothing to train: leave out --train"),
        (
            [
                "--train-dataset", "other", *TRAINED, "--option", "snapshot_every=1", "--steps", "2",
                "--checkpoint-policy", "validation",
            ],
            "trains on none of them",
        ),
        (["--train-dataset", "other", *TRAINED, "--setting", "2"], "'right-kidney' is not annotated in"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    more: list[str], said: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--work", str(work), "--dataset", "tiny", *more]) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1


def test_slices_of_two_sizes_cannot_be_crossed(work: Path) -> None:
    other, tiny = stores(work)
    other.spec = dataclasses.replace(other.spec, image_size=32)
    with pytest.raises(UserError, match="has slices of 32 pixels a side, tiny of 64"):
        check_pair(other, tiny)
