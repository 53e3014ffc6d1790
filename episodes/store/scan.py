"""One scan of a store: its arrays, checked by hash when they are first read, and the facts of its entry."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.io.npy import map_npy
from episodes.io.original_grid import OriginalGrid, original_from_json
from fewshot.base.errors import UserError
from fewshot.files.atomic_io import sha256_of
from fewshot.files.input_files import check_file
from fewshot.files.names import path_in

SUPERPIXELS = "superpixels"
KINDS = ("images", "labels", SUPERPIXELS)
CHANNELS = "channels"  # folder of the arrays (C,Z,H,W) of a store with several channels
REMAKE = "prepare it again with --overwrite"


Point = tuple[float, float, float]  # (z,y,x) in voxels; whole numbers are centres of voxels


class StoredScan:
    """One scan of an opened store, with memory-mapped arrays.

    The first use of an array in a process checks the sha256 of its file.

    Attributes:
        spacing_mm: (z,y,x).
        origin: as in `NiftiImage`.
        direction: as in `NiftiImage`.
        count: voxels of the uncropped image.
        mean: of the uncropped image, in stored units.
        m2: sum of squared deviations from that mean.
        points: landmarks by name, (z,y,x) in voxels; empty without any.
        sentences: one for each slice; () in a dataset without sentences.
        original: the grid of the scan's files and the steps from there to this one; None for a scan that the
            program made, and in stores of older programs.
    """

    def __init__(self, folder: Path, entry: Mapping[str, Any]) -> None:
        self.scan_id: str = entry["id"]
        self.spacing_mm: tuple[float, float, float] = tuple(entry["spacing_mm"])
        self.origin: tuple[float, float, float] = tuple(entry["origin"])
        self.direction: tuple[float, ...] = tuple(entry["direction"])
        self.count: int = entry["count"]
        self.mean: float = entry["mean"]
        self.m2: float = entry["m2"]
        self.original: OriginalGrid | None = (
            original_from_json(entry["original"]) if "original" in entry else None
        )
        self.points: Mapping[str, Point] = points_from_json(entry.get("points", {}), entry["shape"])
        self._folder = folder
        self._shape: list[int] = entry["shape"]
        self._dtype: str = entry["dtype"]
        self._sha256: Mapping[str, str] = entry["array_sha256"]
        self._channels: int = entry.get("channels", 1)
        self.sentences: tuple[str, ...] = tuple(entry.get("sentences", ()))

    @cached_property
    def image(self) -> NDArray[Any]:
        """The image (Z,H,W) in its own dtype; `UserError` if its file is not as prepared."""
        return self._array("images")

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """The stored class values (Z,H,W) uint8; `UserError` if their file is not as prepared."""
        return self._array("labels")

    @cached_property
    def superpixels(self) -> NDArray[np.uint16]:
        """The superpixel numbers (Z,H,W) uint16; `UserError` if their file is not as prepared."""
        return self._array("superpixels")

    @cached_property
    def channels(self) -> NDArray[Any]:
        """The registered channels (C,Z,H,W) in their own dtype; of a store without channels, the image."""
        if self._channels == 1:
            return self.image[None]
        path = path_in(self._folder / CHANNELS, "scan", self.scan_id, ".npy")
        check_array(path, self._sha256[CHANNELS], REMAKE)
        return map_npy(path, [self._channels, *self._shape], self._dtype, REMAKE)

    def check_arrays(self) -> None:
        """Check the hash and shape of every array; `UserError` for the first that is not as prepared."""
        for kind in KINDS:
            self._array(kind)
        _ = self.channels

    def _array(self, kind: str) -> NDArray[Any]:
        path = path_in(self._folder / kind, "scan", self.scan_id, ".npy")
        check_array(path, self._sha256[kind], REMAKE)
        dtype = {"images": self._dtype, "labels": "uint8", "superpixels": "uint16"}[kind]
        return map_npy(path, self._shape, dtype, REMAKE)


def points_from_json(plain: Mapping[str, Sequence[float]], shape: Sequence[int]) -> dict[str, Point]:
    """Return the landmarks of an index entry; `ValueError` for one that lies outside a scan of `shape`."""
    points = {}
    for name, values in plain.items():
        z, y, x = (float(value) for value in values)
        if not all(-0.5 <= value < size - 0.5 for value, size in zip((z, y, x), shape, strict=True)):
            raise ValueError(f"point {name} at {(z, y, x)} lies outside {tuple(shape)} voxels")
        points[name] = (z, y, x)
    return points


def read_array(path: Path, sha256: str, remedy: str) -> NDArray[Any]:
    """Return a memory-mapped .npy file whose bytes have the hash `sha256`; errors as `check_array`."""
    check_array(path, sha256, remedy)
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        raise UserError(f"{path} is missing or damaged; {remedy}") from None
    return array


def check_array(path: Path, sha256: str, remedy: str) -> None:
    """Raise `UserError` with `remedy` unless a file's bytes have the hash `sha256`.

    The bytes are read once per process, as long as the file's size and times stay.
    """
    check_file(path, remedy)
    try:
        state = path.stat()
        found = _sha256(path, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; {remedy}") from None
    if found != sha256:
        raise UserError(
            f"{path} is not as prepared: its sha256 begins with {found[:12]}, its index says "
            f"{sha256[:12]}; {remedy}"
        )


@functools.cache
def _sha256(path: Path, _inode: int, _size: int, _modified: int, _changed: int) -> str:
    return sha256_of(path)


def array_facts(
    image: NDArray[Any],
    labels: NDArray[np.uint8],
    superpixels: NDArray[np.uint16],
    classes: Mapping[str, int],
) -> dict[str, Any]:
    """Return the facts of an index entry that follow from a scan's arrays (Z,H,W).

    Args:
        image: in stored units.
        labels: stored class values, 0 for no class.
        superpixels: superpixel numbers, 0 for none.
        classes: class name -> stored value.

    Returns:
        `shape`, `dtype`, `count`, `mean` and `m2` of the image; `class_slices`, class -> positions of the
        slices that show it, and `superpixel_slices`, both ascending.
    """
    values = image.astype(np.float64)
    mean = float(values.mean())
    return {
        "shape": list(image.shape),
        "dtype": image.dtype.name,
        "count": int(values.size),
        "mean": mean,
        "m2": float(((values - mean) ** 2).sum()),
        "class_slices": {
            name: np.flatnonzero((labels == value).any(axis=(1, 2))).tolist()
            for name, value in classes.items()
        },
        "superpixel_slices": np.flatnonzero(superpixels.any(axis=(1, 2))).tolist(),
    }
