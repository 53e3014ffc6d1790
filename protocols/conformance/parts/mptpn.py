"""Replay of the reference outputs of the released MPTPN, at full width, on weights made by name.

All names of the encoder are known, so its three maps are replayed. The names of the decoder's fusion are not,
so `prob` is not replayed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fewshot.files.input_files import read_json
from fewshot.learners.registry import resolve_method
from protocols.conformance.parts.tmunet import REMEDY, fill_by_name, output_statistics
from protocols.conformance.quantity import Quantity

ENCODER, DECODER = 12_773_982, 7_616_255
ENTRIES = (304, 76)


def check(folder: Path) -> Iterator[Quantity]:
    """Yield every quantity of `golden_mptpn.json` in a folder that can be replayed."""
    golden = read_json(folder / "golden_mptpn.json", REMEDY)
    cls: Any = resolve_method("mptpn")
    learner = cls(cls.new_encoder("ppe", 0), None, ("mask",)).eval()
    parts = (learner.encoder.backbone, learner.decoder)
    for name, part, count, entries in zip(
        ("encoder", "decoder"), parts, (ENCODER, DECODER), ENTRIES, strict=True
    ):
        found = sum(parameter.numel() for parameter in part.parameters())
        yield Quantity(f"{folder.name}/mptpn/{name} parameters", abs(found - count), 0)
        yield Quantity(f"{folder.name}/mptpn/{name} entries", abs(len(part.state_dict()) - entries), 0)
    encoder = parts[0]
    fill_by_name(encoder)
    picture = 0.5 + 0.5 * torch.sin(0.01 * torch.arange(3 * 224 * 224, dtype=torch.float64))
    words = torch.sin(0.02 * torch.arange(10 * 768, dtype=torch.float64))
    with torch.inference_mode():
        maps = encoder(picture.float().reshape(1, 3, 224, 224), words.float().reshape(1, 10, 768))
    for name, output in zip(("enc1", "enc2", "enc3"), maps, strict=True):
        yield from output_statistics(f"{folder.name}/mptpn/{name}", output, golden[name])
