"""A scan before preparation: its files, and the function that reads them into a prepared pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from episodes.io.nifti import NiftiImage, original_of
from episodes.io.original_grid import OriginalGrid
from fewshot.files.atomic_io import hash_of, sha256_of


@dataclass(frozen=True)
class PreparedPair:
    """Prepared image and label on one grid, and the grid of their files.

    `raw_shape`, `raw_spacing_mm` (z,y,x): those of the files; `cut_off`: labelled voxels lost by cropping;
    `channels`: registered channels (C,Z,H,W) on the prepared grid, of a dataset that has several.
    """

    image: NiftiImage
    label: NiftiImage
    raw_shape: tuple[int, int, int]
    raw_spacing_mm: tuple[float, float, float]
    cut_off: int = 0
    channels: NDArray[Any] | None = None

    @property
    def original(self) -> OriginalGrid:
        """The grid of the files, and the steps from there to the prepared grid."""
        return original_of(self.image, self.label.path.name)


@dataclass(frozen=True)
class RawScan:
    """The files of one scan; `read` prepares them and raises `UserError` for a fault.

    `reading`: how the files are read, such as a channel, where equal files give other scans; JSON values.
    """

    images: tuple[Path, ...]
    labels: tuple[Path, ...]
    read: Callable[[], PreparedPair]
    reading: Mapping[str, Any] = field(default_factory=dict)

    def hashes(self) -> tuple[str, str]:
        """Return the sha256 of the image and of the label.

        Several files have the hash of their hashes. If the scan has a `reading`, the hash covers it as well.
        """
        image, label = _hash(self.images), _hash(self.labels)
        if self.reading:
            image, label = hash_of([image, self.reading]), hash_of([label, self.reading])
        return image, label


def pair_of(image: NiftiImage, label: NiftiImage, raw: NiftiImage) -> PreparedPair:
    """Return `image` and `label` as a prepared pair; `raw` is the image as stored in its file."""
    depth, height, width = raw.array.shape
    return PreparedPair(image, label, (depth, height, width), raw.spacing_mm)


def id_order(scan: str) -> tuple[int, str]:
    """Return a sort key for scan ids: integers by value, then others by name."""
    return (int(scan), "") if scan.isdecimal() else (1 << 62, scan)


def _hash(files: tuple[Path, ...]) -> str:
    hashes = [sha256_of(file) for file in files]
    return hashes[0] if len(hashes) == 1 else hash_of(hashes)
