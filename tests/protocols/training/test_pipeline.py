"""DenseMP's stages on a tiny dataset: what is trained, shared, resumed, told, and whose labels are read."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_backbones import MadeBackbones, slices_of
from pipeline_runs import FOLD, labels_logged, new_work, of_group, records, run, stage_of
from seal_again import edit_json
from tiny import tiny_scan, tiny_store

from episodes.plan.plan import make_plan
from episodes.sampling.annotated import MixedEpisodes
from episodes.store import scan
from episodes.store.store import Store
from fewshot.commands.main import main
from fewshot.files.atomic_io import sha256_of
from protocols.own_scan.model_lookup import find_model
from protocols.rules.audits import BACKBONE
from protocols.rules.spec import load_protocol
from protocols.training.method_config import build_method_config
from protocols.training.model_spec import scans_seen, training_differences
from results.records.record_parts import StagePart, WeightsPart

pytestmark = pytest.mark.usefixtures("made")
CLASSES = {"upper": {"liver", "spleen"}, "lower": {"left-kidney", "right-kidney"}}
FILE = "outside.pth"
VALUES = {"liver": 1, "right-kidney": 2, "left-kidney": 3, "spleen": 4}


@pytest.fixture(scope="module")
def done(module_work: Path, made: MadeBackbones) -> Path:
    """A work folder in which all stages were run in setting 1, both groups of the first fold."""
    assert run(module_work) == 0
    assert made.calls == [tuple("3456789")] * 2
    return module_work


def weights(work: Path, key: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(work / "models" / key / "last.pt", weights_only=True)["model"]
    return found


def test_stage_2_is_shared_and_stage_3_is_of_its_group(done: Path) -> None:
    first, second = of_group(done), of_group(done, "lower")
    assert first.model.stages is not None and second.model.stages is not None
    assert first.model.stages[:-1] == second.model.stages[:-1] and first.model.stages != second.model.stages
    assert len({first.model.key, second.model.key, stage_of(first.model, "superpixels").key}) == 3
    assert (
        len(list((done / "models").iterdir())) == 3
        and len(list((done / "weights/densecl").glob("*.pth"))) == 1
    )
    for record in (first, second):
        model = record.model
        assert (model.steps, model.recipe["steps"], model.recipe["learning_rate"]) == (8, 2, 1e-3)
        assert model.initial_weights == WeightsPart("densecl", None)
        assert stage_of(model, "densecl") == StagePart("densecl", "k" * 16, steps=5, source="tiny", images=56)
        assert record.method.labels_used == "training-group"
        assert not set(model.labels.classes) & CLASSES[record.group]
        assert model.labels.support_scans == ("2",) and BACKBONE in record.checks
        spec = json.loads((done / "models" / model.key / "spec.json").read_text())
        assert (spec["recipe"]["steps"], spec["recipe"]["learning_rate"]) == (6, 1e-4)
        assert spec["from"] == stage_of(model, "superpixels").key


def test_a_finished_pipeline_trains_nothing_more(done: Path) -> None:
    before = {
        path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file() and path.suffix != ".lock"
    }
    assert run(done) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_another_scan_supports_where_the_folds_shows_tested_classes_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def with_liver_everywhere(number: int, side: int) -> tuple[np.ndarray, np.ndarray]:
        image, labels = tiny_scan(number, side)
        if number == 2:
            labels[:, :3, :3] = VALUES["liver"]
        return image, labels

    work = tmp_path / "work"
    tiny_store(work / "stores" / "tiny", scan_of=with_liver_everywhere)
    assert run(work, "--setting", "2", "--groups", "upper") == 0
    labels = of_group(work).model.labels
    assert (labels.support_scans, labels.in_place_of) == (("3",), ("2",))
    assert "fold 0 upper: scan 3 for 2" in capsys.readouterr().out


def test_labels_of_the_tested_group_are_never_drawn(done: Path) -> None:
    for group, tested in CLASSES.items():
        logged = labels_logged(done, of_group(done, group).model.key)
        annotated = [label.split(":") for label in logged if label.startswith("annotated:")]
        assert len(logged) == 6 and 0 < len(annotated) < 6
        for _word, name, support, _z, query, _query_z in annotated:
            assert name in set(VALUES) - tested and support == "2" and query in "3456789"
        others = labels_logged(done, stage_of(of_group(done).model, "superpixels").key)
        assert not [label for label in others if label.startswith("annotated:")]


def test_garbage_for_the_tested_labels_gives_the_same_weights(
    done: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arrays are read unchecked, so that the store's hash and the model's key stay."""
    monkeypatch.setattr(scan, "check_array", lambda *_: None)
    for path in (work / "stores" / "tiny" / "labels").iterdir():
        labels = np.load(path)
        for name in CLASSES["upper"]:
            labels[labels == VALUES[name]] = 200 + VALUES[name] * (labels.sum() % 7)
        np.save(path, labels)
    assert run(work, "--groups", "upper") == 0
    key = of_group(done).model.key
    assert (work / "models" / key / "last.pt").read_bytes() == (
        done / "models" / key / "last.pt"
    ).read_bytes()
    other = new_work(work.parent / "lower", Path(work / "stores" / "tiny"))  # the other group reads them
    assert run(other, "--groups", "lower") == 0
    changed, same = (weights(where, of_group(done, "lower").model.key) for where in (other, done))
    assert any(not torch.equal(value, same[name]) for name, value in changed.items())


def test_stage_3_resumes_to_the_same_bytes(done: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = MixedEpisodes.episode

    def killed(self: MixedEpisodes, step: int) -> Any:
        if step == 5:
            raise InterruptedError("killed")
        return whole(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(MixedEpisodes, "episode", killed)
        with pytest.raises(InterruptedError):
            run(work, "--groups", "upper", "--checkpoint-every", "2")
    key = of_group(done).model.key
    stopped = torch.load(work / "models" / key / "last.pt", weights_only=True)
    assert stopped["step"] == 4 and not (work / "records").exists()
    assert run(work, "--groups", "upper", "--checkpoint-every", "2") == 0
    for name in ("last.pt", "losses.csv", "episodes.jsonl"):
        there, here = (where / "models" / key / name for where in (done, work))
        assert there.read_bytes() == here.read_bytes()


def test_a_model_of_stage_3_is_asked_again_and_of_its_group_alone(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in (done / "records").iterdir()}
    key = of_group(done).model.key
    assert main(["evaluate", "--work", str(done), key[:12], "--overwrite"]) == 0
    assert before == {path: path.read_bytes() for path in (done / "records").iterdir()}
    capsys.readouterr()
    lower = ["evaluate", "--work", str(done), key, "--setting", "1", "--groups", "lower"]
    for more in ([], ["--allow-mismatch"]):
        assert main([*lower, *more]) == 2
        assert "labels (training saw those of left-kidney, right-kidney)" in capsys.readouterr().err
    found = find_model(key, done, build_method_config("ssl-alpnet", {}), torch.device("cpu"), 64)
    assert type(found.learner).__name__ == "DenseMP" and found.dataset == "tiny"


@pytest.fixture(scope="module")
def beside(done: Path) -> Path:
    """SSL-ALPNet, and then all stages, from the file of stage 1, in the same work folder."""
    (file,) = (done / "weights" / "densecl").glob("*.pth")
    before = set((done / "models").iterdir())
    assert run(done, "--weights", str(file), method="ssl-alpnet") == 0
    assert set((done / "models").iterdir()) == before
    # the same bytes under another name and path
    shutil.copy(file, done / FILE)
    assert run(done, "--weights", str(done / FILE), method="ssl-alpnet") == 0
    moved = done / "moved" / FILE
    moved.parent.mkdir()
    shutil.move(done / FILE, moved)
    assert run(done, "--weights", str(moved), "--groups", "upper") == 0
    return done


def test_stage_2_is_ssl_alpnet_from_that_file(beside: Path) -> None:
    """The file counts by its bytes: under another name it gives the same cells of SSL-ALPNet."""
    digest = sha256_of(beside / "moved" / FILE)
    from_file = {
        record.method.name: record
        for record in records(beside)
        if record.group == "upper" and record.model.initial_weights.sha256 == digest
    }
    assert len(records(beside)) == 2 + 2 + 1  # all stages, SSL-ALPNet once, all stages from the file
    alone, given, ours = from_file["ssl-alpnet"], from_file["densemp"], of_group(beside)
    assert alone.model.key == stage_of(given.model, "superpixels").key
    assert BACKBONE in alone.checks and alone.model.stages is None
    assert stage_of(given.model, "densecl") == stage_of(ours.model, "densecl")
    assert "densecl_epochs" not in given.method.options


def test_the_table_beside_ssl_alpnet_tells_of_labels(
    beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["table", "--records", str(beside / "records")]) == 0
    *folds, both = capsys.readouterr().out.split("\n\n")
    label = "uses labels of the training group"
    for part in folds:
        assert (label in part) == part.startswith("densemp") != part.startswith("ssl-alpnet")
    rows = [line for line in both.splitlines() if "seed 0" in line and "PARTIAL" not in line]
    assert both.startswith("comparison") and len(rows) == 3
    assert all((f"[{label}]" in row) == row.startswith("densemp") for row in rows)
    assert any(row.startswith("ssl-alpnet") for row in rows)


def test_stage_3_begins_where_stage_2_ended(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from protocols.training import stages as pipeline

    seen: list[dict[str, torch.Tensor]] = []

    def stop(_method: Any, learner: Any, *_: Any) -> Any:
        seen.append({name: value.clone() for name, value in learner.state_dict().items()})
        raise InterruptedError

    monkeypatch.setattr(pipeline, "train_model", stop)
    with pytest.raises(InterruptedError):
        run(done, "--option", "stage3_rate=0.5")
    second = weights(done, stage_of(of_group(done).model, "superpixels").key)
    assert seen[0].keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in seen[0].items())
    third = weights(done, of_group(done).model.key)
    assert any(not torch.equal(value, second[name]) for name, value in third.items())


def test_a_model_whose_backbone_saw_a_query_is_refused_later_too(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = of_group(done).model.key
    file = done / "models" / key / "pretraining.json"
    kept = file.read_text()
    seen = slices_of(Store.open(done / "stores" / "tiny"), ("1",))[-1:]
    edit_json(file, lambda about: about["images"].extend(seen))
    assert main(["evaluate", "--work", str(done), key]) == 2
    file.write_text(kept)
    assert "saw slice 7 of scan 1" in capsys.readouterr().err


def test_a_checkpoint_file_answers_for_the_method(done: Path, work: Path) -> None:
    key = of_group(done).model.key
    torch.save(weights(done, key), work / "file_upper.pth")
    pattern = ["--checkpoint", str(work / "file_{group}.pth"), "--groups", "upper"]
    model = ["--method", "densemp", "--encoder", "resnet18"]
    assert main(["evaluate", "--work", str(work), *FOLD, "--setting", "1", *model, *pattern]) == 0
    assert of_group(work).scores == of_group(done).scores


def test_a_scan_whose_labels_supported_stage_3_is_never_asked(done: Path) -> None:
    """The training scans alone would fit: the support scan is not among them."""
    store = Store.open(done / "stores" / "tiny")
    spec = json.loads((done / "models" / of_group(done).model.key / "spec.json").read_text())
    rules = load_protocol("alpnet-ep1").evaluation
    plan = make_plan(store.index, store.spec, store.hash, rules, 1, 0, "upper", ("liver", "spleen"))
    assert training_differences(spec, plan, store, "per-scan") == []
    asks_support = dataclasses.replace(
        plan, evaluation=dataclasses.replace(plan.evaluation, query_scans=("0", "2"), support_scans=("1",))
    )
    found = training_differences(spec, asks_support, store, "per-scan")
    assert found == ["queries (training saw labels of scan 2)"] and "2" in scans_seen(spec)
