"""Replay of the reference vectors of a DenseCL step: losses, gradients, key encoder, queues, pointers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from fewshot.pretraining.densecl import DenseCL, DenseCLRecipe
from fewshot.pretraining.positive_matches import ViewPair
from protocols.conformance.quantity import Quantity
from protocols.conformance.replays.replay import read_vectors, relative, relative_error

TOLERANCE = 1e-5  # relative
CHANNELS = 32


def check(folder: Path) -> Iterator[Quantity]:
    """Yield every quantity of a `densecl` folder."""
    expected, vectors = read_vectors(folder)
    recipe = DenseCLRecipe(
        batch=len(vectors["images"]), queue=expected["queue_len"], size=vectors["images"].shape[-1],
        temperature=expected["temperature"], key_momentum=expected["momentum"],
        dense_weight=expected["loss_lambda"], hidden=48, out=16,
    )  # fmt: skip
    learner = DenseCL(toy_backbone(), toy_backbone(), CHANNELS, recipe, seed=0)
    before = {
        name.removeprefix("before/"): torch.from_numpy(value)
        for name, value in vectors.items()
        if name.startswith("before/")
    }
    learner.load_state_dict({**before, "seen": learner.seen})
    images = torch.from_numpy(vectors["images"])
    result = learner.loss(ViewPair(images, torch.tensor([0, 0, 64, 64, 0]).expand(len(images), 2, 5)))
    for part, key in (("global", "loss_contra_single"), ("dense", "loss_contra_dense")):
        error = relative(result.parts[part].item(), expected[key])
        yield Quantity(f"{folder.name}/{key}", error, TOLERANCE)
    result.total.backward()  # type: ignore[no-untyped-call]
    parameters, state = dict(learner.named_parameters()), learner.state_dict()
    for name, value in vectors.items():
        kind, _, entry = name.partition("/")
        if kind == "grad":
            gradient = parameters[entry].grad
            assert gradient is not None
            yield Quantity(f"{folder.name}/{name}", relative_error(gradient, value), TOLERANCE)
        elif kind == "after" and entry.endswith("_ptr"):
            yield Quantity(f"{folder.name}/{name}", float(abs(int(state[entry]) - int(value[0]))), 0)
        elif kind == "after":
            yield Quantity(f"{folder.name}/{name}", relative_error(state[entry], value), TOLERANCE)


def toy_backbone() -> nn.Sequential:
    """Return the backbone of the vectors: two convolutions, stride 8, no batch norm."""
    return nn.Sequential(
        OrderedDict(
            c1=nn.Conv2d(3, 16, 3, stride=4, padding=1),
            r1=nn.ReLU(),
            c2=nn.Conv2d(16, CHANNELS, 3, stride=2, padding=1),
            r2=nn.ReLU(),
        )
    )
