"""What training costs: a step against the bare encoder, a random view, and the wait for the first step."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Row, Sizes, best, row
from skimage.segmentation import felzenszwalb
from torch import Tensor, nn

from baselines.adnet import ADNet
from baselines.dspnet.model import DSPNet
from baselines.gmrd.model import GMRD
from baselines.qnet import QNet
from baselines.rpt.model import RPT
from baselines.ssl_alpnet import SSLALPNet
from episodes.pseudo_labels.superpixels import volume_superpixels
from episodes.sampling.augment import augment, preset
from episodes.sampling.superpixel import SuperpixelEpisodes
from episodes.store.slices import SliceReader, normalisation
from episodes.store.store import Store
from fewshot.base.types import Episode
from fewshot.encoders.encoder import build_encoder
from fewshot.learners.learner import PrototypeLearner, encoder_for
from fewshot.learners.logits import as_given, as_tuple
from fewshot.learners.recipe import Recipe
from fewshot.training.optimizer_step import Stepper

VIEWS = 8
EPISODES = 100  # tried until one has a loss
CPU = torch.device("cpu")


def stepper(
    learner: PrototypeLearner, store: Store, device: torch.device = CPU, precision: str = "float32",
    rate: float = 0.0, whole: bool = False,
) -> tuple[Callable[[], None], Episode]:  # fmt: skip
    """Return a call that takes a whole training step on one superpixel episode, and that episode.

    The episode is the first whose loss is defined: others are skipped by training, so they cost no backward
    pass. At a rate of 0 the weights stay, and with them the loss. `whole`: the loss is compiled.
    """
    learner.to(device)
    nn.Module.to(learner, memory_format=torch.channels_last)
    learner.train()
    scans = store.index.scans
    reader = SliceReader(store, normalisation(store, "per-scan", scans))
    source = SuperpixelEpisodes(reader, store.index, scans, None, seed=0, prepare=learner.prepare)
    with torch.no_grad():
        episode = next(
            found
            for found in map(source.episode, range(EPISODES))
            if bool(learner.loss(found.to(device)).defined)
        )
    moved = Stepper(learner, Recipe(), device, precision, device.type == "cuda", whole)
    moved.prepare_optimizer()

    def step() -> None:
        told = moved.take(episode, 1, rate)
        if rate == 0 and not all(one.defined for one in told):
            raise RuntimeError("the episode's loss has become undefined: its step would be no whole one")

    return step, episode


def training_rows(store: Store, unit: Callable[[], Any], sizes: Sizes) -> list[Row]:
    """Return the costs of a training step and of a view, in U; `unit` is one U."""
    learner = SSLALPNet(build_encoder(sizes.encoder, 0))
    step, episode = stepper(learner, store)
    dual_step, _ = stepper(DSPNet(build_encoder(sizes.encoder, 0)), store)
    half_step, _ = stepper(SSLALPNet(build_encoder(sizes.encoder, 0)), store, precision="bf16")
    images = torch.cat([episode.support_images[0], episode.query_images[0]])
    views = images[:1].repeat(VIEWS, 1, 1, 1), episode.support_masks[0].repeat(VIEWS, 1, 1)

    def augmented() -> None:
        augment(*views, preset("published"), torch.Generator().manual_seed(0))

    calls = {
        "unit": unit,
        "bare": bare(learner.encoder, images),
        "step": step,
        "dual": dual_step,
        "half": half_step,
        "views": augmented,
    }
    seconds = best(calls, sizes.rounds)
    bare_step, one_step, dual, half, view = (seconds[name] / seconds["unit"] for name in list(calls)[1:])
    return [
        row("training step (SSL-ALPNet; U)", one_step, 6.0),
        row("the same, to encoder forward and backward alone (ratio)", one_step / bare_step, 1.03),
        row("the same step in bf16 (U)", half),
        row("training step (DSPNet; U)", dual),
        row("DSPNet's step to SSL-ALPNet's (ratio)", dual / one_step, 1.15),
        row(f"an augmented view in a batch of {VIEWS} (U)", view / VIEWS, 0.02),
        *family_rows(store, sizes),
    ]


def family_rows(store: Store, sizes: Sizes) -> list[Row]:
    """Return what a training step of ADNet, Q-Net, RPT and GMRD costs, as ratios to its own encoder's part.

    The encoder's part is its forward and backward pass from the maps that the method's loss uses. GMRD's
    descriptor networks and decoders have a row of their own: everything of its loss beyond the encoder, on
    maps that are leaves.
    """
    rows = []
    for cls in (ADNet, QNet, RPT):
        learner = cls(encoder_for(cls, sizes.encoder, 0))
        step, episode = stepper(learner, store)
        images = torch.cat([episode.support_images[0], episode.query_images[0]])
        seconds = best({"bare": bare(learner.encoder, images), "step": step}, sizes.rounds)
        rows.append(_step_row(cls.__name__, seconds["step"] / seconds["bare"], 1.10))
    learner = GMRD(encoder_for(GMRD, sizes.encoder, 0))
    step, episode = stepper(learner, store)
    images = torch.cat([episode.support_images[0], episode.query_images[0]])
    calls = {
        "bare": bare(learner.encoder, images, 1),
        "step": step,
        "rest": beyond_encoder(learner, episode),
    }
    seconds = best(calls, sizes.rounds)
    whole, rest = (seconds[name] / seconds["bare"] for name in ("step", "rest"))
    return [
        *rows,
        _step_row("GMRD", whole),
        row("GMRD's descriptors and decoders alone, to its encoder forward and backward (ratio)", rest),
        _step_row("GMRD without them", whole - rest, 1.10),
    ]


def _step_row(name: str, ratio: float, target: float | None = None) -> Row:
    """Return the row of a method's training step."""
    return row(f"training step ({name}), to its encoder forward and backward alone (ratio)", ratio, target)


def beyond_encoder(learner: PrototypeLearner, episode: Episode) -> Callable[[], None]:
    """Return a call that takes a loss of one episode and its backward pass, down to the encoder's maps."""
    images = torch.cat([episode.support_images[0], episode.query_images[0]])
    with torch.no_grad():
        maps = as_tuple(learner.encode(images))
    shots = len(episode.support_images[0])
    masks, truth = episode.support_masks[0], episode.query_masks[0]

    def both() -> None:
        learner.zero_grad(set_to_none=True)
        leaves = [one.detach().requires_grad_() for one in maps]
        support, query = (
            as_given([one[part] for one in leaves]) for part in (slice(shots), slice(shots, None))
        )
        losses, _defined = learner.episode_loss(support, masks, query, truth, {})
        losses.sum().backward()

    return both


def bare(encoder: nn.Module, images: Tensor, used: int | None = None) -> Callable[[], None]:
    """Return a call that takes an encoder forward and backward, from its first `used` maps (default: all)."""

    def both() -> None:
        encoder.zero_grad(set_to_none=True)
        several = as_tuple(encoder(images))[:used]
        torch.stack([one.square().mean() for one in several]).sum().backward()

    return both


def superpixel_row(store: Store, sizes: Sizes) -> Row:
    """Return the time of a volume's superpixels on all cores to serial Felzenszwalb of the same slices."""
    volume = np.array(store.scan("0").image)
    least = store.spec.superpixel_min_size
    calls = {
        "ours": lambda: volume_superpixels(volume, 50.0, least, os.cpu_count() or 1),
        "serial": lambda: [
            felzenszwalb(one.astype(np.float64), scale=1, sigma=1, min_size=least) for one in volume
        ],
    }
    seconds = best(calls, sizes.rounds)
    return row("superpixels, all cores to serial (ratio)", seconds["ours"] / seconds["serial"], 0.7)


def first_step_rows(sizes: Sizes) -> list[Row]:
    """Return the seconds from typing `fewshot run` to the first training step: to its start and to its end.

    A process of its own on phantoms that are prepared already: imports, plans, encoder and first step. The
    log is opened where the loop begins and has its first line when a step is done.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fewshot"]
        where = ["--work", folder]
        _quiet(
            [*command, "prepare", "phantom-mri", *where, "--size", str(sizes.side), "--phantom-slices", "8"]
        )
        run = [*command, "run", *where, "--dataset", "phantom-mri", "--method", "ssl-alpnet", "--folds", "0"]
        run += ["--groups", "upper", "--encoder", sizes.encoder, "--weights", "random", "--steps", "1"]
        seconds = [_seconds_to_first_step([*run, "--seed", str(seed)], Path(folder)) for seed in range(3)]
    start, end = map(min, zip(*seconds, strict=True))
    return [
        row("from the command to the start of the first training step (s)", start, 5.0),
        row("from the command to the end of the first training step (s)", end),
    ]


def _quiet(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _seconds_to_first_step(command: list[str], work: Path) -> tuple[float, float]:
    """Return the seconds to the start and to the end of the first step."""
    before = set(work.glob("models/*/losses.csv"))
    started = time.perf_counter()
    begun: float | None = None
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            new = set(work.glob("models/*/losses.csv")) - before
            taken = time.perf_counter() - started
            if new and begun is None:
                begun = taken
            if begun is not None and any(path.stat().st_size for path in new):
                return begun, taken
            time.sleep(0.005)
        raise RuntimeError(
            f"{' '.join(command)} ended with status {process.returncode} before its first step"
        )
    finally:
        process.kill()
        process.wait()
