"""Where the time of some training steps and of one evaluated fold goes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from evaluation_cost import Fold
from measuring import Parts, Sizes, watched

import protocols.cells.evaluate
import protocols.cells.evaluate_cells
import protocols.cells.predictors
from baselines.ssl_alpnet import SSLALPNet
from episodes.sampling.prefetch import prefetch
from episodes.sampling.superpixel import SuperpixelEpisodes
from episodes.store.slices import SliceReader, normalisation
from episodes.store.store import Store
from fewshot.encoders.encoder import ResNetEncoder, build_encoder
from fewshot.learners.recipe import Recipe
from fewshot.training.log import TrainingLog
from fewshot.training.loop import train

STEPS = 5


def of_evaluation(fold: Fold) -> dict[str, float]:
    """Return seconds by part of evaluating a fold, both groups, from the opened store to records."""
    parts: Parts = {
        "encoder": (ResNetEncoder, "forward"),
        "reading and normalising slices": (SliceReader, "images"),
        "reading masks": (SliceReader, "mask"),
        "comparing with prototypes": (protocols.cells.predictors, "call_logits"),
        "resizing logits": (protocols.cells.predictors, "logit_difference"),
        "stacking features": (protocols.cells.predictors, "_stack_maps"),
        "counting": (protocols.cells.evaluate, "_count_pixels"),
        "plans and audits": (fold, "cells"),
        "writing records": (protocols.cells.evaluate_cells, "save_record"),
        "logs and Sacred": (protocols.cells.evaluate_cells, "log_cell"),
    }
    fold.evaluate("alpnet-ep1")
    with watched(parts) as seconds:
        fold.evaluate("alpnet-ep1")
    return seconds


def of_training(store: Store, sizes: Sizes) -> dict[str, float]:
    """Return seconds by part of five training steps after five others; a thread builds episodes."""
    learner = SSLALPNet(build_encoder(sizes.encoder, 0))
    scans = store.index.scans
    reader = SliceReader(store, normalisation(store, "per-scan", scans))
    source = SuperpixelEpisodes(reader, store.index, scans, None, seed=0, prepare=learner.prepare)
    parts: Parts = {
        "encoder forward": (ResNetEncoder, "forward"),
        "prototypes and loss, forward": (SSLALPNet, "loss"),
        "backward": (torch.Tensor, "backward"),
        "optimiser": (torch.optim.SGD, "step"),
        "log": (TrainingLog, "add"),
        "reading, drawing and augmenting an episode": (SuperpixelEpisodes, "episode"),
    }
    recipe = Recipe(steps=2 * STEPS, encoder=sizes.encoder, weights="random", snapshot_every=0)
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:

        def episodes(steps: range):  # type: ignore[no-untyped-def]
            yield from prefetch(source.episode, steps[:STEPS], 4)
            with watched(parts) as taken:
                yield from prefetch(source.episode, steps[STEPS:], 4)
            seconds.update(taken)

        train(
            learner, recipe, Path(folder), seed=0, device=torch.device("cpu"), episodes=episodes,
            checkpoint_every=10**9, channels_last=True,
        )  # fmt: skip
    del seconds["reading, drawing and augmenting an episode"]
    with watched({"building an episode (on the other thread)": (source, "episode")}) as beside:
        for step in range(STEPS):
            source.episode(step)
    return seconds | {name: taken for name, taken in beside.items() if name != "rest"}
