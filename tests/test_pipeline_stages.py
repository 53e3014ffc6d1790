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
from pipeline_runs import FOLD, MODEL, labels_logged, of_group, records, run

from episodes.store import Store
from fewshot.commands.main import main
from fewshot.errors import UserError
from protocols import pipeline, runner
from protocols.ablations import ABLATIONS, ablated
from protocols.audits import BACKBONE
from protocols.backbones import DROPPED
from protocols.cells import Request
from protocols.methods import settle
from protocols.pipeline import check_pipeline, stage_2
from protocols.spec import load_protocol

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
    "1,2": ("none", 2, {"1", "2"}, "densecl"),
    "1": ("none", 0, {"1", "2"}, "densecl"),
    "1,3": ("training-group", 6, {"1", "2", "3"}, "densecl"),
    "2,3": ("training-group", 8, {"2", "3"}, "random"),
    "3": ("training-group", 6, {"2", "3"}, "random"),
    "2": ("none", 2, {"2"}, "random"),
}


@pytest.mark.parametrize("stages", STAGES)
def test_stages_may_be_left_out(stages: str, several: Path) -> None:
    labels, steps, told, start = STAGES[stages]
    begin = ["--weights", "random"] if start == "random" else []
    assert run(several, "--stages", stages, "--groups", "upper", *begin) == 0
    record = of_group(several, stages=stages)
    model, options = record["model"], record["method"]["options"]
    assert (record["method"]["labels_used"], model["steps"], set(model["stages"])) == (labels, steps, told)
    assert model["initial_weights"]["name"] == start
    assert ("stage3_steps" in options) == ("labels" in model) == ("3" in stages)
    assert ("densecl_epochs" in options) == (BACKBONE in record["checks"]) == ("1" in stages)
    assert (model["key"] == model["stages"]["2"]["key"]) == ("3" not in stages)


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
    """Stage 2 claims four. No key depends on it, and records of `fewshot evaluate` tell it all the same."""
    whole = pipeline.ensure_model

    def claimed(*given: Any) -> Any:
        model = whole(*given)
        return dataclasses.replace(model, description=model.description | {"skipped_episodes": 4})

    monkeypatch.setattr(pipeline, "ensure_model", claimed)
    assert run(several, "--stages", stages, "--groups", "lower", "--seed", "5") == 0
    lines = capsys.readouterr().out.splitlines()
    skipped = next(line for line in lines if line.startswith("0 ")).split()[-1]
    model = of_group(several, "lower", stages)["model"]
    found = {name: one.get("skipped_episodes") for name, one in model["stages"].items()}
    if stages == "1,2":
        assert (model["skipped_episodes"], found, skipped) == (4, {"1": None, "2": 4}, "4/?")
        return
    assert (model["skipped_episodes"], found, skipped) == (0, {"1": None, "2": 4, "3": 0}, "4/?")
    before = {path: path.read_bytes() for path in (several / "records").iterdir()}
    assert main(["evaluate", "--work", str(several), model["key"], "--redo"]) == 0
    assert before == {path: path.read_bytes() for path in before}


def test_a_second_process_begins_at_another_fold(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of a fold share stages 1 and 2, for which a process would wait; records come fold by fold."""
    asked: list[tuple[int, str]] = []

    def answered(_request: Any, _method: Any, shared: Any) -> list[Path]:
        asked.extend((cell.plan.fold, cell.plan.group) for cell in shared)
        return [Path(f"{cell.plan.fold} {cell.plan.group}") for cell in shared]

    monkeypatch.setattr(runner, "_answered", answered)
    store, protocol = Store.open(work / "stores" / "tiny"), load_protocol("alpnet-ep1")
    request = Request(store, protocol, 1, (0, 3), ("lower", "upper"), work, CPU, 2)
    paths = runner.run(request, settle("densemp", {}, encoder="resnet18"))
    assert asked == [(0, "lower"), (3, "lower"), (0, "upper"), (3, "upper")]
    assert [path.name for path in paths] == ["0 lower", "0 upper", "3 lower", "3 upper"]


def test_setting_2_tells_of_dropped_slices_that_stage_1_saw(work: Path) -> None:
    assert run(work, "--setting", "2") == 0
    assert len(records(work)) == 2
    for record in records(work):
        assert DROPPED in record["audits"]  # seven training scans, of which four slices show the group
        assert record["training"]["excluded_seen"] == record["training"]["slices_excluded"] == 28
        logged = labels_logged(work, record["model"]["key"])
        support, query = ({int(x.split(":")[n]) for x in logged if x.startswith("ann")} for n in (3, 5))
        shown = range(1, 5) if record["group"] == "upper" else range(3, 7)
        assert support | query and not (support | query) & set(shown)


def test_a_backbone_that_saw_a_query_is_refused(
    work: Path, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("ssl-alpnet", "densemp"):
        assert run(work, "--weights", str(files["seen"]), method=method) == 2
        assert "saw slice 0 of scan 1, which fold 0 of tiny asks" in capsys.readouterr().err
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
    assert run(work, "--stages", "1") == 0


MISTAKES = [
    (["--weights", "imagenet"], "--weights imagenet: stage 1 makes the weights itself"),
    (
        ["--weights", "densecl", "--stages", "2,3"],
        "--weights densecl: stage 1 makes them, and it is left out",
    ),
    (["--weights", "no.pth"], "--weights 'no.pth' is no file"),
    (["--weights", "{plain}"], "does not say how it was pre-trained"),
    (["--weights", "{made}", "--stages", "2,3"], "is stage 1's (densecl kkkkkkkkkkkkkkkk); name 1 among"),
    (["--weights", "{made}", "--encoder", "resnet50"], "backbone of resnet18, wanted one of resnet50"),
    (["--stages", "1,3"], "--steps 2: they are stage 2's, which is left out"),
    (["--stages", "2,1"], "stages are 2,1; give some of 1,2,3"),
    (["--stages", "0"], "stages are 0; give some of 1,2,3"),
    (["--stages", ""], "stages are none; give some of 1,2,3"),
    (["--stages", "1,x"], "stages='1,x'"),
    (["--stages", "1", "--set", "stages=1"], "are the same: give one of them"),
    (["--set", "annotated=0"], "option annotated is 0.0"),
    (["--set", "stage3_steps=0"], "--stages 1,2 leaves stage 3 out"),
    (["--protocol", "qnet-ep1", "--set", "stages=1,2,3"], "tests every class of dataset tiny"),
    (["--select", "oracle"], "below the steps (which trains stage 2 anew too), or --select last"),
]


@pytest.mark.parametrize(("more", "said"), MISTAKES, ids=[said[:40] for _more, said in MISTAKES])
def test_a_mistake_is_one_line_and_trains_nothing(
    more: list[str], said: str, several: Path, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = MODEL[:4] if more[0] == "--set" else MODEL
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
    rows = [label for label, _options in ABLATIONS["densemp"]]
    for typed, wanted in (
        (None, ["densecl", "imagenet", "densecl", "densecl"]),
        ("random", ["densecl", "random", "densecl", "densecl"]),
        ("made.pth", ["made.pth", "imagenet", "made.pth", "made.pth"]),
    ):
        methods = ablated(
            "densemp", {}, (0,), encoder="resnet18", weights=typed, steps=7, precision="float32"
        )
        recipes = [methods[label][0].recipe for label in rows]
        assert [recipe.weights for recipe in recipes if recipe] == wanted
        assert [recipe.steps for recipe in recipes if recipe] == [7, 7, 7, 0]


def test_stage_2_is_trained_as_the_method_is_asked_to_be() -> None:
    method = settle("densemp", {}, encoder="resnet18", seed=3, precision="bf16", compiled=True)
    second = stage_2(method, "random")
    assert (second.name, second.seed, second.precision, second.compiled) == ("ssl-alpnet", 3, "bf16", True)


def test_what_is_set_is_what_a_flag_says() -> None:
    """`--set encoder=` brings that encoder's weights, `--set weights=` overrides them; never both ways."""
    for name in ("ssl-alpnet", "densemp"):
        flags = {} if name == "ssl-alpnet" else {"stages": "2,3"}
        found = settle(name, {**flags, "encoder": "resnet18"}).recipe
        assert found == settle(name, flags, encoder="resnet18").recipe and found.weights == "imagenet"
        found = settle(name, {**flags, "encoder": "resnet18", "weights": "random"}).recipe
        assert found == settle(name, flags, encoder="resnet18", weights="random").recipe
    with pytest.raises(UserError, match="--weights and --set weights= are the same: give one of them"):
        settle("ssl-alpnet", {"weights": "random"}, weights="random")


@pytest.mark.parametrize(("typed", "settings"), [(7, {}), (None, {"steps": "7"})])
def test_steps_of_a_stage_that_is_left_out_are_refused(typed: int | None, settings: dict[str, str]) -> None:
    with pytest.raises(UserError, match="--steps 7: they are stage 2's, which is left out"):
        settle("densemp", {"stages": "1,3", **settings}, encoder="resnet18", steps=typed)
    rows = ablated("densemp", settings, (0,), encoder="resnet18", weights=None, steps=typed, precision="bf16")
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
    method = settle("densemp", {}, encoder="resnet18")
    crossed: Any = SimpleNamespace(train_store=store)
    with pytest.raises(UserError, match="--train-dataset: stage 3 needs the fold's support scan"):
        check_pipeline(crossed, method)
    check_pipeline(crossed, settle("densemp", {"stages": "1,2"}, encoder="resnet18"))
