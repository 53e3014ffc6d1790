"""The released SSL-ALPNet's vectors, made-by-name weights, and the `verify` command around them."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from fewshot.base.errors import UserError
from fewshot.commands.develop import verify
from fewshot.learners.learner import PrototypeLearner
from protocols.conformance.parts import ssl_alpnet
from protocols.conformance.quantity import Quantity
from protocols.conformance.replays import replay
from protocols.conformance.replays.weights import made_by_name


@pytest.fixture(scope="module")
def made() -> PrototypeLearner:
    return ssl_alpnet.build_reference()


def assert_all_ok(quantities: Iterator[Quantity], wanted: int) -> None:
    found = list(quantities)
    assert len(found) == wanted
    assert [verify.line(quantity) for quantity in found if not quantity.ok] == []


@pytest.mark.parametrize("name", ["large", "small", "large_3shot"])
def test_evaluation_vectors(made: PrototypeLearner, golden: Path, name: str) -> None:
    _expected, vectors = replay.read_vectors(golden / "ssl_alpnet")
    assert_all_ok(replay.check_evaluation(made.eval(), name, vectors, "golden"), 3)


def test_training_vectors(golden: Path) -> None:
    expected, vectors = replay.read_vectors(golden / "ssl_alpnet")
    learner = ssl_alpnet.build_reference().train()
    assert_all_ok(replay.check_training(learner, "small", vectors, expected["small"], "golden"), 13)


def test_a_wrong_threshold_is_seen(made: PrototypeLearner, golden: Path) -> None:
    """The vectors can fail: one option off and the logits leave their tolerance."""
    _expected, vectors = replay.read_vectors(golden / "ssl_alpnet")
    options = made.options
    made.options = type(options)(evaluation_window=4)
    try:
        errors = {q.name: q for q in replay.check_evaluation(made.eval(), "medium", vectors, "golden")}
    finally:
        made.options = options
    assert errors["golden/medium/features_eval"].ok and not errors["golden/medium/eval_logits"].ok


def test_made_by_name_weights_are_of_the_stated_size() -> None:
    shapes = {
        "encoder.backbone.conv1.weight": (64, 3, 7, 7),
        "encoder.backbone.layer1.0.bn3.weight": (2000,),
        "encoder.backbone.bn1.weight": (2000,),
        "encoder.backbone.bn1.bias": (2000,),
        "encoder.backbone.bn1.running_mean": (2000,),
        "encoder.backbone.bn1.running_var": (2000,),
        "encoder.backbone.bn1.num_batches_tracked": (),
        "encoder.backbone.fc.weight": (40, 2048),
    }
    state = {name.split("backbone.")[1]: value for name, value in made_by_name(shapes).items()}
    conv, bn3, weight, bias, mean, var = list(state.values())[:6]
    assert conv.std().item() == pytest.approx((2 / 147) ** 0.5, rel=0.05)
    assert bn3.mean().item() == pytest.approx(0.2, rel=0.05) and weight.mean().item() == pytest.approx(
        1, rel=0.05
    )
    assert bn3.std().item() == pytest.approx(0.02, rel=0.1) and weight.std().item() == pytest.approx(
        0.1, rel=0.1
    )
    assert bias.std().item() == pytest.approx(0.1, rel=0.1) and mean.std().item() == pytest.approx(
        0.1, rel=0.1
    )
    assert var.min().item() >= 1 and var.mean().item() == pytest.approx(
        1 + 0.1 * math.sqrt(2 / math.pi), rel=0.01
    )
    assert state["bn1.num_batches_tracked"].item() == 0
    assert all(value.dtype == torch.float32 for name, value in state.items() if "tracked" not in name)
    assert state["fc.weight"].std().item() == pytest.approx((2 / 2048) ** 0.5, rel=0.05)


def test_quantity_fails_on_nan() -> None:
    assert Quantity("a", 1e-5, 1e-4).ok and Quantity("a", 0.0, 0.0).ok
    assert not Quantity("a", math.nan, 1.0).ok and not Quantity("a", 2e-4, 1e-4).ok


def test_errors_by_hand() -> None:
    assert replay.largest_error(torch.tensor([1.0, 4.0]), np.array([1.5, 2.0])) == 2.0
    assert replay.relative_error(torch.tensor([1.0, 4.0]), [1.5, -2.0]) == 3.0
    assert replay.largest_error(torch.zeros(2), np.zeros(3)) == math.inf
    assert math.isnan(replay.largest_error(torch.tensor([0.0, math.nan]), np.zeros(2)))
    assert replay.gradient_tolerance("encoder.backbone.conv1.weight") == 2e-2
    assert replay.gradient_tolerance("encoder.backbone.layer1.0.conv1.weight") == 1e-3


def run(folder: Path, *, as_json: bool = False) -> int:
    return verify.run(argparse.Namespace(folder=folder, format="json" if as_json else "text"))


def _good(folder: Path) -> Iterator[Quantity]:
    yield Quantity(f"{folder.name}/good", 1e-5, 1e-4)


def _bad(folder: Path) -> Iterator[Quantity]:
    yield Quantity(f"{folder.name}/bad", math.nan, 1e-4)


def _nothing(folder: Path) -> Iterator[Quantity]:
    yield from ()


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with toy families: good, bad and empty ones, and one nobody knows."""
    checks = {name: [f"{__name__}:_{name}"] for name in ("good", "bad", "nothing")}
    monkeypatch.setattr(verify, "FAMILIES", checks)
    for name in (*checks, "mystery"):
        (tmp_path / name / "inner").mkdir(parents=True)
    yield tmp_path


def test_verify_prints_lines_and_passes(family: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(family / "good") == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.split() == ["good/good", "1e-05", "0.0001", "ok"] and last == "1 quantities, 0 failed"


def test_verify_fails_and_names_what_is_not_covered(family: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(family) == 1
    out = capsys.readouterr().out
    assert "bad/bad" in out and "FAIL" in out and "mystery: not covered" in out
    assert "nothing: no vector found  FAIL" in out and "2 quantities, 1 failed" in out


def test_verify_of_nothing_fails(family: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(family / "nothing") == 1
    assert run(family / "mystery") == 1
    assert "no known family of vectors" in capsys.readouterr().out
    with pytest.raises(UserError, match="no folder"):
        run(family / "absent")


def test_verify_as_json(family: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(family, as_json=True) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False and report["not_covered"] == ["mystery"]
    assert report["no_vector_found"] == ["nothing"]
    assert report["quantities"][1] == {"name": "bad/bad", "error": None, "tolerance": 1e-4, "ok": False}


def test_damaged_vectors_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected\.json and vectors\.npz"):
        next(ssl_alpnet.check(tmp_path))
    (tmp_path / "expected.json").write_text("{}")
    (tmp_path / "vectors.npz").write_bytes(b"PK\x03\x04 half")
    with pytest.raises(UserError, match="is damaged"):
        next(ssl_alpnet.check(tmp_path))
