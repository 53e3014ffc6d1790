"""Checkpoints saved from a DataParallel wrapper, or inside a dictionary, load everywhere as plain ones do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from places import ROOT
from torch import Tensor, nn

from baselines.gmrd.model import GMRD
from baselines.panet import PANet
from baselines.rpt.model import RPT
from baselines.threshold_encoder import ThresholdEncoder
from baselines.universeg import UniverSeg
from fewshot.base.errors import UserError
from fewshot.encoders.checkpoints import load_released, load_weights
from fewshot.encoders.encoder import build_encoder
from protocols.runs.external_checkpoint import external_model
from protocols.training.method_config import build_method_config

State = Mapping[str, Tensor]


def plain(state: State) -> dict[str, Any]:
    return dict(state)


def wrapped(state: State) -> dict[str, Any]:
    return {f"module.{name}": value for name, value in state.items()}


def inside(state: State) -> dict[str, Any]:
    return {"state_dict": dict(state), "epoch": 3}


def wrapped_inside(state: State) -> dict[str, Any]:
    return {"state_dict": wrapped(state), "epoch": 3}


def under_model(state: State) -> dict[str, Any]:
    return {"model": dict(state), "optimizer": {"lr": 0.1}, "epoch": 3}


def wrapped_under_model(state: State) -> dict[str, Any]:
    return {"model": wrapped(state), "step": 5}


def twice_wrapped(state: State) -> dict[str, Any]:
    return {"model": {"state_dict": wrapped(wrapped(state))}}


FORMS = [plain, wrapped, inside, wrapped_inside, under_model, wrapped_under_model, twice_wrapped]


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def built(seed: int, method: type[RPT] | type[GMRD] = RPT, **options: Any) -> RPT | GMRD:
    torch.manual_seed(seed)
    return method(ThresholdEncoder("resnet18", seed=seed), method.Options(**options))


def assert_equal(module: nn.Module, state: State) -> None:
    loaded = module.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


@pytest.mark.parametrize("form", FORMS)
def test_a_released_learner_loads_in_every_form(form: Callable[[State], Any], tmp_path: Path) -> None:
    state, learner = built(1).state_dict(), built(2)
    load_released(saved(tmp_path / "released.pth", form(state)), learner)
    assert_equal(learner, state)


@pytest.mark.parametrize("form", FORMS)
def test_a_backbone_loads_in_every_form_and_the_threshold_stays(
    form: Callable[[State], Any], tmp_path: Path
) -> None:
    source, encoder = ThresholdEncoder("resnet18", seed=1), ThresholdEncoder("resnet18", seed=2)
    state = {
        name: value for name, value in source.backbone.state_dict().items() if not name.startswith("fc.")
    }
    first = {name: value.clone() for name, value in encoder.state_dict().items()}
    load_weights(str(saved(tmp_path / "backbone.pth", form(state))), encoder, tmp_path)
    for name, value in encoder.state_dict().items():
        inner = name.removeprefix("backbone.")
        assert torch.equal(value, state[inner] if inner in state else first[name]), name


@pytest.mark.parametrize("form", FORMS)
def test_universeg_loads_in_every_form(form: Callable[[State], Any], tmp_path: Path) -> None:
    state = {name: value + 0.5 for name, value in UniverSeg().network.state_dict().items()}
    path = saved(tmp_path / "universeg.pt", form(state))
    assert_equal(UniverSeg(UniverSeg.Options(weights=str(path))).network, state)


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_to_evaluate_loads_in_every_form(form: Callable[[State], Any], tmp_path: Path) -> None:
    method = build_method_config("panet", {}, encoder="resnet18")
    state = PANet(build_encoder("resnet18", 7)).state_dict()
    path = saved(tmp_path / "panet.pth", form(state))
    assert_equal(external_model(method, path, torch.device("cpu")).learner, state)


def test_weights_under_two_names_are_refused(tmp_path: Path) -> None:
    state = built(1).state_dict()
    path = saved(tmp_path / "two.pth", {"model": plain(state), "state_dict": plain(state)})
    with pytest.raises(UserError, match="under state_dict and model, expected one of them"):
        load_released(path, built(2))


def test_files_of_weights_are_read_in_one_place() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for package in ("baselines", "episodes", "fewshot", "protocols", "results")
        for path in (ROOT / package).rglob("*.py")
        if "torch.load(" in path.read_text(encoding="utf-8")
    }
    assert readers == {
        "fewshot/encoders/checkpoints.py",
        "fewshot/contract/training.py",
    }  # the last: a buffer


def test_one_name_without_the_prefix_is_a_fault(tmp_path: Path) -> None:
    state = wrapped(built(1).state_dict())
    state["layer_norm.bias"] = state.pop("module.layer_norm.bias")
    with pytest.raises(UserError, match="does not fit"):
        load_released(saved(tmp_path / "mixed.pth", state), built(2))


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_a_released_learner_must_fit_whole(change: str, tmp_path: Path) -> None:
    state, learner = dict(built(1).state_dict()), built(2)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    if change == "missing":
        del state["encoder.reduce2.weight"]
    elif change == "extra":
        state["decoder1.res1.0.weight"] = torch.ones(1)
    else:
        state["encoder.reduce1d.bias"] = torch.ones(2)
    with pytest.raises(UserError, match="does not fit"):
        load_released(saved(tmp_path / "bad.pth", state), learner)
    assert_equal(learner, before)


def test_a_gmrd_of_one_state_does_not_load_into_the_other(tmp_path: Path) -> None:
    path = saved(tmp_path / "gmrd.pth", wrapped(built(1, GMRD).state_dict()))
    learner = built(2, GMRD)
    load_released(path, learner)
    with pytest.raises(UserError, match=r"mlp1\.reduce\.3\.weight"):
        load_released(path, built(2, GMRD, variant="2023"))
