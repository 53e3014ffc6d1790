"""Replay of the reference outputs of the released I-MMSeg's encoder, at full width, on weights made by name.

The reference weights follow from the CRC-32 of each released parameter name. The names inside the encoder are
TransUNet's, and ours; the name of the encoder before them is unknown. `BEFORE` is the state of the CRC after
it: of the 22 states that give the map of stride 2, the one that gives the other three maps too. The names of
all other modules are unknown, so `fused_logits` and the three heads are not replayed; their counts are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fewshot.files.input_files import read_json
from fewshot.learners.options import options_from
from fewshot.learners.registry import options_class, resolve_method
from protocols.conformance.parts.tmunet import REMEDY, fill_by_name
from protocols.conformance.quantity import Quantity

USED, ENTRIES, UNUSED_ENTRIES = 75_922_994, 934, 92
BEFORE = 1_900_610_194
OUTPUTS = ("enc_bottleneck", "enc_skip16", "enc_skip32", "enc_skip64")


def check(folder: Path) -> Iterator[Quantity]:
    """Yield the counts and every quantity of `golden_im.json` in a folder that can be replayed."""
    yield from check_file(folder / "golden_im.json", folder.name)


def check_file(file: Path, family: str) -> Iterator[Quantity]:
    """Yield the quantities of a file of reference outputs; their names begin with `family`."""
    golden = read_json(file, REMEDY)
    cls: Any = resolve_method("immseg")
    options = options_from(options_class(cls), {"variant": "published"})
    learner = cls(cls.new_encoder("immseg", 0), options, ("myocardium", "scar", "edema")).eval()
    network = learner.network
    count = sum(parameter.numel() for parameter in network.parameters())
    entries = len(network.state_dict()) + UNUSED_ENTRIES
    yield Quantity(f"{family}/immseg/parameters used", abs(count - USED), 0)
    yield Quantity(f"{family}/immseg/entries", abs(entries - ENTRIES), 0)
    encoder = network.encoders[0]
    fill_by_name(encoder, start=BEFORE ^ 0xFFFFFFFF)
    picture = 0.5 + 0.5 * torch.sin(0.01 * torch.arange(128 * 128, dtype=torch.float64))
    with torch.inference_mode():
        maps = encoder(picture.float().reshape(1, 1, 128, 128).expand(-1, 3, -1, -1))
    for name, output in zip(OUTPUTS, maps, strict=True):
        expected = golden[name]
        values = output.flatten().double()
        found = {
            "mean": values.mean(), "std": values.std(unbiased=False), "min": values.min(),
            "max": values.max(),
        }  # fmt: skip
        errors = [abs(float(value) - expected[kind]) for kind, value in found.items()]
        errors += [abs(float(values[int(place)]) - value) for place, value in expected["at"].items()]
        yield Quantity(f"{family}/immseg/{name}", max(errors), 2e-3 * expected["std"] + 1e-5)
