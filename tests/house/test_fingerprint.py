"""The numbers of every part and method equal the committed ones; a difference names the part."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from fingerprint import RECORDED, differences, fingerprint, rounded
from fingerprint_methods import METHOD_NUMBERS, dspnet_modules
from fingerprint_parts import PARTS

from baselines.dspnet import fspa
from fewshot.learners.registry import METHODS


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return content


def test_no_part_and_no_method_moved(committed: dict[str, Any], tmp_path: Path) -> None:
    assert differences(committed, rounded(fingerprint(tmp_path))) == []


def test_every_part_and_every_registered_method_has_numbers(committed: dict[str, Any]) -> None:
    assert set(committed["parts"]) == set(PARTS)
    assert set(committed["methods"]) == set(METHOD_NUMBERS) == set(METHODS)


# a constant of the shared code, another value for it, and the part that must move
CHANGES = [
    ("fewshot.learners.prototypes", "AREA_FLOOR", 2e-5, "prototypes"),
    ("fewshot.learners.prototypes", "NORM_FLOOR", 2e-4, "prototypes"),
    ("episodes.sampling.augment", "BLUR_SIGMA", 5.1, "sampling"),
    ("episodes.sampling.augment", "BLUR_KERNEL", 19, "sampling"),
    ("episodes.sampling.augment", "GAMMA_EPSILON", 1e-2, "sampling"),
    ("episodes.contrastive.view_transforms", "MEAN", (0.485, 0.456, 0.407), "pretraining"),
    ("episodes.contrastive.view_transforms", "GREYED", 0.4, "pretraining"),
]


@pytest.mark.parametrize(("module", "name", "value", "part"), CHANGES)
def test_another_constant_moves_its_part(
    module: str, name: str, value: Any, part: str,
    committed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(importlib.import_module(module), name, value)
    current = {"parts": {part: rounded(PARTS[part](tmp_path))}, "methods": {}}
    (line,) = differences({"parts": {part: committed["parts"][part]}, "methods": {}}, current)
    assert line.startswith(f"part `{part}` moved: ") and line.endswith(": raise its version")


FSPA = {"ITERATIONS": 9, "COMPACTNESS": 10.1, "AREA_PER_SEED": 120, "NORMS_FLOOR": 2e-5}


@pytest.mark.parametrize("name", FSPA)
def test_another_constant_of_dspnet_moves_its_modules(
    name: str, committed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fspa, name, FSPA[name])
    before = {"parts": {}, "methods": {"dspnet": committed["methods"]["dspnet"]["modules"]}}
    (line,) = differences(before, {"parts": {}, "methods": {"dspnet": rounded(dspnet_modules())}})
    assert line.startswith("method `dspnet` moved: ") and line.endswith(": raise its version")


def with_numbers(numbers: dict[str, Any]) -> dict[str, Any]:
    return {"parts": {"sampling": numbers}, "methods": {"panet": {"n": 1}}}


TENSOR = {"shape": "2x2", "sum": 0.001, "absolute": 100.0, "weighted": 3.0}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"a": {"sum": 1.0}}, {"a": {"sum": 1.0002}}, "a sum 1 -> 1.0002"),
        ({"a": {"sum": 1.0}}, {"a": {"sum": 1.00009}}, None),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.1]}, "a 1 2 -> 2.1"),
        ({"a": [1.0, 2.0]}, {"a": [1.0]}, "a [1.0, 2.0] -> [1.0]"),
        ({"a": TENSOR}, {"a": TENSOR | {"sum": 0.009}}, None),  # within 1e-4 of the absolute values
        ({"a": TENSOR}, {"a": TENSOR | {"sum": 0.021}}, "a sum 0.001 -> 0.021"),
        ({"a": TENSOR}, {"a": TENSOR | {"shape": "4"}}, "a shape 2x2 -> 4"),
        ({"change of weights": 1.0}, {"change of weights": 1.009}, None),
        ({"change of weights": 1.0}, {"change of weights": 1.02}, "change of weights 1 -> 1.02"),
        ({"pixels": 50}, {"pixels": 52}, None),
        ({"pixels": 50}, {"pixels": 53}, "pixels 50 -> 53"),
        ({"segments": 50}, {"segments": 51}, "segments 50 -> 51"),
        ({"label": "1:2:3"}, {"label": "1:2:4"}, "label 1:2:3 -> 1:2:4"),
        ({"a": 0.0}, {"a": float("nan")}, "a 0 -> nan"),
        ({"a": 1.0}, {"a": ""}, "a 1.0 -> "),
        ({"a": 1, "b": 2}, {"a": 1}, "b is gone"),
        ({"a": 1}, {"a": 1, "b": 2}, "b is new"),
    ],
)
def test_a_difference_beyond_the_tolerance_names_part_and_number(
    before: dict[str, Any], after: dict[str, Any], told: str | None
) -> None:
    expected = [] if told is None else [f"part `sampling` moved: {told}: raise its version"]
    assert differences(with_numbers(before), with_numbers(after)) == expected


def test_methods_are_named_and_long_lists_are_cut() -> None:
    before, after = (with_numbers({str(n): n + more for n in range(5)}) for more in (0, 10))
    after["methods"] = {"panet": {"n": 2}, "extra": {"n": 3}}
    assert differences(before, after) == [
        "method `extra` moved: n is new: raise its version",
        "method `panet` moved: n 1 -> 2: raise its version",
        "part `sampling` moved: 0 0 -> 10; 1 1 -> 11; 2 2 -> 12 and 2 more: raise its version",
    ]
