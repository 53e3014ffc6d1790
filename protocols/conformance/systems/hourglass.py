"""Replay of the reference outputs of the released stacked hourglass, at full width, on weights made by name.

All four outputs of `golden_hg.json` are replayed: both stacks, with attention and without. The names of the
attention's layers were found by trial: with them its output agrees to 1e-6.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fewshot.files.input_files import read_json
from fewshot.learners.options import options_from
from fewshot.learners.registry import options_class, resolve_method
from protocols.conformance.parts.tmunet import REMEDY, fill_by_name, output_statistics
from protocols.conformance.quantity import Quantity

# attention -> parameters of two stacks; entries with attention
PARAMETERS = {"true": 6_795_086, "false": 6_727_062}
ENTRIES = 703


def check(folder: Path) -> Iterator[Quantity]:
    """Yield every quantity of `golden_hg.json` in a folder."""
    golden = read_json(folder / "golden_hg.json", REMEDY)
    cls: Any = resolve_method("hourglass")
    picture = (0.5 + 0.5 * torch.sin(0.01 * torch.arange(3 * 256 * 256, dtype=torch.float64))).float()
    for attention, kind in (("true", "att"), ("false", "plain")):
        options = options_from(options_class(cls), {"variant": "published", "attention": attention})
        network = cls(cls.new_encoder("none", 0), options, ("disc",)).network.eval()
        where = f"{folder.name}/hourglass {kind}"
        count = sum(parameter.numel() for parameter in network.parameters())
        yield Quantity(f"{where}/parameters", abs(count - PARAMETERS[attention]), 0)
        if attention == "true":
            yield Quantity(f"{where}/entries", abs(len(network.state_dict()) - ENTRIES), 0)
        fill_by_name(network)
        with torch.inference_mode():
            outputs = network(picture.reshape(1, 3, 256, 256))
        for stack, output in enumerate(outputs, start=1):
            name = f"{kind}_stack{stack}"
            yield from output_statistics(f"{folder.name}/hourglass/{name}", output, golden[name])
