"""Backbone files: what is written comes back, other files are told apart, another depth is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from made_backbones import backbone_file

from fewshot.base.errors import UserError
from fewshot.encoders.backbone_file import Pretraining, image_hash, read_pretraining, write_backbone
from fewshot.encoders.checkpoints import load_weights
from fewshot.encoders.encoder import build_encoder

ABOUT = Pretraining("densecl", "k" * 16, "resnet18", "tiny", ("0" * 16, "1" * 16), 5)


def test_what_is_written_comes_back_and_loads_into_an_encoder(tmp_path: Path) -> None:
    path = backbone_file(tmp_path / "deep" / "b.pth", ("0" * 16, "1" * 16))
    assert read_pretraining(path) == ABOUT
    encoder = build_encoder("resnet18", 1)
    head = {name: value.clone() for name, value in encoder.state_dict().items() if "backbone" not in name}
    found = load_weights(str(path), encoder, tmp_path)
    assert (found.name, found.sha256) == ("b.pth", hashlib.sha256(path.read_bytes()).hexdigest())
    made = build_encoder("resnet18", 7).backbone.state_dict()
    assert all(torch.equal(value, made[name]) for name, value in encoder.backbone.state_dict().items())
    assert all(torch.equal(encoder.state_dict()[name], value) for name, value in head.items())


def test_equal_weights_give_equal_bytes_and_a_view_is_written_alone(tmp_path: Path) -> None:
    large = torch.arange(100_000.0)
    for name in ("one", "other"):
        write_backbone(tmp_path / name, {"w": large[:3], "t": large[:4].reshape(2, 2).T}, ABOUT)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert (tmp_path / "one").stat().st_size < 10_000


def test_a_bare_state_dict_inside_a_dictionary_is_accepted(tmp_path: Path) -> None:
    state = build_encoder("resnet18", 7).backbone.state_dict()
    torch.save({"state_dict": state}, tmp_path / "b.pth")
    assert read_pretraining(tmp_path / "b.pth") is None
    encoder = build_encoder("resnet18", 1)
    load_weights(str(tmp_path / "b.pth"), encoder, tmp_path)
    assert torch.equal(encoder.backbone.state_dict()["conv1.weight"], state["conv1.weight"])


def test_a_backbone_of_another_depth_is_named(tmp_path: Path) -> None:
    path = backbone_file(tmp_path / "b.pth", ())
    with pytest.raises(UserError, match="backbone of resnet18, expected one of resnet50; use --encoder"):
        load_weights(str(path), build_encoder("resnet50", 0), tmp_path)


@pytest.mark.parametrize(
    "entry", [None, {"kind": "densecl"}, {**vars(ABOUT), "images": "all"}, {**vars(ABOUT), "steps": "5"}]
)
def test_a_damaged_entry_is_refused(entry: object, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "pretraining": entry}, tmp_path / "b.pth")
    with pytest.raises(UserError, match="entry `pretraining` is damaged"):
        read_pretraining(tmp_path / "b.pth")


def test_the_hash_of_an_image_is_of_dtype_shape_and_bytes() -> None:
    image = np.arange(6, dtype=np.int16).reshape(2, 3)
    wanted = hashlib.sha256(b"<i2(2, 3)" + image.tobytes()).hexdigest()[:16]
    assert image_hash(image) == wanted == image_hash(np.asfortranarray(image))
    others = [image.reshape(3, 2), image.view(np.uint16), image + np.int16(1), image.astype(np.int32)]
    assert len({wanted, *map(image_hash, others)}) == 5
