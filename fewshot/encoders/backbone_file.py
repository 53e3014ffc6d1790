"""Backbone files: weights of a pre-trained backbone, and the hashes of the images it was trained on.

A file is one dictionary written by `torch.save`: `state_dict` under torchvision's names, and `pretraining`,
plain values. From the image hashes a run recognises, and refuses, a backbone that saw a query.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from fewshot.base.errors import UserError
from fewshot.encoders.checkpoints import read_checkpoint
from fewshot.files.seals import write_hashed


@dataclass(frozen=True)
class Pretraining:
    """Provenance of a backbone.

    `kind`: "densecl"; `key`: hash of its recipe and data; `encoder`: name of the ResNet; `source`: a store's
    name or a folder's base name; `images`: hashes of the images it saw (`image_hash`, or of picture files);
    `steps`: optimiser steps. `source` and `images` include those of the backbones it was initialised from.
    """

    kind: str
    key: str
    encoder: str
    source: str
    images: tuple[str, ...]
    steps: int

    def after(self, earlier: Pretraining) -> Pretraining:
        """Merge provenance: a backbone initialised from `earlier` has seen both image sets.

        Each image is listed once, those of `earlier` first.
        """
        sources = dict.fromkeys((*earlier.source.split("+"), *self.source.split("+")))
        images = tuple(dict.fromkeys((*earlier.images, *self.images)))
        return dataclasses.replace(self, source="+".join(sources), images=images)


def image_hash(array: NDArray[Any]) -> str:
    """Return 16 hex digits of the sha256 over dtype, shape and bytes (C order).

    Hash a store's slice as stored, uncropped and before normalisation. For a picture file use the first 16
    hex digits of the sha256 of its bytes instead.
    """
    return hashlib.sha256(f"{array.dtype.str}{array.shape}".encode() + array.tobytes()).hexdigest()[:16]


def write_backbone(path: Path, state: Mapping[str, Tensor], about: Pretraining) -> None:
    """Write a backbone's weights (`state`, copied to the CPU) and provenance (`about`), with the file's hash.

    Equal weights in equal order give equal bytes.
    """
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    content = io.BytesIO()
    torch.save({"state_dict": weights, "pretraining": to_json(about)}, content)
    write_hashed(path, content.getbuffer())


def read_pretraining(path: Path) -> Pretraining | None:
    """Return the provenance in a backbone file; None for a file without it, such as torchvision's.

    Raises `UserError` for a file that cannot be read and for an incomplete entry.
    """
    content = read_checkpoint(path)
    return None if "pretraining" not in content else from_json(content["pretraining"], path)


def to_json(about: Pretraining) -> dict[str, Any]:
    """Return the provenance as plain JSON values."""
    return {**dataclasses.asdict(about), "images": list(about.images)}


def from_json(entry: Any, where: Path) -> Pretraining:
    """Return the provenance in the entry of the file `where`; raise `UserError` if it is malformed."""
    texts = ("kind", "key", "encoder", "source")
    names = {field.name for field in dataclasses.fields(Pretraining)}
    if (
        not isinstance(entry, Mapping)
        or set(entry) != names
        or not all(isinstance(entry[name], str) for name in texts)
        or not isinstance(entry["images"], list)
        or not all(isinstance(digest, str) for digest in entry["images"])
        or not isinstance(entry["steps"], int)
    ):
        raise UserError(
            f"{where}: its entry `pretraining` is damaged or of another version, expected "
            f"{', '.join(sorted(names))}; make the backbone again"
        )
    return Pretraining(**{**entry, "images": tuple(entry["images"])})
