"""What `fewshot pretrain` learns from: several stores, folders with bad files, and the table it prints."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from made_backbones import slices_of
from PIL import Image
from tiny import tiny_store

from episodes.contrastive.images import JoinedPictures, open_slices
from episodes.store.slices import normalisation
from episodes.store.store import Store
from fewshot.commands.main import main
from fewshot.encoders.backbone_file import read_pretraining

SETTINGS = ["epochs=1", "batch=4", "queue=8", "size=40", "hidden=8", "out=4"]


def pretrain(work: Path, *source: str, settings: list[str] = SETTINGS) -> int:
    typed = [part for one in settings for part in ("--option", one)]
    begin = ["pretrain", "densecl", "--work", str(work), "--encoder", "resnet18", "--device", "cpu"]
    return main([*begin, *source, *typed])


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Store]:
    """Two prepared datasets: `tiny` of five folds, `other` of three, of the first six scans of the same."""
    first = tiny_store(tmp_path / "stores" / "tiny")
    spec = dataclasses.replace(
        tiny.tiny_spec(), name="other", fold_borders=(0, 2, 4, 6), image_size=56, title="six scans"
    )
    monkeypatch.setattr(tiny, "tiny_spec", lambda: spec)
    return first, tiny_store(tmp_path / "stores" / "other", scans=6)


def test_two_stores_are_one_sequence_of_pictures(stores: tuple[Store, Store]) -> None:
    parts = [open_slices(store, ("2", "3"), normalisation(store, "per-scan", ())) for store in stores]
    joined = JoinedPictures(parts)
    assert len(joined) == 32 and joined.source == "tiny+other" and joined.cuts == (64, 56)
    assert joined.hashes == parts[0].hashes + parts[1].hashes
    for number, part, own in ((0, 0, 0), (15, 0, 15), (16, 1, 0), (31, 1, 15)):
        assert torch.equal(joined.read(number), parts[part].read(own))
    assert joined.read(15).shape == (3, 64, 64) and joined.read(16).shape == (3, 56, 56)


def test_one_backbone_of_a_fold_of_two_stores(
    stores: tuple[Store, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["epochs=1", "batch=44", "queue=88", "size=32", "hidden=8", "out=4"]
    assert pretrain(tmp_path, "--dataset", "tiny", "other", "--folds", "1", settings=settings) == 0
    printed = capsys.readouterr().out
    (path,) = (tmp_path / "backbones").glob("*/backbone.pt")
    about = read_pretraining(path)
    # fold 1 asks scans 2 and 3; the scan after it supports and is no training scan
    wanted = slices_of(stores[0], tuple("0156789")) + slices_of(stores[1], tuple("015"))
    assert about is not None and about.images == wanted and about.source == "tiny+other"
    assert f"fold 1: {len(wanted)} images" in printed
    assert '"normalisation": "per-scan+per-scan"' in (path.parent / "spec.json").read_text()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            ["--dataset", "tiny", "other"],
            "--dataset tiny other: 5, 3 folds; name those that all have with --folds",
        ),
        (["--dataset", "tiny", "tiny"], "--dataset tiny tiny: a dataset is repeated"),
        (["--dataset", "tiny", "tiny/"], "dataset 'tiny/' is not a usable name"),
        (["--dataset", "tiny", "other", "tiny", "--folds", "0"], "a dataset is repeated"),
    ],
)
def test_stores_that_do_not_go_together(
    stores: tuple[Store, Store], source: list[str], words: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert pretrain(tmp_path, *source) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "backbones").exists()


def test_files_of_every_fold_are_what_weights_take(
    stores: tuple[Store, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "made" / "tiny_{fold}.pt")
    assert pretrain(tmp_path, "--dataset", "tiny", "--folds", "0,1", "--out", out) == 0
    kept = {path.read_bytes() for path in (tmp_path / "backbones").glob("*/backbone.pt")}
    files = [tmp_path / "made" / f"tiny_{fold}.pt" for fold in (0, 1)]
    assert {file.read_bytes() for file in files} == kept and len(kept) == 2
    words = [
        "run",
        "--work",
        str(tmp_path),
        "--dataset",
        "tiny",
        "--method",
        "ssl-alpnet",
        "--groups",
        "upper",
    ]
    words += ["--encoder", "resnet18", "--steps", "1", "--folds", "0,1", "--weights", out]
    assert main(words) == 0
    assert "initial weights: tiny_{fold}.pt" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "out", "words"),
    [
        (["--dataset", "tiny"], "one.pt", "expected {fold} in the name"),
        (["--images", "ROCO"], "{fold}.pt", "leave {fold} out"),
    ],
)
def test_out_names_a_file_for_every_backbone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: list[str], out: str, words: str
) -> None:
    assert pretrain(tmp_path, *source, "--out", out) == 2
    assert words in capsys.readouterr().err


def folder_of(path: Path, good: int) -> Path:
    """Return a folder of ROCO's layout: some good pictures, one that is none and one of no radiology."""
    draw = np.random.Generator(np.random.PCG64(0))
    for kind, count in (("radiology", good), ("non-radiology", 1)):
        images = path / "data" / "train" / kind / "images"
        images.mkdir(parents=True)
        for number in range(count):
            Image.fromarray(draw.integers(0, 256, (40, 50), dtype=np.uint8)).save(images / f"{number}.png")
    (path / "data" / "train" / "radiology" / "images" / "bad.jpg").write_text("no picture")
    return path


def test_bad_files_are_counted_and_chance_goes_by_the_map(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="fewshot"):
        assert pretrain(tmp_path / "work", "--images", str(folder_of(tmp_path / "roco", 8))) == 0
    assert "left out 2 of 10 pictures: 1 non-radiology, 1 unreadable" in caplog.messages
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("roco: 8 images, ")
    chance = {line.split()[0]: line.split()[3:] for line in lines[2:]}
    # 40 pixels give a map of 2 x 2 cells; a positive is one of queue + 1
    assert chance.pop("match") == ["0.2500"] and chance.pop("first") == ["0.1111"]
    assert set(chance) == {"global", "dense", "fill", "total"} and not any(chance.values())
    assert lines[1].split() == ["first", "tenth", "last", "tenth", "chance"]


def test_a_folder_of_bad_files_alone_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain(tmp_path / "work", "--images", str(folder_of(tmp_path / "roco", 0))) == 2
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith("fewshot: error: ") and "has no picture to learn from" in error[-1]
    assert "left out 2 of 2 pictures: 1 non-radiology, 1 unreadable" in error[-1]
    assert not any("Traceback" in line for line in error)
    assert not (tmp_path / "work" / "backbones").exists()
