"""A user's own file offers an ablation, an explanation and a paper's layout; wrong ones are one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from matplotlib.image import imread
from tiny import tiny_store
from torch import Tensor, nn

from baselines.dspnet.model import DSPNet
from fewshot.base.errors import UserError
from fewshot.base.types import Support
from fewshot.commands.main import main
from fewshot.learners.paper_layout import PaperLayout
from fewshot.studies.explanation import DetailPrototypes, Explanation, check_explanation
from fewshot.studies.offers import ablation_rows, check_explainer, paper_layout_of
from results.figures.explanation import KIND_COLOURS, SEED_COLOURS
from results.records.files import read_records

METHOD = '''
from dataclasses import dataclass

import torch

from fewshot import Explanation, PaperLayout, PaperTable, PrototypeLearner, Recipe
from fewshot import masked_average, resize_masks, similarities


class Mine(PrototypeLearner):
    """One prototype a class; `sharp` multiplies the cosine."""

    @dataclass(frozen=True)
    class Options:
        sharp: float = 20.0
        flip: bool = False

    ablations = {"as it is": {}, "flat": {"sharp": "1.0"}, "flipped": {"flip": "true"}}
    paper_layout = PaperLayout(
        paper="Mine (2026)",
        tables=(PaperTable(1, ("tiny",), ("liver", "spleen")),),
        methods={"Ours": "self", "Copying": "copy-support", "Theirs": None},
        baseline="Copying",
    )

    @classmethod
    def recipe(cls):
        return Recipe(steps=0, encoder="resnet18", weights="random")

    def logits(self, support_features, support_masks, query_features):
        foreground = resize_masks(support_masks, support_features.shape[-2:])
        masks = (1 - foreground, foreground)
        prototypes = [masked_average(support_features, mask).mean(dim=0) for mask in masks]
        scores = similarities(torch.stack(prototypes), query_features, scale=self.options.sharp)
        return scores.flip(1) if self.options.flip else scores

    def explain(self, support, query):
        mask = self.segment(support, query)[0] > 0.5
        return Explanation(masks={"as trained here": mask, "turned": ~mask}, trained="as trained here")
'''
CELL = ["--dataset", "tiny", "--folds", "0", "--groups", "upper"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the user's file and a work folder of the tiny dataset."""
    folder = tmp_path_factory.mktemp("mine")
    tiny_store(folder / "work" / "stores" / "tiny")
    (folder / "mine.py").write_text(METHOD)
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("FEWSHOT_WORK", raising=False)
    return folder


def test_its_own_ablation_is_run_row_by_row(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", "mine.py:Mine", *CELL, "--seeds", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ablation of mine.py:Mine on tiny, setting 1")
    assert [line.split("  ")[0] for line in lines[5:8]] == ["as it is", "flat", "flipped"]
    every = [one.method.options for one in read_records(here / "work" / "records")]
    options = {(one["sharp"], one["flip"]) for one in every}
    assert options == {(20.0, False), (1.0, False), (20.0, True)}
    # the sign of a scaled cosine's difference does not follow the scale, a flip turns every pixel
    assert lines[5].split()[3:6] == lines[6].split()[1:4] != lines[7].split()[1:4]


def test_its_own_explanation_is_drawn(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = ["--work", "explained"]
    tiny_store(here / "explained" / "stores" / "tiny")
    assert main(["run", *work, *CELL, "--method", "mine.py:Mine"]) == 0
    (model,) = (here / "explained" / "models").iterdir()
    capsys.readouterr()
    command = ["explain", model.name, *work, "--scan", "0", "--class", "liver", "--out", "picture.png"]
    assert main(command) == 2  # a model does not run a user's file by itself
    assert "add --method FILE.py:Mine" in capsys.readouterr().err
    assert main([*command, "--method", "mine.py:Mine"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.rsplit(maxsplit=1)[0].strip() for line in printed[1:2]] == ["turned"]
    assert printed[0].startswith("as trained here ") and printed[0].endswith("(as trained)")
    assert printed[2] == "picture.png" and imread(here / "picture.png").shape[0] > 700


def test_its_own_paper_is_printed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = ["--work", "paper"]
    tiny_store(here / "paper" / "stores" / "tiny")
    for method in ("mine.py:Mine", "copy-support"):
        assert main(["run", *work, "--dataset", "tiny", "--method", method]) == 0
    capsys.readouterr()
    assert main(["paper", str(here / "mine.py:Mine"), *work, "--format", "md"]) == 0
    text = capsys.readouterr().out
    assert "tiny, setting 1, in the layout of Mine (2026)" in text
    rows = {row.split(" | ")[0]: row.split(" | ")[1:] for row in text.splitlines() if row.startswith("| ")}
    assert rows["| method"][:2] == ["tiny Liver", "tiny Spleen"]
    assert rows["| Theirs"][0] == "not measured"
    ours, copying = (
        float(rows[name][0].strip("*").split()[0].rstrip("(")) for name in ("| Ours", "| Copying")
    )
    assert rows["| Ours"][0].replace("*", "") == f"{ours:.2f} ({ours - copying:+.2f})"
    assert main(["paper", "mine.py:Mine", *work, "--published"]) == 2
    assert "no published number of Mine (2026) is known here" in capsys.readouterr().err


FAULTS = {
    "ablations = {'off': {'sharp': 1.0}}": "row 'off' sets sharp to 1.0, expected text as --option takes it",
    "ablations = {'off': 'sharp'}": "row 'off' is 'sharp', expected option -> text",
    "ablations = [('off', {})]": "ablations of mine.py:Mine are a list, expected label -> options",
    "ablations = {'off': {'sharpe': '1'}}": "did you mean 'sharp'",
    "ablations = {}": "method 'mine.py:Mine' has no ablations; built-in methods that have: densemp, dspnet",
}


@pytest.mark.parametrize("line", FAULTS, ids=FAULTS.values())
def test_a_malformed_ablation_is_one_line(
    line: str, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(METHOD + f"\n    {line}\n")
    assert main(["ablate", "mine.py:Mine", "--work", str(here / "work"), *CELL]) == 2
    message = capsys.readouterr().err
    assert FAULTS[line] in message and message.count("\n") == 1


def test_a_method_without_a_layout_names_those_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paper", "panet"]) == 2
    message = capsys.readouterr().err
    assert "method 'panet' has no paper layout; built-in methods that have: densemp, dspnet" in message
    with pytest.raises(UserError, match=r"baseline 'B', expected one of A"):
        PaperLayout("P", (), {"A": None}, baseline="B")


def test_offers_are_inherited_and_withdrawn(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(
        "from baselines.dspnet import DSPNet\n"
        "class Child(DSPNet):\n    pass\n"
        "class Alone(DSPNet):\n    ablations = {}\n    explain = None\n    paper_layout = None\n"
    )
    child, alone = f"{tmp_path}/child.py:Child", f"{tmp_path}/child.py:Alone"
    assert ablation_rows(child) == ablation_rows("dspnet")
    assert paper_layout_of(child) == paper_layout_of("dspnet")
    check_explainer(DSPNet, child)
    for offer in (ablation_rows, paper_layout_of):
        with pytest.raises(UserError, match="Alone' has no "):
            offer(alone)


def test_logits_that_dspnet_does_not_know_are_not_explained_by_its_sets() -> None:
    class Other(DSPNet):
        def logits(self, *args: Tensor, **more: object) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            raise AssertionError

    other = Other(nn.Conv2d(1, 6, 8, stride=8))
    support = Support(torch.zeros(1, 1, 64, 64), torch.zeros(1, 64, 64, dtype=torch.bool))
    with pytest.raises(UserError, match="Other has logits of its own"):
        other.explain(support, torch.zeros(1, 1, 64, 64))


MASK = torch.zeros(4, 4, dtype=torch.bool)


def details(several: int = 2, **other: Tensor) -> DetailPrototypes:
    shape = (1, several)
    whole = {"seeds": torch.zeros(*shape, 2), "seeded": torch.ones(shape), "places": torch.zeros(*shape, 2),
             "weights": torch.zeros(*shape, 2, 2), "counts": torch.ones(shape)}  # fmt: skip
    return DetailPrototypes(**(whole | other))


WRONG = {
    "trained is 'b', expected one of masks: a": Explanation({"a": MASK}, "b"),
    "masks['a'] is float32 (4, 4), expected bool (4, 4)": Explanation({"a": MASK.float()}, "a"),
    "masks['a'] is bool (2, 4), expected bool (4, 4)": Explanation({"a": MASK[:2]}, "a"),
    "nearest is bool (4, 4), expected int64 (h, w)": Explanation({"a": MASK}, "a", nearest=MASK),
    "nearest holds 0 to 1, expected 0 to 0": Explanation(
        {"a": MASK}, "a", nearest=torch.tensor([[0, 1]]), kinds={"one": 1}
    ),
    "details.weights is float32 (3, 2, 2, 2), expected (1, K, h, w)": Explanation(
        {"a": MASK}, "a", details=details(weights=torch.zeros(3, 2, 2, 2))
    ),
    "details.weights has maps of (2, 2), expected those of nearest, (1, 2)": Explanation(
        {"a": MASK}, "a", nearest=torch.zeros(1, 2, dtype=torch.int64), kinds={"one": 1}, details=details()
    ),
    "details.seeds is float32 (1, 3, 2), expected (1, 2, 2)": Explanation(
        {"a": MASK}, "a", details=details(seeds=torch.zeros(1, 3, 2))
    ),
}


@pytest.mark.parametrize("said", WRONG)
def test_a_malformed_explanation_is_one_line(said: str) -> None:
    with pytest.raises(UserError) as error:
        check_explanation(WRONG[said], "mine", 1, (4, 4))
    assert said in str(error.value) and "\n" not in str(error.value)
    check_explanation(Explanation({"a": MASK}, "a", details=details()), "mine", 1, (4, 4))


def test_more_seeds_and_kinds_than_colours_are_drawn(tmp_path: Path) -> None:
    import numpy as np

    from results.figures.explanation import SliceExplanation, draw_explanation

    seeds, kinds = 2 * len(SEED_COLOURS) + 1, 2 * len(KIND_COLOURS) + 1
    image, mask = np.zeros((8, 8), np.float32), np.ones((8, 8), np.bool_)
    one = SliceExplanation(
        support_image=image, support_mask=mask, grid=(4, 4), seeds=np.ones((seeds, 2), np.int64),
        places=np.ones((seeds, 2), np.float32), weights=np.full((seeds, 4, 4), 1 / 16, np.float32), note="",
        query_image=image, truth=mask, nearest=np.arange(16).reshape(4, 4) % kinds,
        kinds={f"kind {number}": 1 for number in range(kinds)}, masks={"only": mask}, trained="only",
        support_name="s", query_name="q",
    )  # fmt: skip
    draw_explanation("many", one, tmp_path / "many.png")
    assert (tmp_path / "many.png").stat().st_size > 10_000
