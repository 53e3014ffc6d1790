"""A request: what one command evaluates and where, names already resolved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from episodes.store.store import Store
from protocols.rules.spec import Protocol


@dataclass(frozen=True)
class Request:
    """What a run is asked for, names already resolved."""

    store: Store
    protocol: Protocol
    setting: int
    folds: tuple[int, ...]
    groups: tuple[str, ...]
    work: Path
    device: torch.device
    batch: int
    checkpoint_every: int = 200
    save_predictions: bool = False
    overwrite: bool = False
    train_store: Store | None = None  # another dataset to train on: protocols/runs/cross_dataset.py
    eval_precision: str = "float32"  # of the encoder that answers
    checkpoint_policy: str = "last"  # which checkpoint of a training answers: protocols/runs/selection.py
