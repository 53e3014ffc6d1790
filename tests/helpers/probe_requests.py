"""Requests of the probe and stand-ins for its stage 1."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from episodes.store.store import Store
from fewshot.encoders.encoder import build_encoder
from protocols.rules.spec import load_protocol
from protocols.studies.probe import Pretrainer, ProbeRequest

CPU = torch.device("cpu")


def request(store: Store, **changes: Any) -> ProbeRequest:
    made = ProbeRequest(
        store, load_protocol("alpnet-ep1"), (0,), "resnet18", "random", (0, 3), 5, 12,
        store.path.parent.parent, CPU, 4,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def other_weights(shift: int, told: list[Any] | None = None) -> Pretrainer:
    """A stage 1 that writes the random weights of another seed."""

    def backbone(
        encoder: str, store: Store, scans: Any, rules: Any, work: Path, device: Any, seed: int
    ) -> Path:
        if told is not None:
            told.append((encoder, scans, rules, device, seed))
        path = work / "backbones" / f"{seed + shift}.pt"
        path.parent.mkdir(exist_ok=True)
        torch.save(build_encoder(encoder, seed + shift).backbone.state_dict(), path)
        return path

    return Pretrainer({"epochs": 1}, backbone)
