"""What a backbone is called and what it tells: the images that it and its beginnings saw, fold by fold."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tiny
import torch
from made_backbones import backbone_file, slices_of
from tiny import tiny_store
from twelve_pictures import STAGE, Twelve

from episodes.contrastive.images import Pictures, open_slices
from episodes.plan.plan import make_plan
from episodes.store.slices import normalisation
from fewshot.commands.main import main
from fewshot.encoders.backbone_file import Pretraining, read_pretraining
from fewshot.training.loop import TrainingResult
from protocols.rules.spec import load_protocol
from protocols.training import pretraining
from protocols.training.pretraining import ensure_pretrained

SETTINGS = ["epochs=1", "batch=28", "queue=56", "size=32", "hidden=8", "out=4"]
ASK = ["--encoder", "resnet18", "--device", "cpu", *(part for one in SETTINGS for part in ("--option", one))]


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write backbones without their training."""
    monkeypatch.setattr(pretraining, "train", lambda *_arguments, **_options: TrainingResult(0, 0))


def made(work: Path, pictures: Pictures, weights: str = "random") -> tuple[str, Pretraining]:
    path = ensure_pretrained(dataclasses.replace(STAGE, weights=weights), pictures, None, work)
    about = read_pretraining(path)
    assert about is not None and about.key == path.parent.name
    return about.key, about


def test_the_name_of_pictures_from_random_weights_stays(untrained: None, tmp_path: Path) -> None:
    key, about = made(tmp_path, Twelve())
    assert key == "e38c28913da45590" and about.images == Twelve.hashes and about.source == "roco"


def test_a_chain_saw_what_each_of_it_saw(untrained: None, tmp_path: Path) -> None:
    first = backbone_file(tmp_path / "first.pth", ("a" * 16, Twelve.hashes[3], "b" * 16))
    key, about = made(tmp_path, Twelve(), str(first))
    rest = tuple(one for one in Twelve.hashes if one != Twelve.hashes[3])
    assert about.images == ("a" * 16, Twelve.hashes[3], "b" * 16, *rest) and about.source == "tiny+roco"
    second = tmp_path / "backbones" / key / "backbone.pt"
    _key, again = made(tmp_path, Twelve(), str(second))
    assert again.images == about.images and again.source == "tiny+roco"
    plain = tmp_path / "plain.pth"
    torch.save(torch.load(first, weights_only=True)["state_dict"], plain)
    assert made(tmp_path, Twelve(), str(plain))[1].images == Twelve.hashes


def test_run_refuses_a_chain_whose_beginning_saw_a_query(
    untrained: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tiny_store(tmp_path / "stores" / "tiny")
    first = backbone_file(tmp_path / "first.pth", slices_of(store, ("1",)))
    key, _about = made(tmp_path, Twelve(), str(first))
    weights = tmp_path / "backbones" / key / "backbone.pt"
    assert asked(tmp_path, weights, 0) == 2
    assert "saw slice 0 of scan 1, which is a query of fold 0 of tiny" in capsys.readouterr().err


def asked(work: Path, weights: Path, fold: int) -> int:
    ask = ["run", "--work", str(work), "--dataset", "tiny", "--folds", str(fold), "--groups", "upper"]
    model = ["--method", "ssl-alpnet", "--encoder", "resnet18", "--steps", "0", "--weights", str(weights)]
    return main([*ask, *model, "--device", "cpu"])


@pytest.mark.slow
def test_a_folds_backbone_saw_its_training_scans_and_serves_no_other_fold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tiny_store(tmp_path / "stores" / "tiny")
    protocol = load_protocol("alpnet-ep1")
    assert main(["pretrain", "densecl", "--work", str(tmp_path), "--dataset", "tiny", *ASK]) == 0
    printed = capsys.readouterr().out.splitlines()
    paths = [Path(line.rpartition(" ")[2]) for line in printed if line.startswith("fold ")]
    assert len(set(paths)) == 5
    for fold, path in enumerate(paths):
        about = read_pretraining(path)
        plan = make_plan(
            store.index, store.spec, store.hash, protocol.evaluation, 1, fold, "upper", ("liver", "spleen")
        )
        assert about is not None and about.images == slices_of(store, plan.training.scans)
        assert not set(about.images) & set(slices_of(store, plan.evaluation.query_scans))
    assert asked(tmp_path, paths[0], 1) == 2
    assert "saw slice 0 of scan 3, which is a query of fold 1 of tiny" in capsys.readouterr().err
    assert asked(tmp_path, paths[0], 0) == 0


def test_the_side_that_slices_are_cut_to_is_in_the_name(
    untrained: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny.tiny_spec()
    keys, sides = {}, {"whole": 64, "cut": 56, "smaller": 48}
    for name, side in sides.items():
        monkeypatch.setattr(tiny, "tiny_spec", lambda side=side: dataclasses.replace(spec, image_size=side))
        store = tiny_store(tmp_path / name, extra=0)
        pictures = open_slices(store, ("3", "4"), normalisation(store, "per-scan", ()))
        keys[name] = made(tmp_path, pictures)[0]
    assert len(set(keys.values())) == 3
