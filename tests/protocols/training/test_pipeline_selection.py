"""DenseMP under `--checkpoint-policy`: candidate steps, and a chooser that every stage held out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from made_backbones import MadeBackbones, backbone_file, slices_of
from pipeline_runs import of_group, run

from episodes.store.store import Store
from fewshot.base.errors import UserError
from protocols.runs.selection import candidates
from protocols.training import stages as pipeline
from protocols.training.method_config import build_method_config
from protocols.training.stages import with_last_recipe

pytestmark = pytest.mark.usefixtures("made")


def test_a_backbone_that_saw_the_scan_held_out_is_refused(
    work: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fold 0 holds out scan 9: its Dice would choose among steps that all began from its slices."""
    file = backbone_file(work / "saw.pth", slices_of(store, ("9",)))
    ask = ["--weights", str(file), "--option", "snapshot_every=1"]
    for method in ("ssl-alpnet", "densemp"):
        assert run(work, *ask, "--checkpoint-policy", "validation", method=method) == 2
        message = capsys.readouterr().err
        assert "saw slice 0 of scan 9, which --checkpoint-policy validation holds out for fold 0" in message
        assert message.count("\n") == 1 and not (work / "models").exists()
    assert run(work, *ask, "--checkpoint-policy", "oracle", "--groups", "upper") == 0


def test_labels_that_only_the_held_out_scan_has_are_missed_before_stage_1(
    work: Path, made: MadeBackbones, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(made, "calls", [])
    whole = pipeline.annotated_pairs

    def of_scan_9(index: Any, facts: Any, plan: Any) -> Any:
        if "9" not in plan.training.scans:
            raise UserError("no annotated episode without scan 9")
        return whole(index, facts, plan)

    monkeypatch.setattr(pipeline, "annotated_pairs", of_scan_9)
    assert run(work, "--checkpoint-policy", "validation", "--option", "snapshot_every=1") == 2
    assert "no annotated episode without scan 9" in capsys.readouterr().err
    assert made.calls == [] and not (work / "models").exists()


def test_the_best_step_on_the_test_fold_is_stage_3s(work: Path) -> None:
    assert (
        run(work, "--checkpoint-policy", "oracle", "--option", "snapshot_every=3", "--groups", "upper") == 0
    )
    model = of_group(work).model
    assert model.checkpoint == "oracle" and model.selected.candidates == (3, 6)


@pytest.mark.slow
def test_a_selection_keeps_snapshots_of_stage_3_and_trains_no_other_stage_2(work: Path) -> None:
    """With the published distance of snapshots stage 3 keeps none; stage 2 must not depend on the remedy."""
    assert run(work, "--groups", "upper", "--option", "decay_every=2") == 0
    last = of_group(work).model
    (work / "records").rename(work / "last")
    assert run(work, "--groups", "upper", "--option", "decay_every=2", "--checkpoint-policy", "oracle") == 0
    oracle = of_group(work).model
    assert oracle.selected.candidates == (2, 4, 6) and oracle.stages[:-1] == last.stages[:-1]
    assert len(list((work / "models").iterdir())) == 3  # of stage 2 one
    whole, chosen = (torch.load(work / "models" / m.key / "last.pt")["model"] for m in (last, oracle))
    assert all(torch.equal(value, chosen[name]) for name, value in whole.items())
    spec = json.loads((work / "models" / last.key / "spec.json").read_text())
    assert spec["recipe"]["snapshot_every"] == 25_000
    method = build_method_config("densemp", {}, encoder="resnet18")
    recipe = with_last_recipe(method, "validation").recipe
    assert recipe is not None and candidates(recipe) == (1000, 2000, 3000, 4000, 5000, 5100)
    assert with_last_recipe(method, "last").recipe == dataclasses.replace(recipe, snapshot_every=25_000)
