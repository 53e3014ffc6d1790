"""The mark of another recipe: what it names, of new cells and of records of older programs alike."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from made_backbones import backbone_file
from making import record, score
from places import ROOT
from tiny import tiny_store

from baselines.densemp import DenseMP
from baselines.dspnet.model import DSPNet
from baselines.ssl_alpnet import SSLALPNet
from baselines.yardsticks import CopySupport
from fewshot.commands.main import main
from fewshot.encoders.encoder import build_encoder
from fewshot.learners.method_identity import method_version
from fewshot.learners.recipe import Recipe
from fewshot.learners.registry import METHODS, resolve_method, trains
from protocols.cells.recipe_marks import recipe_mark
from results.records.files import read_record, read_records
from results.records.record import Record
from results.records.record_json import part_json
from results.summary.comparability import RECIPE_MARK, has_random_start, reason_not_comparable

RESULTS = ROOT / "results"
NONE: dict[str, Any] = {"name": "random", "sha256": None}


def model_of(recipe: Recipe, **changes: Any) -> dict[str, Any]:
    """Return the `model` part of a training by a recipe; `changes` of the recipe's numbers reach it too."""
    whole = dataclasses.asdict(recipe)
    encoder, weights = whole.pop("encoder"), whole.pop("weights")
    numbers = {name: changes.pop(name) for name in list(changes) if name in whole}
    part = {
        "key": "k" * 16, "encoder": encoder, "seed": 0,
        "initial_weights": {"name": weights, "sha256": "a" * 64},
        "steps": numbers.get("steps", recipe.steps), "checkpoint": "last", "skipped_episodes": 0,
        "recipe": whole | numbers, "precision": "float32",
    }  # fmt: skip
    return part | changes


@pytest.mark.parametrize("name", METHODS)
def test_the_published_recipe_has_no_mark_but_for_a_start_that_no_record_can_prove(name: str) -> None:
    learner = resolve_method(name)
    if not trains(learner):
        assert recipe_mark(learner, {"encoder": None, "steps": 0}, {}) == ()
        return
    found = recipe_mark(learner, model_of(learner.recipe()), dataclasses.asdict(learner.Options()))
    start = "not the published recipe: densecl weights from training scans (published ROCO)"
    assert found == ((start,) if name == "densemp" else ())


def test_one_line_names_all_that_differs_and_what_is_published() -> None:
    model = model_of(SSLALPNet.recipe(), encoder="resnet18", steps=300, initial_weights=NONE)
    assert recipe_mark(SSLALPNet, model, {}) == (
        "not the published recipe: encoder resnet18 (published resnet101), 300 steps (100100), "
        "random weights (coco)",
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "0 steps (published 50000)"),
        ({"batch": 4}, "batch 4 (published 1)"),
        ({"precision": "bf16"}, "trained in bf16 (published float32)"),
        ({"answer_precision": "bf16"}, "evaluated in bf16 (published float32)"),
        ({"learning_rate": 0.005}, "learning_rate 0.005 (published 0.001)"),
        ({"augmentation": "strong"}, "augmentation strong (published published)"),
        ({"encoder": "resnet50"}, "encoder resnet50 (published resnet101)"),
        (
            {"initial_weights": {"name": "imagenet", "sha256": "63fe2227"}},
            "imagenet weights (published coco)",
        ),
        ({"initial_weights": {"name": "my.pth", "sha256": "a" * 64}}, "my.pth weights (published coco)"),
    ],
)
def test_each_difference_alone(changes: dict[str, Any], said: str) -> None:
    assert recipe_mark(DSPNet, model_of(DSPNet.recipe(), **changes), {}) == (RECIPE_MARK + said,)


def test_what_is_no_difference() -> None:
    same_file = {"name": "copy.pth", "sha256": "586e9e4e" + "0" * 56}  # torchvision's, under another name
    for changes in ({"snapshot_every": 7}, {"seed": 3}, {"initial_weights": same_file}, {"compiled": True}):
        assert recipe_mark(SSLALPNet, model_of(SSLALPNet.recipe(), **changes), {}) == ()
    older = model_of(SSLALPNet.recipe())
    del older["recipe"], older["precision"]  # records of the first programs
    assert recipe_mark(SSLALPNet, older, {}) == ()
    assert recipe_mark(SSLALPNet, older | {"steps": 5}, {}) == (RECIPE_MARK + "5 steps (published 100100)",)
    assert recipe_mark(CopySupport, older, {}) == ()


def test_the_stages_of_densemp_are_compared_too() -> None:
    options = json.loads(json.dumps(dataclasses.asdict(DenseMP.Options(stage3_steps=60, densecl_epochs=1))))
    stages = [
        {"name": "densecl", "key": "b" * 16, "source": "chaost2"},
        {"name": "superpixels", "key": "c" * 16},
    ]
    model = model_of(DenseMP.recipe(), steps=300, stages=stages) | {"steps": 360}
    assert recipe_mark(DenseMP, model, options) == (
        "not the published recipe: 300 steps (published 100100), densecl weights from training scans (ROCO), "
        "stage3_steps 60 (5100), densecl_epochs 1 (50)",
    )
    file = model_of(DenseMP.recipe(), initial_weights={"name": "b.pth", "sha256": "a" * 64}, stages=stages)
    assert recipe_mark(DenseMP, file, {"stages": [1, 2, 3]}) == (
        "not the published recipe: b.pth weights (published densecl from ROCO)",
    )
    left_out = model_of(DenseMP.recipe(), initial_weights=NONE, stages=stages[1:])
    (mark,) = recipe_mark(DenseMP, left_out, {"stages": [2, 3], "threshold": 0.5})
    assert mark.endswith("random weights (published densecl from ROCO), stages 2,3 (1,2,3)")


def test_a_start_is_random_only_where_no_stage_pre_trained() -> None:
    def begun(weights: dict[str, Any]) -> Record:
        dataset = {"name": "x", "hash": "b" * 64, "prepared_by": "fewshot"}
        scores = [score("left-kidney", "3", 50)]
        return record(0, "lower", scores, dataset=dataset, model={"initial_weights": weights})

    assert has_random_start(begun(NONE))
    assert not has_random_start(begun({"name": "densecl", "sha256": None}))
    assert reason_not_comparable(begun(NONE)) == "random initial weights"
    assert reason_not_comparable(begun({"name": "coco", "sha256": "a" * 64})) is None


def test_all_that_holds_measured_and_published_numbers_goes_through_the_one_function() -> None:
    """`board_tables`, `boards` and `board_formats` print what `board` decided; `report` prints theirs."""
    folder = RESULTS.parent
    paths = (path for part in ("results", "protocols") for path in (folder / part).rglob("*.py"))
    sources = {path: path.read_text() for path in paths}
    reading = {
        path.stem for path, text in sources.items() if re.search(r"from results\S*\.published import", text)
    }
    deciding = {path.stem for path, text in sources.items() if "reason_of_cells(" in text}
    assert reading == {"board", "board_tables", "boards", "paper_tables"}
    assert deciding == {"comparability", "board", "cards", "paper_tables"}


def test_every_committed_training_differs_from_its_recipe() -> None:
    """The function that marks new cells serves records that were written without the mark."""
    found, compared = set(), set()
    for committed in (*read_records(RESULTS / "data" / "real"), *read_records(RESULTS / "data" / "phantoms")):
        learner, model = resolve_method(committed.method.name), part_json(committed.model)
        marks = recipe_mark(learner, model, committed.method.options)
        random_weights = committed.method.options.get("weights") == "random"
        assert len(marks) == (1 if model["encoder"] or random_weights else 0)
        recorded = tuple(mark for mark in committed.audits if mark.startswith(RECIPE_MARK))
        if committed.method.version == method_version(learner):
            assert recorded == marks
            compared.add(committed.method.name)
        else:  # an older version of the method had another recipe
            assert len(recorded) == len(marks)
        assert (reason_not_comparable(committed) is None) <= (not marks)
        found |= {(committed.method.name, mark) for mark in marks}
    assert {"adnet", "densemp", "dspnet", "qnet", "ssl-alpnet"} <= compared
    start = "not the published recipe: encoder resnet18 (published resnet101), 800 steps ("
    more = "random weights (imagenet), batch 8 (1), learning_rate 0.03 (0.001)"
    assert ("adnet", f"{start}50000), {more}") in found
    (staged,) = {mark for name, mark in found if name == "densemp"}  # one for all folds and groups
    assert staged.startswith(f"{start}100100), densecl weights from training scans (ROCO), ")
    assert "stage3_steps 40 (5100)" in staged


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marks") / "work"
    tiny_store(folder / "stores" / "tiny")
    return folder


AT = ["--dataset", "tiny", "--folds", "0", "--groups", "upper", "--encoder", "resnet18", "--steps", "0"]


def ran(work: Path, *more: str) -> Record:
    """Run an untrained SSL-ALPNet and return its only record."""
    shutil.rmtree(work / "records", ignore_errors=True)
    assert main(["run", "--work", str(work), "--method", "ssl-alpnet", *AT, *more]) == 0
    (path,) = (work / "records").glob("*.json")
    return read_record(path)


def test_a_cell_carries_its_mark_and_evaluate_writes_the_same(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = ran(work, "--weights", "random", "--eval-precision", "bf16")
    mark = (
        "not the published recipe: encoder resnet18 (published resnet101), 0 steps (100100), random weights "
        "(coco), evaluated in bf16 (float32)"
    )
    assert record.audits == (mark,) and f"MARKED: {mark}" in capsys.readouterr().out
    learner = resolve_method("ssl-alpnet")
    assert recipe_mark(learner, part_json(record.model), record.method.options) == (mark,)
    before = ran(work, "--weights", "random")
    assert main(["evaluate", "--work", str(work), before.model.key, "--groups", "upper", "--overwrite"]) == 0
    (path,) = (work / "records").glob("*.json")
    assert read_record(path) == before


def test_weights_of_unknown_training_are_external_and_known_ones_are_not(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(build_encoder("resnet18", 3).backbone.state_dict(), work / "mine.pth")
    record = ran(work, "--weights", str(work / "mine.pth"))
    assert record.method.labels_used == "external"
    assert "uses weights trained elsewhere, with masks or in an unknown way" in capsys.readouterr().out
    assert main(["evaluate", "--work", str(work), record.model.key, "--groups", "upper", "--overwrite"]) == 0
    (path,) = (work / "records").glob("*.json")  # the same cell under the same key
    assert read_record(path) == record
    own = backbone_file(work / "own.pth", ())
    assert ran(work, "--weights", str(own)).method.labels_used == "none"
    assert ran(work, "--weights", "random").method.labels_used == "none"


def test_a_learner_class_may_declare_external_weights(work: Path, tmp_path: Path) -> None:
    (tmp_path / "declared.py").write_text(
        "from baselines.ssl_alpnet import SSLALPNet\n\n\nclass Declared(SSLALPNet):\n"
        '    labels_used = "external"\n'
    )
    record = ran(work, "--weights", "random", "--method", f"{tmp_path / 'declared.py'}:Declared")
    assert record.method.labels_used == "external"


def test_random_weights_of_a_learner_with_published_ones_are_marked() -> None:
    learner, model = resolve_method("universeg"), {"encoder": None}
    mark = "not the published recipe: random weights (published universeg_v1_nf64_ss64_STA.pt)"
    assert recipe_mark(learner, model, {"weights": "random"}) == (mark,)
    assert recipe_mark(learner, model, {"weights": "a.pt"}) == ()
