"""Weights from files: what fits loads, everything else is one line that says what to do."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fewshot.encoders.checkpoints as checkpoints
from baselines.ssl_alpnet import SSLALPNet
from fewshot.base.errors import UserError
from fewshot.encoders.checkpoints import (
    FILES,
    InitialWeights,
    default_weights,
    load_released,
    load_weights,
    read_checkpoint,
)
from fewshot.encoders.encoder import ResNetEncoder, TwoScaleEncoder, build_encoder
from fewshot.files.atomic_io import sha256_of

State = dict[str, Tensor]


@pytest.fixture
def encoder() -> ResNetEncoder:
    return build_encoder("resnet18", seed=1)


@pytest.fixture
def backbone() -> State:
    """Another encoder's backbone under torchvision's names."""
    return dict(build_encoder("resnet18", seed=2).backbone.state_dict())


@pytest.fixture
def released() -> State:
    """A released checkpoint in small: the learner's names, and the two parts that are never used."""
    state = dict(SSLALPNet(build_encoder("resnet18", seed=2)).state_dict())
    unused = {"encoder.asppconv.0.weight": torch.ones(2), "encoder.aspp_out.0.bias": torch.ones(3)}
    return {**state, **unused}


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def known(folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, content: Any) -> Path:
    """Put a file of `content` where torchvision's is looked for, under a name that holds its own sha256."""
    path = saved(folder / "new.pth", content)
    named = path.rename(folder / f"file-{sha256_of(path)[:8]}.pth")
    monkeypatch.setitem(checkpoints.FILES, "resnet18", {kind: named.name})
    return named


def error_of(action: Any, *arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        action(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_random_is_asked_for_and_changes_nothing(encoder: ResNetEncoder, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert load_weights("random", encoder, tmp_path) == InitialWeights("random", None)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_a_file_of_torchvision_names(
    encoder: ResNetEncoder, backbone: State, tmp_path: Path, prefix: str
) -> None:
    localconv = encoder.localconv.weight.clone()
    path = saved(tmp_path / "mine.pth", {prefix + name: value for name, value in backbone.items()})
    assert load_weights(str(path), encoder, tmp_path / "none") == InitialWeights("mine.pth", sha256_of(path))
    assert all(torch.equal(backbone[name], value) for name, value in encoder.backbone.state_dict().items())
    assert torch.equal(encoder.localconv.weight, localconv)


@pytest.mark.parametrize(
    ("kind", "prefix", "heads"),
    [
        ("imagenet", "", ["fc.weight", "fc.bias"]),
        ("coco", "backbone.", ["classifier.0.convs.0.0.weight", "aux_classifier.4.bias"]),
    ],
)
def test_known_files_load_and_their_heads_are_left(
    encoder: ResNetEncoder, backbone: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    kind: str, prefix: str, heads: list[str],
) -> None:  # fmt: skip
    state = {prefix + name: value for name, value in backbone.items()}
    path = known(tmp_path, monkeypatch, kind, {**state, **{name: torch.ones(1) for name in heads}})
    assert load_weights(kind, encoder, tmp_path) == InitialWeights(kind, sha256_of(path))
    assert torch.equal(encoder.backbone.conv1.weight, backbone["conv1.weight"])


def test_older_files_without_batch_counters_load(
    encoder: ResNetEncoder, backbone: State, tmp_path: Path
) -> None:
    state = {name: value for name, value in backbone.items() if not name.endswith("num_batches_tracked")}
    load_weights(str(saved(tmp_path / "old.pth", state)), encoder, tmp_path)
    assert torch.equal(encoder.backbone.conv1.weight, backbone["conv1.weight"])


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kinds in FILES.items() for kind in kinds])
def test_missing_known_file_names_address_prefix_and_folder(name: str, kind: str, tmp_path: Path) -> None:
    text = error_of(load_weights, kind, build_encoder(name), tmp_path)
    file = FILES[name][kind]
    assert f"https://download.pytorch.org/models/{file}" in text
    assert f"sha256 begins with {file[-12:-4]}" in text and str(tmp_path) in text


def test_damaged_known_file(encoder: ResNetEncoder, tmp_path: Path) -> None:
    (tmp_path / FILES["resnet18"]["imagenet"]).write_bytes(b"half a file")
    text = error_of(load_weights, "imagenet", encoder, tmp_path)
    assert "expected f37072fd" in text and "sha256 begins with" in text and "again" in text


def test_there_is_no_coco_for_resnet18(encoder: ResNetEncoder, tmp_path: Path) -> None:
    assert "no coco weights for resnet18; known for it: imagenet" in error_of(
        load_weights, "coco", encoder, tmp_path
    )
    assert [default_weights(name) for name in FILES] == ["imagenet", "coco", "coco"]
    assert "did you mean" in error_of(default_weights, "resnet10")


def test_weights_that_are_no_file(encoder: ResNetEncoder, tmp_path: Path) -> None:
    assert "none of random, imagenet, coco" in error_of(load_weights, "imagnet", encoder, tmp_path)


def test_two_scales_take_the_same_file(backbone: State, tmp_path: Path) -> None:
    encoder = TwoScaleEncoder("resnet18", seed=1)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    path = saved(tmp_path / "mine.pth", {f"backbone.{name}": value for name, value in backbone.items()})
    load_weights(str(path), encoder, tmp_path)
    after = encoder.state_dict()
    assert all(torch.equal(after[f"backbone.{name}"], value) for name, value in backbone.items())
    assert all(torch.equal(after[name], before[name]) for name in after if "reduce" in name or ".fc." in name)


def test_an_encoder_of_a_methods_own(tmp_path: Path) -> None:
    own = nn.Conv2d(1, 4, 3)
    assert load_weights("random", own, tmp_path) == InitialWeights("random", None)
    assert "Conv2d takes no coco weights" in error_of(load_weights, "coco", own, tmp_path)
    own.name, own.backbone = "mine", nn.Identity()  # type: ignore[assignment]
    assert "known for it: random or a file" in error_of(load_weights, "coco", own, tmp_path)


def test_a_backbone_must_fit_whole(encoder: ResNetEncoder, backbone: State, tmp_path: Path) -> None:
    before = encoder.backbone.conv1.weight.clone()
    faults = {
        "1 missing (layer2.0.conv1.weight)": {
            k: v for k, v in backbone.items() if k != "layer2.0.conv1.weight"
        },
        "1 not known (neck.weight)": {**backbone, "neck.weight": torch.ones(1)},
        "1 of another shape (bn1.bias (3,) for (64,))": {**backbone, "bn1.bias": torch.ones(3)},
        "missing (conv1.weight, bn1.weight, bn1.bias and ": {},
    }
    for wanted, state in faults.items():
        path = saved(tmp_path / "bad.pth", {**state, "fc.bias": torch.ones(1)})
        assert wanted in error_of(load_weights, str(path), encoder, tmp_path)
    assert torch.equal(encoder.backbone.conv1.weight, before)


def test_another_encoders_file(encoder: ResNetEncoder, tmp_path: Path) -> None:
    path = saved(tmp_path / "r50.pth", build_encoder("resnet50").backbone.state_dict())
    assert "choose the encoder" in error_of(load_weights, str(path), encoder, tmp_path)


def test_released_checkpoint_loads_and_unused_parts_are_left(released: State, tmp_path: Path) -> None:
    learner = SSLALPNet(build_encoder("resnet18", seed=1))
    load_released(saved(tmp_path / "released.pth", released), learner)
    assert all(torch.equal(released[name], value) for name, value in learner.state_dict().items())


def test_a_checkpoint_of_ours_loads_too(released: State, tmp_path: Path) -> None:
    learner = SSLALPNet(build_encoder("resnet18", seed=1))
    state = {name: value for name, value in released.items() if ".aspp" not in name}
    load_released(saved(tmp_path / "last.pt", {"model": state, "step": 7}), learner)
    assert torch.equal(learner.state_dict()["encoder.localconv.weight"], state["encoder.localconv.weight"])


def test_a_checkpoint_of_a_data_parallel_wrapper_loads_too(released: State, tmp_path: Path) -> None:
    learner = SSLALPNet(build_encoder("resnet18", seed=1))
    wrapped = {f"module.{name}": value for name, value in released.items()}
    load_released(saved(tmp_path / "released.pth", wrapped), learner)
    assert all(torch.equal(released[name], value) for name, value in learner.state_dict().items())
    mixed = {**wrapped, "encoder.localconv.weight": released["encoder.localconv.weight"]}
    assert "not known (module." in error_of(load_released, saved(tmp_path / "mixed.pth", mixed), learner)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"encoder.localconv.weight": None}, "1 missing (encoder.localconv.weight)"),
        ({"encoder.backbone.bn1.num_batches_tracked": None}, "num_batches_tracked)"),
        ({"cls_unit.cal": torch.ones(2, 2)}, "1 not known (cls_unit.cal)"),
        ({"encoder.aspp.weight": torch.ones(2)}, "1 not known (encoder.aspp.weight)"),
        ({"encoder.backbone.bn1.bias": torch.ones(3)}, "encoder.backbone.bn1.bias (3,) for (64,)"),
        (
            {f"extra.{n}": torch.ones(1) for n in range(5)},
            "5 not known (extra.0, extra.1, extra.2 and 2 more)",
        ),
    ],
)
def test_released_checkpoint_must_fit(
    released: State, tmp_path: Path, change: dict[str, Tensor | None], expected: str
) -> None:
    learner = SSLALPNet(build_encoder("resnet18", seed=1))
    before = learner.encoder.localconv.weight.clone()  # type: ignore[union-attr,operator]
    state = {name: value for name, value in {**released, **change}.items() if value is not None}
    assert expected in error_of(load_released, saved(tmp_path / "bad.pth", state), learner)
    assert torch.equal(learner.encoder.localconv.weight, before)  # type: ignore[union-attr,arg-type]


class _Touch:
    """A pickled object that would write a file if it were ever built."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("old_format", [False, True])
def test_pickled_object_is_refused_and_never_runs(tmp_path: Path, old_format: bool) -> None:
    path, trap = tmp_path / "trap.pth", tmp_path / "ran"
    content = {"encoder.localconv.weight": torch.ones(1), "epoch": _Touch(trap)}
    torch.save(content, path, _use_new_zipfile_serialization=not old_format)
    assert "pickled object inside" in error_of(read_checkpoint, path)
    assert not trap.exists()


def test_harmless_looking_object_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "date.pth", {"weight": torch.ones(1), "made": datetime.date(2020, 1, 1)})
    assert "pickled object inside" in error_of(read_checkpoint, path)


def test_whole_module_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "module.pth", torch.nn.Linear(2, 2))
    assert "pickled object inside" in error_of(read_checkpoint, path)


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.pth", {"weight": torch.ones(1000)}).read_bytes()
    contents = {
        "empty": b"",
        "text": b"hello, this is text\n",
        "half": whole[: len(whole) // 2],
        "zip": whole[:-30],
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        text = error_of(read_checkpoint, path)
        kinds = {"empty": "is an empty file", "text": "is a text file"}
        assert kinds.get(name, f"({len(content)} bytes) cannot be read") in text and "again" in text
    assert "no such file" in error_of(read_checkpoint, tmp_path / "absent")
    assert "is a folder" in error_of(read_checkpoint, tmp_path)


def test_checkpoint_of_another_make(tmp_path: Path) -> None:
    learner = SSLALPNet(build_encoder("resnet18"))
    assert "holds a list" in error_of(read_checkpoint, saved(tmp_path / "list.pth", [torch.ones(1)]))
    numbers = saved(tmp_path / "numbers.pth", {"step": 3, "loss": 0.5})
    assert "step, loss hold no tensor" in error_of(load_released, numbers, learner)
