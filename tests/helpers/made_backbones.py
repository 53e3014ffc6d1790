"""Stage 1 without its training: random backbones that claim to have seen the scans they were asked for."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from episodes.store.store import Store
from fewshot.encoders.backbone_file import Pretraining, image_hash, write_backbone
from fewshot.encoders.encoder import build_encoder


def backbone_file(path: Path, images: tuple[str, ...], encoder: str = "resnet18", seed: int = 7) -> Path:
    """Write a random backbone and return its path."""
    state: Any = build_encoder(encoder, seed).backbone.state_dict()
    write_backbone(path, state, Pretraining("densecl", "k" * 16, encoder, "tiny", images, 5))
    return path


def slices_of(store: Store, scans: tuple[str, ...]) -> tuple[str, ...]:
    """Return the hashes of all slices of some scans."""
    return tuple(image_hash(stored) for scan in scans for stored in store.scan(scan).image)


@dataclass
class MadeBackbones:
    """Stands for `protocols.pretraining`; keeps the scans of every call."""

    calls: list[tuple[str, ...]] = field(default_factory=list)
    told: list[tuple[str, int]] = field(default_factory=list)  # precision and steps between checkpoints
    more: tuple[str, ...] = ()  # scans seen beside those asked for

    def ensure_backbone(
        self, recipe: Any, encoder: str, store: Store, scans: tuple[str, ...], intensities: Any,
        work: Path, device: Any, seed: int, *, precision: str, checkpoint_every: int,
    ) -> Path:  # fmt: skip
        assert recipe.queue == 65536 and set(scans) <= set(intensities.mean_std)
        self.calls.append(scans)
        self.told.append((precision, checkpoint_every))
        images = slices_of(store, (*scans, *self.more))
        key = hashlib.sha256("".join(images).encode()).hexdigest()[:16]
        path = work / "weights" / "densecl" / f"{key}.pth"
        return path if path.exists() else backbone_file(path, images, encoder, seed)

    def put(self, patch: pytest.MonkeyPatch) -> MadeBackbones:
        """Take the place of the module."""
        module: Any = ModuleType("protocols.training.pretraining")
        module.ensure_backbone = self.ensure_backbone
        patch.setitem(sys.modules, "protocols.training.pretraining", module)
        return self
