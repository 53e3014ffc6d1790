"""A small real training, to be killed and started again: FOLDER, and seconds to wait before each step."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from fake_store import fake_store
from narrow_networks import narrow_networks

from baselines.ssl_alpnet import SSLALPNet
from episodes.sampling.prefetch import prefetch
from episodes.sampling.superpixel import SuperpixelEpisodes
from episodes.store.slices import SliceReader, normalisation
from fewshot.base.types import Episode
from fewshot.encoders.encoder import build_encoder
from fewshot.learners.recipe import Recipe
from fewshot.training.loop import train

STEPS = 40


def main(folder: Path, seconds: float) -> None:
    torch.set_num_threads(1)
    store = fake_store()
    store.scan("1").superpixels[:3] = 1  # no background but what views let in: mostly skipped
    reader = SliceReader(store, normalisation(store, "per-scan", ()))
    learner = SSLALPNet(build_encoder("resnet18", 0))
    source = SuperpixelEpisodes(reader, store.index, ("0", "1"), None, seed=0, prepare=learner.prepare)

    def episodes(steps: range) -> Iterator[Episode]:
        for episode in prefetch(source.episode, steps, 4):
            time.sleep(seconds)
            yield episode

    recipe = Recipe(steps=STEPS, decay_every=10, snapshot_every=15, encoder="resnet18", weights="random")
    train(learner, recipe, folder, seed=0, device=torch.device("cpu"), episodes=episodes, checkpoint_every=6)


if __name__ == "__main__":
    with narrow_networks():
        main(Path(sys.argv[1]), float(sys.argv[2]))
