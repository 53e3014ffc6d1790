"""Label maps of a user's scans: values merged into classes, one mask file an organ, and ignored voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from episodes.io.geometry import grid_difference, onto_axes
from episodes.io.nifti import NiftiImage
from episodes.io.volume_formats import read_label_volume
from fewshot.base.errors import UserError, listed

Values = Mapping[str, Sequence[int]]


def merged_values(scan: str, label: NiftiImage, values: Values, classes: Mapping[str, int]) -> NiftiImage:
    """Return the label, uint8, with the values of each class replaced by the class's stored value.

    Args:
        scan: id of the scan, for messages.
        label: label map of a file.
        values: class name -> its values in the file.
        classes: class name -> stored value.

    Raises:
        UserError: the label holds a value of no class.
    """
    known = {0, *(value for each in values.values() for value in each)}
    unknown = [value for value in np.unique(label.array).tolist() if value not in known]
    if unknown:
        names = listed(f"{'+'.join(map(str, each))} {name}" for name, each in values.items())
        raise UserError(
            f"scan {scan}: {label.path} holds the unknown label value {unknown[0]:.17g}; known: 0 "
            "background, "
            f"{names}; add it to [classes]"
        )
    return with_class_values(label, values, classes)


def with_class_values(label: NiftiImage, values: Values, classes: Mapping[str, int]) -> NiftiImage:
    """Return the label, uint8, with the values of each class as its stored value, and 0 elsewhere."""
    array = np.zeros(label.array.shape, dtype=np.uint8)
    for name, each in values.items():
        array[np.isin(label.array, list(each))] = classes[name]
    return replace(label, array=array)


def refuse_ignored(scan: str, label: NiftiImage, ignore: Sequence[int]) -> None:
    """Raise `UserError` if the label holds a value that the facts call ignored.

    A support mask has no third state beside class and background, so an ignored voxel of a support would
    count as background. Such scans are refused.
    """
    for value in ignore:
        count = int(np.count_nonzero(label.array == value))
        if count:
            raise UserError(
                f"scan {scan}: {label.path} holds {count} voxels of the ignored value {value}, which would "
                "count "
                "as background in a support; annotate them, or leave the scan out of the folder"
            )


def combined_masks(scan: str, masks: Mapping[str, Sequence[Path]], classes: Mapping[str, int]) -> NiftiImage:
    """Return one label map, uint8, of the mask files of a scan; any value but 0 in a mask is its class.

    Args:
        scan: id of the scan, for messages.
        masks: class name -> mask files, () for a class without one, which is then absent.
        classes: class name -> stored value.

    Raises:
        UserError: as `read_label_volume`; masks on different grids, and a voxel in masks of two classes.
    """
    merged: NiftiImage | None = None
    owners: dict[int, str] = {0: "", **{value: name for name, value in classes.items()}}
    for name, files in masks.items():
        for path in files:
            mask = read_label_volume(path)
            if merged is None:
                merged = replace(mask, array=np.zeros(mask.array.shape, dtype=np.uint8))
            difference = grid_difference(mask, merged)
            if mask.array.shape != merged.array.shape or difference is not None:
                raise UserError(
                    f"scan {scan}: {path} has {difference or f'shape {mask.array.shape}'}, expected the "
                    "grid of "
                    f"{merged.path.name}; make all masks of a scan lie alike"
                )
            shown = mask.array != 0
            taken = shown & (merged.array != 0) & (merged.array != classes[name])
            if taken.any():
                other = owners[int(merged.array[taken][0])]
                raise UserError(
                    f"scan {scan}: {int(taken.sum())} voxels are {other} and {name} ({path.name}), "
                    "expected one "
                    "class a voxel; leave one of them out of [masks]"
                )
            merged.array[shown] = classes[name]
    if merged is None:
        raise UserError(f"scan {scan} has no mask file; add one, or leave the scan out of the folder")
    return merged


def onto_image(label: NiftiImage, image: NiftiImage) -> NiftiImage:
    """Return a label with the order and sense of axes of its image, if both are files of different formats.

    Converters of DICOM series turn rows; a label drawn on the converted file lies otherwise in its array than
    the series. Files of one format are never turned: `check_pair` then says how they differ.
    """
    if not image.path.is_dir() or grid_difference(label, image) is None:
        return label
    array, grid = onto_axes(label.array, label, image)
    return replace(
        label, array=array, spacing_mm=grid.spacing_mm, origin=grid.origin, direction=grid.direction
    )
