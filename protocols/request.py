"""Request: one command's store, protocol, folds, groups, device and work folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from episodes.store.store import Store
from protocols.rules.spec import Protocol


@dataclass(frozen=True)
class Request:
    """The work of one command, with all names resolved.

    `batch`: most slices in one call of the encoder. `checkpoint_every`: steps between checkpoints of a
    training."""

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
    grid: str = "original"  # of saved label maps, or "store": protocols/cells/predictions.py
    overwrite: bool = False
    train_store: Store | None = None  # another dataset to train on: protocols/runs/cross_dataset.py
    eval_precision: str = "float32"  # of the encoder during evaluation
    checkpoint_policy: str = "last"  # which checkpoint is evaluated: protocols/runs/selection.py
    observers: tuple[str, ...] = ()  # databases for Sacred's runs: protocols/cells/tracking.py


def default_batch(device: torch.device) -> int:
    """Return the default of `batch`: 64 on a GPU; 2 on a CPU, where small batches are fastest."""
    return 64 if device.type == "cuda" else 2
