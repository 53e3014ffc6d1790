"""The files of a segmentation: annotated support scans and a query scan, read and checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from episodes.io.nifti import NiftiImage, check_finite_voxels, check_pair
from episodes.io.volume_formats import count_volume_channels, read_label_volume, read_volume
from fewshot.base.errors import UserError, listed

SUPPORT = "support"


@dataclass(frozen=True)
class AnnotatedScan:
    """An image and its mask, as stored in their files."""

    image: NiftiImage
    mask: NiftiImage


@dataclass(frozen=True)
class SegmentationInput:
    """Volumes as stored in their files, and the values of the classes in the supports' masks.

    `supports`: at least one, and each value is in one of their masks; `slices`: the first and the last slice
    of the query file that show the organs, or None.
    """

    supports: tuple[AnnotatedScan, ...]
    query: NiftiImage
    values: tuple[int, ...]
    slices: tuple[int, int] | None = None


def read_segmentation_input(
    supports: Sequence[tuple[Path, Path]],
    query: Path,
    values: Sequence[int] = (),
    slices: tuple[int, int] | None = None,
    channel: int | None = None,
) -> SegmentationInput:
    """Return the volumes, checked.

    Args:
        supports: image and mask file of each annotated scan, in any format that is read.
        query: image of the scan to segment.
        values: of the classes in the masks; (): every value besides 0.
        slices: the first and the last slice of the query that show the organs; None: unknown.
        channel: of images with several channels or frames, the one to read, from 0; an image with one is
            read whole.

    Raises:
        UserError: a file is missing, broken or four-dimensional; image and mask of a support differ in shape
            or geometry; a voxel is not finite; no mask has a voxel of a class; the query lacks a slice.
    """
    annotated = [
        AnnotatedScan(_read_image(image, channel), read_label_volume(mask)) for image, mask in supports
    ]
    scan = _read_image(query, channel)
    check_finite_voxels(scan)
    held: set[float] = set()
    for support in annotated:
        own = [value for value in np.unique(support.mask.array).tolist() if value != 0]
        check_pair(
            SUPPORT,
            support.image,
            support.mask,
            {f"value-{value:g}": value for value in own if value == value},
        )
        held.update(own)
    chosen = _class_values([mask for _image, mask in supports], sorted(held), values)
    if slices is not None and not 0 <= slices[0] <= slices[1] < len(scan.array):
        raise UserError(
            f"slices {slices[0]}:{slices[1]} of {query}: it has slices 0 to {len(scan.array) - 1}; give the "
            "first and the last that show the organ"
        )
    return SegmentationInput(tuple(annotated), scan, chosen, slices)


def _read_image(path: Path, channel: int | None) -> NiftiImage:
    several = channel is not None and count_volume_channels(path) > 1
    return read_volume(path, channel if several else None)


def _class_values(paths: Sequence[Path], held: Sequence[float], values: Iterable[int]) -> tuple[int, ...]:
    """Return the values to segment, ascending; `held`: all values of the masks besides 0."""
    where = " and ".join(map(str, paths))
    if not held:
        raise UserError(f"{where}: only 0, expected voxels of a class; annotate at least one slice")
    names = listed(f"{value:.10g}" for value in held)
    chosen = sorted(set(values)) or held
    for value in chosen:
        if value not in held:
            raise UserError(f"{where}: no voxel of value {value}, only {names}; give one of these")
        if value != int(value) or value < 1:
            raise UserError(
                f"{where}: the value {value:.17g}, expected whole numbers above 0; write a mask of integers"
            )
    return tuple(int(value) for value in chosen)
