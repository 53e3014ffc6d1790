"""Replay of the reference vectors of the released UniverSeg."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewshot.base.types import Support
from fewshot.learners.registry import resolve_method
from protocols.conformance.quantity import Quantity
from protocols.conformance.replays.replay import PIXELS, episode_names, largest_error, read_vectors
from protocols.conformance.replays.threshold_replay import check_mask
from protocols.conformance.replays.weights import made_by_name

LOGITS = 1e-3  # absolute


def check(folder: Path) -> Iterator[Quantity]:
    """Yield every quantity of a `universeg` folder."""
    expected, vectors = read_vectors(folder)
    learner: Any = resolve_method("universeg")()
    network = learner.network
    parameters = sum(parameter.numel() for parameter in network.parameters())
    yield Quantity(f"{folder.name}/parameters", abs(parameters - expected["parameters"]), 0)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    network.load_state_dict(made_by_name(shapes))
    for name in episode_names(vectors):
        images = torch.from_numpy(vectors[f"{name}/support_image"].astype(np.float32))[:, None]
        masks = torch.from_numpy(vectors[f"{name}/support_mask"] > 0)
        query = torch.from_numpy(vectors[f"{name}/query_image"].astype(np.float32))[None, None]
        with torch.inference_mode():
            probability = learner.segment(Support(images, masks), query)[0]
        logits = torch.logit(probability.double())
        error = largest_error(logits[::2, ::2], vectors[f"{name}/logits"])
        yield Quantity(f"{folder.name}/{name}/logits", error, LOGITS)
        yield check_mask(f"{folder.name}/{name}/mask", probability > 0.5, vectors[f"{name}/mask"], PIXELS)
