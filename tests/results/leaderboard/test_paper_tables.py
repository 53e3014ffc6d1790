"""Papers' layouts: filled from records or from the published table, differences worked by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from making import record, score
from places import ROOT

from fewshot.base.errors import UserError
from fewshot.commands.main import main
from fewshot.studies.offers import paper_layout_of
from results.leaderboard.paper_tables import NOT_MEASURED, measured_cells, render_paper
from results.records.record import Record
from results.records.record_parts import DatasetPart

GROUPS = {"lower": ["right-kidney", "left-kidney"], "upper": ["liver", "spleen"]}


def answers(method: str, dataset: str, percents: tuple[int, int, int, int], **model: Any) -> list[Record]:
    """Two folds in which liver, spleen, right and left kidney have these percents."""
    liver, spleen, right, left = percents
    named = {"right-kidney": right, "left-kidney": left, "liver": liver, "spleen": spleen}
    return [
        record(
            fold, group, [score(name, str(fold), named[name]) for name in names], method={"name": method},
            dataset={"name": dataset, "hash": "b" * 64}, grid={"folds": 2, "groups": GROUPS}, model=model,
        )
        for fold in (0, 1)
        for group, names in GROUPS.items()
    ]  # fmt: skip


def test_measured_rows_stand_in_the_layout_with_differences_in_brackets() -> None:
    layout = paper_layout_of("densemp")
    records = answers("ssl-alpnet", "sabs", (70, 60, 50, 40)) + answers("densemp", "sabs", (75, 55, 50, 44))
    records += answers("ssl-alpnet", "chaost2", (1, 2, 3, 4))[:3]
    cells, told = measured_cells(layout, records)
    text = render_paper(layout, cells, NOT_MEASURED, told, "md")
    first, second = text.replace("**", "").split("\n\n### ")
    assert first.count(NOT_MEASURED) == 20  # setting 1: nothing; the records are of setting 2
    assert "| SSL-ALPNet | 50.00 | 40.00 | 70.00 | 60.00 | 55.00 |" in second
    bracketed = "| DenseMP | 50.00 (0.00) | 44.00 (+4.00) | 75.00 (+5.00) | 55.00 (-5.00) | 56.00 (+1.00) |"
    assert bracketed in second and "incomplete" in second
    (line,) = (line for line in told if line.startswith("SSL-ALPNet, Abd-CT, setting 2: ssl-alpnet"))
    why = "not comparable with the paper's numbers: random initial weights, dataset prepared by: not known"
    assert line.endswith(why)
    about = {"name": "sabs", "hash": "b" * 64, "prepared_by": "fewshot"}
    coco = {"initial_weights": {"name": "coco", "sha256": None}}
    same = [
        replace(one, dataset=DatasetPart(**about))
        for one in answers("ssl-alpnet", "sabs", (70, 60, 50, 40), **coco)
    ]
    assert not any("not comparable" in line for line in measured_cells(layout, same)[1])


def test_the_longest_training_is_taken_and_two_as_long_are_refused() -> None:
    layout = paper_layout_of("densemp")
    long = answers("ssl-alpnet", "sabs", (70, 60, 50, 40), steps=900)
    short = answers("ssl-alpnet", "sabs", (1, 1, 1, 1), steps=0)
    cells, _told = measured_cells(layout, long + short)
    assert cells["SSL-ALPNet", "sabs", 2]["mean"] == pytest.approx(55.0)
    other = answers("ssl-alpnet", "sabs", (1, 1, 1, 1), steps=900, encoder="resnet50")
    with pytest.raises(UserError, match="ssl-alpnet has several rows of the longest training"):
        measured_cells(layout, long + other)


def test_an_ablation_of_stages_leaves_one_row_to_take() -> None:
    """Stage 1 counts no step: with all stages and without the first a training is as long."""

    def staged(percent: int, stages: list[str], weights: str, steps: int) -> list[Record]:
        return answers(
            "densemp", "sabs", (percent,) * 4, steps=steps,
            stages=[{"name": name, "steps": 5} for name in stages],
            initial_weights={"name": weights, "sha256": None},
        )  # fmt: skip

    every, second = staged(71, ["a", "b", "c"], "densecl", 360), staged(72, ["b", "c"], "imagenet", 360)
    layout, third = paper_layout_of("densemp"), staged(73, ["a", "b"], "densecl", 300)
    cells, told = measured_cells(layout, every + second + third)
    assert cells["DenseMP", "sabs", 2]["mean"] == pytest.approx(71.0)
    assert any("360 steps" in line and ", stages a, b, c [" in line for line in told)
    with pytest.raises(UserError, match=r"longest training: .*, stages b, c; .*, stages b, c; leave"):
        measured_cells(layout, second + staged(74, ["b", "c"], "random", 360))


def test_published_numbers_in_both_layouts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paper", "densemp", "--published", "--format", "md"]) == 0
    out = capsys.readouterr().out
    # means: 72.84 - 73.35 on Abd-CT and 79.83 - 78.84 on Abd-MRI, 68.39 - 63.02 and 76.86 - 73.02
    for text in ("72.84 (-0.51)", "79.83 (+0.99)", "68.39 (+5.37)", "76.86 (+3.84)"):
        assert text in out
    assert main(["paper", "dspnet", "--published"]) == 0
    out = capsys.readouterr().out
    assert out.count("in the layout of DSPNet") == 3 and "77.46" in out and "not printed" not in out


def test_wrong_names_are_answered_and_the_real_records_fill_what_they_can(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["paper", "densmp"]) == 2
    assert "did you mean 'densemp'" in capsys.readouterr().err
    records = ROOT / "results" / "data" / "real"
    assert main(["paper", "dspnet", "--records", str(records)]) == 0
    out = capsys.readouterr().out
    assert (
        "SSL-ALPNet, Abd-MRI, setting 1: ssl-alpnet (recipe short, resnet18, random weights, 800 steps" in out
    )
