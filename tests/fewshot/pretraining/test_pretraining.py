"""Stage 1 from the command line: what it writes, its name, and that it goes on where it stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_store

from baselines.ssl_alpnet import SSLALPNet
from episodes.contrastive.batches import ContrastBatches
from fewshot.commands.main import main
from fewshot.encoders.backbone_file import image_hash, read_pretraining
from fewshot.encoders.checkpoints import load_weights
from fewshot.encoders.encoder import build_encoder
from fewshot.files.atomic_io import sha256_of
from fewshot.learners.learner import encoder_for
from fewshot.pretraining.positive_matches import ViewPair
from protocols.training.pretraining import Cosine, summarise_losses

SMALL = ["--encoder", "resnet18", "--device", "cpu", "--checkpoint-every", "2"]
RECIPE = ["epochs=3", "batch=4", "queue=8", "size=64", "hidden=16", "out=8", "learning_rate=0.03"]
STEPS = 9  # three epochs of twelve pictures in batches of four


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "roco" / "radiology" / "images"
    folder.mkdir(parents=True)
    draw = np.random.Generator(np.random.PCG64(0))
    for number in range(12):
        grey = draw.integers(0, 256, (40, 50), dtype=np.uint8)
        Image.fromarray(np.kron(grey, np.ones((2, 2), dtype=np.uint8))).save(folder / f"{number}.png")
    return tmp_path / "roco"


def arguments(work: Path, source: list[str], *more: str) -> list[str]:
    settings = [part for setting in RECIPE for part in ("--option", setting)]
    return ["pretrain", "densecl", "--work", str(work), *source, *SMALL, *settings, *more]


def the_backbone(work: Path) -> Path:
    (path,) = (work / "backbones").glob("*/backbone.pt")
    return path


def test_from_a_folder_to_the_weights_of_any_learner(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = arguments(tmp_path, ["--images", str(pictures)])
    assert main(ask) == 0
    printed = capsys.readouterr().out
    path = the_backbone(tmp_path)
    assert f"roco: 12 images, {path}" in printed and "first tenth" in printed
    about = read_pretraining(path)
    assert about is not None and about.encoder == "resnet18" and about.steps == STEPS
    files = sorted(pictures.rglob("*.png"))
    assert sorted(about.images) == sorted(sha256_of(file)[:16] for file in files)
    encoder = encoder_for(SSLALPNet, "resnet18", 0)
    first = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert load_weights(str(path), encoder, tmp_path).name == "backbone.pt"
    changed = [name for name, value in encoder.state_dict().items() if not torch.equal(value, first[name])]
    assert all(name.startswith("backbone.") for name in changed)
    assert {name for name in first if name.startswith("backbone.") and "conv" in name} <= set(changed)
    written = path.read_bytes(), (path.parent / "losses.csv").read_bytes()
    assert main(ask) == 0
    assert written == (path.read_bytes(), (path.parent / "losses.csv").read_bytes())
    assert main([*ask, "--seed", "1"]) == 0
    assert len(list((tmp_path / "backbones").glob("*/backbone.pt"))) == 2


def test_losses_are_told_from_full_queues_on(pictures: Path, tmp_path: Path) -> None:
    assert main(arguments(tmp_path, ["--images", str(pictures)])) == 0
    lines = (the_backbone(tmp_path).parent / "losses.csv").read_text().splitlines()
    assert lines[0] == "step,global,dense,match,first,fill,total,rate,defined"
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    assert len(rows) == STEPS and [float(row["fill"]) for row in rows[:3]] == [0.5, 1.0, 1.0]
    told = summarise_losses(the_backbone(tmp_path).parent)
    assert told["total"] == (float(rows[1]["total"]), float(rows[-1]["total"]))
    assert told["global"][0] + told["dense"][0] == pytest.approx(told["total"][0])


def test_the_rate_falls_to_nothing_on_a_half_cosine() -> None:
    rates = [Cosine(100, 0.04, 0.9, 1e-4).rate_after(moves) for moves in (0, 25, 50, 100)]
    assert rates == pytest.approx([0.04, 0.02 * (1 + 0.5**0.5), 0.02, 0.0])


def test_stopped_anywhere_and_begun_again_gives_the_same_bytes(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ["--images", str(pictures)]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert main(arguments(whole, source)) == 0
    made = ContrastBatches.batch
    for last in (3, 6):

        def until(self: ContrastBatches, step: int, last: int = last) -> ViewPair:
            if step > last:
                raise KeyboardInterrupt
            return made(self, step)

        monkeypatch.setattr(ContrastBatches, "batch", until)
        assert main(arguments(stopped, source)) == 130
        assert not list((stopped / "backbones").glob("*/backbone.pt"))
    monkeypatch.setattr(ContrastBatches, "batch", made)
    assert main(arguments(stopped, source)) == 0
    folders = [the_backbone(work).parent for work in (whole, stopped)]
    assert folders[0].name == folders[1].name
    for name in ("backbone.pt", "losses.csv", "episodes.jsonl"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


@pytest.mark.slow
def test_one_backbone_for_every_fold_of_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tiny_store(tmp_path / "stores" / "tiny")
    assert main(arguments(tmp_path, ["--dataset", "tiny"], "--folds", "0,1")) == 0
    printed = capsys.readouterr().out
    paths = sorted((tmp_path / "backbones").glob("*/backbone.pt"))
    assert len(paths) == 2 and all(str(path) in printed for path in paths)
    scan_of = {
        image_hash(one): scan for scan in store.index.scans for one in np.array(store.scan(scan).image)
    }
    seen = []
    for path in paths:
        about = read_pretraining(path)
        assert about is not None and about.source == "tiny"
        seen.append({scan_of[one] for one in about.images})
    queries = [line for line in printed.splitlines() if line.startswith("fold")]
    assert len(queries) == 2 and seen[0] != seen[1]
    assert all(some < set(store.index.scans) for some in seen)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--option", "queue=10"], "a queue of 10 keys is no multiple of the batch of 4"),
        (["--option", "batch=16", "--option", "queue=16"], "12 pictures, expected at least a batch of 16"),
        (["--folds", "0"], "--folds is for --dataset"),
        (["--weights", "nowhere.pt"], "weights 'nowhere.pt' is no file"),
        (["--option", "depth=3"], "depth"),
    ],
)
def test_what_can_not_be(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    settings = {part.split("=")[0]: part for part in RECIPE}
    for flag, value in zip(more[::2], more[1::2], strict=True):
        if flag == "--option":
            settings[value.split("=")[0]] = value
    typed = [part for setting in settings.values() for part in ("--option", setting)]
    others = [
        part
        for flag, value in zip(more[::2], more[1::2], strict=True)
        if flag != "--option"
        for part in (flag, value)
    ]
    ask = ["pretrain", "densecl", "--work", str(tmp_path), "--images", str(pictures), *SMALL, *typed, *others]
    assert main(ask) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_a_backbone_of_another_depth_is_refused(pictures: Path, tmp_path: Path) -> None:
    assert main(arguments(tmp_path, ["--images", str(pictures)])) == 0
    with pytest.raises(Exception, match=r"resnet18.*resnet50|resnet50.*resnet18"):
        load_weights(str(the_backbone(tmp_path)), build_encoder("resnet50"), tmp_path)


def command(work: Path, pictures: Path, *launcher: str) -> list[str]:
    return [sys.executable, *launcher, "-m", "fewshot", *arguments(work, ["--images", str(pictures)])]


@pytest.mark.slow
def test_two_processes_train_one_backbone(pictures: Path, tmp_path: Path) -> None:
    """Each process has half of every batch; torchrun's two give the same file whenever they are asked."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for work in ("once", "again"):
        run = [*command(tmp_path / work, pictures)]
        subprocess.run([sys.executable, *launcher, *run], check=True, timeout=300, env=environment)
    files = [the_backbone(tmp_path / work) for work in ("once", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()
    rows = (files[0].parent / "losses.csv").read_text().splitlines()
    assert len(rows) == STEPS + 1 and '"processes": 2' in (files[0].parent / "spec.json").read_text()


@pytest.mark.slow
def test_killed_outright_and_begun_again(pictures: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    assert subprocess.run(command(whole, pictures), timeout=300, **quiet).returncode == 0  # type: ignore[call-overload]
    process = subprocess.Popen(command(killed, pictures), **quiet)  # type: ignore[call-overload]
    deadline = time.monotonic() + 120
    while not list((killed / "backbones").glob("*/last.pt")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not list((killed / "backbones").glob("*/backbone.pt")), "it ended before it was killed"
    assert subprocess.run(command(killed, pictures), timeout=300, **quiet).returncode == 0  # type: ignore[call-overload]
    for name in ("backbone.pt", "losses.csv"):
        found, wanted = (the_backbone(work).parent / name for work in (killed, whole))
        assert found.read_bytes() == wanted.read_bytes(), name
