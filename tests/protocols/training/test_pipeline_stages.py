"""DenseMP with stages left out or a backbone that saw too much: what runs, what is told, what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from made_backbones import MadeBackbones, backbone_file, slices_of
from pipeline_runs import FOLD, MODEL, labels_logged, of_group, records, run, stage_of
from seal_again import rehash_arrays

from baselines.densemp import DenseMP
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.commands.main import main
from protocols.request import Request
from protocols.rules.audits import BACKBONE
from protocols.rules.spec import load_protocol
from protocols.runs import runner
from protocols.runs.backbone_audit import DROPPED
from protocols.studies.ablations import build_ablation
from protocols.training import stages as pipeline
from protocols.training.method_config import build_method_config
from protocols.training.stages import check_stages, first_method

pytestmark = pytest.mark.usefixtures("made")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def several(module_work: Path, made: MadeBackbones) -> Path:
    return module_work


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, store: Store) -> dict[str, Path]:
    """A backbone that saw nothing, one that saw a query of fold 0, and a file that says nothing."""
    folder = tmp_path_factory.mktemp("files")
    seen = slices_of(store, ("5", "1"))[:9]
    torch.save({}, folder / "plain.pth")
    return {
        "made": backbone_file(folder / "made.pth", ()),
        "seen": backbone_file(folder / "seen.pth", seen),
        "plain": folder / "plain.pth",
    }


STAGES = {
    "1,2": ("none", 2, ["densecl", "superpixels"], "densecl"),
    "1": ("none", 0, ["densecl", "superpixels"], "densecl"),
    "1,3": ("training-group", 6, ["densecl", "superpixels", "annotated"], "densecl"),
    "2,3": ("training-group", 8, ["superpixels", "annotated"], "random"),
    "3": ("training-group", 6, ["superpixels", "annotated"], "random"),
    "2": ("none", 2, ["superpixels"], "random"),
}


@pytest.mark.parametrize("stages", STAGES)
def test_stages_may_be_left_out(stages: str, several: Path) -> None:
    labels, steps, names, start = STAGES[stages]
    begin = ["--weights", "random"] if start == "random" else []
    assert run(several, "--stages", stages, "--groups", "upper", *begin) == 0
    record = of_group(several, stages=stages)
    model, options = record.model, record.method.options
    assert (record.method.labels_used, model.steps, [stage.name for stage in model.stages or ()]) == (
        labels,
        steps,
        names,
    )
    assert model.initial_weights.name == start
    assert ("stage3_steps" in options) == (model.labels is not None) == ("3" in stages)
    assert ("densecl_epochs" in options) == (BACKBONE in record.checks) == ("1" in stages)
    assert (model.key == stage_of(model, "superpixels").key) == ("3" not in stages)


def test_stage_1_is_told_precision_and_checkpoints(
    work: Path, made: MadeBackbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made, "told", [])
    assert run(work, "--stages", "1", "--groups", "upper", "--checkpoint-every", "70") == 0
    assert run(work, "--stages", "1", "--groups", "upper", "--precision", "bf16") == 0
    assert made.told == [("float32", 70), ("bf16", 200)]


@pytest.mark.parametrize("stages", ["1,2,3", "1,2"])
def test_every_stage_has_its_own_count_of_skipped_episodes(
    stages: str, several: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stage 2 claims four; the model's number is the sum. No key depends on it; `fewshot evaluate` has it."""
    whole = pipeline.ensure_model

    def claimed(*given: Any) -> Any:
        model = whole(*given)
        return dataclasses.replace(model, description=model.description | {"skipped_episodes": 4})

    monkeypatch.setattr(pipeline, "ensure_model", claimed)
    assert run(several, "--stages", stages, "--groups", "lower", "--seed", "5") == 0
    lines = capsys.readouterr().out.splitlines()
    skipped = next(line for line in lines if line.startswith("0 ")).split()[-1]
    model = of_group(several, "lower", stages).model
    found = {stage.name: stage.skipped_episodes for stage in model.stages or ()}
    if stages == "1,2":
        assert (model.skipped_episodes, found, skipped) == (4, {"densecl": None, "superpixels": 4}, "4/?")
        return
    counts = {"densecl": None, "superpixels": 4, "annotated": 0}
    assert (model.skipped_episodes, found, skipped) == (4, counts, "4/?")
    before = {path: path.read_bytes() for path in (several / "records").iterdir()}
    assert main(["evaluate", "--work", str(several), model.key, "--overwrite"]) == 0
    assert before == {path: path.read_bytes() for path in before}


def test_a_second_process_begins_at_another_fold(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of a fold share stages 1 and 2, for which a process would wait; records come fold by fold."""
    asked: list[tuple[int, str]] = []

    def answered(_request: Any, _method: Any, shared: Any) -> list[Path]:
        asked.extend((cell.plan.evaluation.fold, cell.plan.evaluation.group) for cell in shared)
        return [Path(f"{cell.plan.evaluation.fold} {cell.plan.evaluation.group}") for cell in shared]

    monkeypatch.setattr(runner, "_run_work_unit", answered)
    store, protocol = Store.open(work / "stores" / "tiny"), load_protocol("alpnet-ep1")
    request = Request(store, protocol, 1, (0, 3), ("lower", "upper"), work, CPU, 2)
    paths = runner.run(request, build_method_config("densemp", {}, encoder="resnet18"))
    assert asked == [(0, "lower"), (3, "lower"), (0, "upper"), (3, "upper")]
    assert [path.name for path in paths] == ["0 lower", "0 upper", "3 lower", "3 upper"]


def test_setting_2_tells_of_dropped_slices_that_stage_1_saw(work: Path) -> None:
    assert run(work, "--setting", "2") == 0
    assert len(records(work)) == 2
    for record in records(work):
        assert DROPPED in record.audits  # seven training scans, of which four slices show the group
        assert record.training.excluded_seen == record.training.slices_excluded == 28
        logged = labels_logged(work, record.model.key)
        support, query = ({int(x.split(":")[n]) for x in logged if x.startswith("ann")} for n in (3, 5))
        shown = range(1, 5) if record.group == "upper" else range(3, 7)
        assert support | query and not (support | query) & set(shown)


def test_a_backbone_that_saw_a_query_is_refused(
    work: Path, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("ssl-alpnet", "densemp"):
        assert run(work, "--weights", str(files["seen"]), method=method) == 2
        assert "saw slice 0 of scan 1, which is a query of fold 0 of tiny" in capsys.readouterr().err
    with pytest.MonkeyPatch.context() as patch:
        MadeBackbones(more=("0",)).put(patch)
        assert run(work) == 2
    assert "saw slice 0 of scan 0" in capsys.readouterr().err and not (work / "models").exists()


def test_an_empty_slice_is_no_sign_of_a_query(work: Path, made: MadeBackbones) -> None:
    for scan in ("1", "3"):  # one asked and one trained on begin with the same padding
        path = work / "stores" / "tiny" / "images" / f"{scan}.npy"
        image = np.load(path)
        image[0] = 0
        np.save(path, image)
    rehash_arrays(work / "stores" / "tiny")
    assert run(work, "--stages", "1") == 0


MISTAKES = [
    (["--weights", "imagenet"], "--weights imagenet: stage 1 makes the weights itself"),
    (
        ["--weights", "densecl", "--stages", "2,3"],
        "--weights densecl: stage 1 makes these weights, but the stages lack it",
    ),
    (["--weights", "no.pth"], "--weights 'no.pth' is no file"),
    (["--weights", "{plain}"], "does not say how it was pre-trained"),
    (
        ["--weights", "{made}", "--stages", "2,3"],
        "a pre-trained backbone (densecl kkkkkkkkkkkkkkkk), and the stage",
    ),
    (["--weights", "{made}", "--encoder", "resnet50"], "backbone of resnet18, expected one of resnet50"),
    (["--stages", "1,3"], "--steps 2: these are stage 2's steps, but the stages lack it"),
    (["--stages", "2,1"], "stages are 2,1; give some of 1,2,3"),
    (["--stages", "0"], "stages are 0; give some of 1,2,3"),
    (["--stages", ""], "stages are none; give some of 1,2,3"),
    (["--stages", "1,x"], "option stages: expected"),
    (["--stages", "1", "--option", "stages=1"], "are the same: give one of them"),
    (["--option", "annotated=0"], "option annotated is 0.0"),
    (["--option", "stage3_steps=0"], "--stages 1,2 leaves stage 3 out"),
    (["--protocol", "qnet-ep1", "--option", "stages=1,2,3"], "tests every class of dataset tiny"),
    (
        ["--checkpoint-policy", "oracle"],
        "below the steps (which trains the earlier stages anew too), or --checkpoint-policy last",
    ),
]


@pytest.mark.parametrize(("more", "said"), MISTAKES, ids=[said[:40] for _more, said in MISTAKES])
def test_a_mistake_is_one_line_and_trains_nothing(
    more: list[str], said: str, several: Path, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = MODEL[:4] if more[0] == "--option" else MODEL
    typed = [one.format(**files) for one in more]
    before = sorted((several / "models").glob("*"))
    assert main(["run", "--work", str(several), *FOLD, "--method", "densemp", *settings, *typed]) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1
    assert sorted((several / "models").glob("*")) == before


def test_stages_are_for_methods_that_have_them(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(work, "--stages", "1,2", method="panet") == 2
    assert "--stages: panet is not trained in stages" in capsys.readouterr().err


def test_a_row_of_the_ablation_takes_the_weights_that_are_meant_for_it() -> None:
    """A file is stage 1's, so a row without it starts as usual; a name is what only that row starts from."""
    rows = list(DenseMP.ablations)
    for typed, wanted in (
        (None, ["densecl", "imagenet", "densecl", "densecl"]),
        ("random", ["densecl", "random", "densecl", "densecl"]),
        ("made.pth", ["made.pth", "imagenet", "made.pth", "made.pth"]),
    ):
        methods = build_ablation(
            "densemp", {}, (0,), encoder="resnet18", weights=typed, steps=7, precision="float32"
        )
        recipes = [methods[label][0].recipe for label in rows]
        assert [recipe.weights for recipe in recipes if recipe] == wanted
        assert [recipe.steps for recipe in recipes if recipe] == [7, 7, 7, 0]


def test_stage_2_is_trained_as_the_method_is_asked_to_be() -> None:
    method = build_method_config("densemp", {}, encoder="resnet18", seed=3, precision="bf16", compiled=True)
    second = first_method(method, "random")
    assert (second.name, second.seed, second.precision, second.compiled) == ("ssl-alpnet", 3, "bf16", True)


def test_what_is_set_is_what_a_flag_says() -> None:
    """`--option encoder=` brings that encoder's weights, `--option weights=` overrides them; never both."""
    for name in ("ssl-alpnet", "densemp"):
        flags = {} if name == "ssl-alpnet" else {"stages": "2,3"}
        found = build_method_config(name, {**flags, "encoder": "resnet18"}).recipe
        assert (
            found == build_method_config(name, flags, encoder="resnet18").recipe
            and found.weights == "imagenet"
        )
        found = build_method_config(name, {**flags, "encoder": "resnet18", "weights": "random"}).recipe
        assert found == build_method_config(name, flags, encoder="resnet18", weights="random").recipe
    with pytest.raises(UserError, match="--weights and --option weights= are the same: give one of them"):
        build_method_config("ssl-alpnet", {"weights": "random"}, weights="random")


@pytest.mark.parametrize(("typed", "settings"), [(7, {}), (None, {"steps": "7"})])
def test_steps_of_a_stage_that_is_left_out_are_refused(typed: int | None, settings: dict[str, str]) -> None:
    with pytest.raises(UserError, match="--steps 7: these are stage 2's steps, but the stages lack it"):
        build_method_config("densemp", {"stages": "1,3", **settings}, encoder="resnet18", steps=typed)
    rows = build_ablation(
        "densemp", settings, (0,), encoder="resnet18", weights=None, steps=typed, precision="bf16"
    )
    assert [row[0].recipe.steps for row in rows.values() if row[0].recipe] == [7, 7, 7, 0]


@pytest.mark.slow
def test_the_ablation_prints_its_four_rows(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["ablate", "densemp", "--work", str(work), *FOLD, "--groups", "upper", "--seeds", "0", *MODEL]
    assert main([*command, "--weights", "random"]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()[5:9]
    names = ["all stages", "without stage 1", "without stage 3", "DenseCL only"]
    assert [line.split("  ")[0] for line in lines] == names
    labelled = [name for name in names if f"{name}: uses labels of the training group" in printed]
    assert labelled == names[:2] and "minus all stages" in printed
    assert "without stage 1: resnet18, random weights, 8 steps" in printed
    # stage 2 from stage 1 is trained once: 3 zero- or two-step trainings, 2 of stage 3
    assert len(list((work / "models").iterdir())) == 5


def test_every_row_of_the_ablation_is_checked_before_the_first_is_trained(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second row starts from torchvision's weights, which are not there."""
    calls = MadeBackbones().put(monkeypatch).calls
    command = ["ablate", "densemp", "--work", str(work), *FOLD, "--groups", "upper", *MODEL]
    assert main(command) == 2
    message = capsys.readouterr().err
    assert "no imagenet weights for resnet18" in message and message.count("\n") == 1
    assert calls == [] and not (work / "models").exists()


def test_stage_3_has_no_support_scan_in_another_dataset(store: Store) -> None:
    method = build_method_config("densemp", {}, encoder="resnet18")
    crossed: Any = SimpleNamespace(train_store=store)
    with pytest.raises(UserError, match="--train-dataset: stage annotated needs the fold's support scan"):
        check_stages(crossed, method)
    check_stages(crossed, build_method_config("densemp", {"stages": "1,2"}, encoder="resnet18"))
