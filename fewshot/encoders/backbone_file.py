"""The file between pre-training a backbone and training on it: weights, and which images made them.

One dictionary written by `torch.save`: `state_dict` under torchvision's names, and `pretraining`, plain
values. The hashes of the images are what lets a run refuse a backbone that saw a query.
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

from fewshot.base.atomic_io import atomic_write
from fewshot.base.errors import UserError
from fewshot.encoders.checkpoints import read_checkpoint


@dataclass(frozen=True)
class Pretraining:
    """How a backbone was made.

    `kind`: "densecl"; `key`: names its recipe and data by hash; `encoder`: which ResNet; `source`: a store's
    name or a folder's base name; `images`: hashes of the images it saw (`image_hash`, or of picture files);
    `steps`: optimiser steps. `source` and `images` are also those of the backbones it was made from.
    """

    kind: str
    key: str
    encoder: str
    source: str
    images: tuple[str, ...]
    steps: int

    def after(self, earlier: Pretraining) -> Pretraining:
        """Return what is to be told of a backbone that began as an earlier one: it saw the images of both.

        No image stands twice; the earlier ones come first.
        """
        sources = dict.fromkeys((*earlier.source.split("+"), *self.source.split("+")))
        images = tuple(dict.fromkeys((*earlier.images, *self.images)))
        return dataclasses.replace(self, source="+".join(sources), images=images)


def image_hash(array: NDArray[Any]) -> str:
    """Return 16 hex digits of the sha256 over dtype, shape and bytes (C order).

    Of a store's slice it is taken as stored, uncut and before normalisation. A picture file goes by the
    first 16 hex digits of the sha256 of its bytes instead.
    """
    return hashlib.sha256(f"{array.dtype.str}{array.shape}".encode() + array.tobytes()).hexdigest()[:16]


def write_backbone(path: Path, state: Mapping[str, Tensor], about: Pretraining) -> None:
    """Write the backbone's weights, on the CPU, and what is known of them, whole or not at all.

    Equal weights in equal order give equal bytes.
    """
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    content = io.BytesIO()
    torch.save({"state_dict": weights, "pretraining": to_json(about)}, content)
    with atomic_write(path, "wb") as stream:
        stream.write(content.getbuffer())


def read_pretraining(path: Path) -> Pretraining | None:
    """Return how the backbone in a file was made; None for a file without the entry, such as torchvision's.

    Raises `UserError` for a file that can't be read, or whose entry lacks something.
    """
    content = read_checkpoint(path)
    return None if "pretraining" not in content else from_json(content["pretraining"], path)


def to_json(about: Pretraining) -> dict[str, Any]:
    """Return it as plain JSON values."""
    return {**dataclasses.asdict(about), "images": list(about.images)}


def from_json(entry: Any, where: Path) -> Pretraining:
    """Return the checked entry of a file; `UserError` naming the file where it is none."""
    texts = ("kind", "key", "encoder", "source")
    names = {field.name for field in dataclasses.fields(Pretraining)}
    if (
        not isinstance(entry, Mapping)
        or set(entry) != names
        or not all(isinstance(entry[name], str) for name in texts)
        or not isinstance(entry["images"], list)
        or not all(isinstance(one, str) for one in entry["images"])
        or not isinstance(entry["steps"], int)
    ):
        raise UserError(
            f"{where}: its entry `pretraining` is damaged or of another version, wanted "
            f"{', '.join(sorted(names))}; make the backbone again"
        )
    return Pretraining(**{**entry, "images": tuple(entry["images"])})
