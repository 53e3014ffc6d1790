"""Replay of the reference outputs of the released TMUnet, at full width, on weights made by name.

The names of the patch embedding and of the map are not known, so outputs that depend on them are not
replayed: `prob`, `beta`, and all of `gamma` and `region` but the class token.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewshot.files.input_files import read_json
from fewshot.learners.options import options_from
from fewshot.learners.registry import options_class, resolve_method
from protocols.conformance.quantity import Quantity

PARAMETERS = 165_165_953
ENTRIES = 523
REMEDY = "fetch the reference outputs again"


def check(folder: Path) -> Iterator[Quantity]:
    """Yield every quantity of `golden_tm.json` in a folder that can be replayed."""
    golden = read_json(folder / "golden_tm.json", REMEDY)
    cls: Any = resolve_method("tmunet")
    options = options_from(options_class(cls), {"variant": "published"})
    learner = cls(cls.new_encoder("resnet50", 0), options, ("mask",)).eval()
    count = sum(parameter.numel() for parameter in learner.parameters())
    yield Quantity(f"{folder.name}/tmunet/parameters", abs(count - PARAMETERS), 0)
    yield Quantity(f"{folder.name}/tmunet/entries", abs(len(learner.state_dict()) - ENTRIES), 0)
    fill_by_name(learner, learner.published_name)
    picture = 255 * (0.5 + 0.5 * torch.sin(0.01 * torch.arange(3 * 256 * 256, dtype=torch.float64)))
    with torch.inference_mode():
        outputs = learner.forward_pictures(picture.float().reshape(1, 3, 256, 256))
    yield from output_statistics(f"{folder.name}/tmunet/boundary", outputs.boundary, golden["boundary"])
    for name, output in (("region", outputs.coefficients), ("gamma", outputs.gamma)):
        error = abs(float(output.flatten()[0]) - golden[name]["at"]["0"])
        yield Quantity(f"{folder.name}/tmunet/{name} of the class token", error, _tolerance(golden[name]))


def output_statistics(name: str, output: Tensor, expected: dict[str, Any]) -> Iterator[Quantity]:
    """Yield mean, deviation, extremes and single values of an output."""
    values = output.flatten().double()
    found = {
        "mean": values.mean(), "std": values.std(unbiased=False), "min": values.min(), "max": values.max()
    }  # fmt: skip
    for kind, value in found.items():
        yield Quantity(f"{name}/{kind}", abs(float(value) - expected[kind]), _tolerance(expected))
    errors = [abs(float(values[int(place)]) - value) for place, value in expected["at"].items()]
    yield Quantity(f"{name}/values", max(errors), _tolerance(expected))


def _tolerance(expected: dict[str, Any]) -> float:
    return float(2e-3 * expected["std"] + 1e-5)


@torch.no_grad()
def fill_by_name(learner: Any, released_name: Callable[[str], str] = str, start: int = 0) -> None:
    """Set every parameter by its released name: a sine whose phase is a hash of the name.

    `start`: value of the CRC before the name, of whatever stands in front of it.
    """
    for name, parameter in learner.named_parameters():
        released = released_name(name)
        wave = np.sin(0.1 * np.arange(parameter.numel()) + zlib.crc32(released.encode(), start) % 1000)
        if parameter.ndim >= 2:
            wave *= np.sqrt(2 * parameter.shape[0] / parameter.numel())
        else:
            wave = 1 + 0.1 * wave if released.endswith("weight") else 0.1 * wave
        parameter.copy_(torch.from_numpy(wave.reshape(parameter.shape)))
