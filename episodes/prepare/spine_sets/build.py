"""Build a store of spines: the mean of six middle sagittal slices, and the centres of the discs as points.

Rows run from head to foot, columns from back to front. Smaller slices are padded with 0 at their lower and
right ends, so pixels of points stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from episodes.io.geometry import grid_difference
from episodes.io.nifti import NiftiImage, read_label, read_nifti
from episodes.phantoms.spine import disc_masks
from episodes.prepare.spine_sets.spine_generic import SpineFiles, SpineFolder
from episodes.pseudo_labels.patient_threshold import threshold_of
from episodes.pseudo_labels.superpixels import volume_superpixels
from episodes.store.dataset import DatasetSpec
from episodes.store.store import SourceScan, Store, new_store
from fewshot.base.errors import UserError
from fewshot.files.atomic_io import sha256_of

MIDDLE = 6  # sagittal slices in the mean
NO_DISC, FIRST_NO_DISC = 1, 30  # labels: 1 is no disc, nor is any from 30 on
# columns: the patient's left, front and head in the L-P-S frame; its order of axes is called RPI
RPI = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
UNIT_DIRECTION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class SpineSlice:
    """The middle slice (H,W) float32 of a scan, its spacing (z,y,x) in mm, and points (z,y,x) in voxels."""

    image: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    points: dict[str, tuple[float, float, float]]


def read_spine(files: SpineFiles) -> SpineSlice:
    """Return the middle slice and the discs of a scan.

    Raises `UserError` if labels lie on another grid than their image (its size, orientation or spacing), no
    voxel is a disc, or there are fewer than six sagittal slices.
    """
    image, labels = read_nifti(files.image), read_label(files.labels)
    if image.array.shape != labels.array.shape:
        raise UserError(
            f"{files.labels} has {_size(labels)} voxels (z,y,x), its image {files.image.name} "
            f"{_size(image)}, expected equal sizes; make the labels on the image's grid"
        )
    difference = grid_difference(labels, image)
    if difference is not None:
        raise UserError(
            f"{files.labels} has {difference} as its image {files.image.name} has; make the labels on the "
            "image's grid and orientation"
        )
    voxels, spacing = to_rpi(image.array, image)
    marks, _spacing = to_rpi(labels.array, labels)
    height, _width, sagittal = voxels.shape
    if sagittal < MIDDLE:
        raise UserError(
            f"{files.image} has {sagittal} sagittal slices, expected at least {MIDDLE}; give another scan"
        )
    middle = sagittal // 2
    mean = voxels[:, :, middle - MIDDLE // 2 : middle + MIDDLE // 2].mean(axis=2, dtype=np.float64)
    points = disc_centres(marks, height)
    if not points:
        raise UserError(
            f"{files.labels} has no voxel of a disc, expected labels from 2 to 29; label the discs or take "
            "the scan out"
        )
    return SpineSlice(mean[::-1].astype(np.float32), (MIDDLE * spacing[2], *spacing[:2]), points)


def disc_centres(marks: NDArray[np.generic], height: int) -> dict[str, tuple[float, float, float]]:
    """Return the centre (0, row, column) of each disc of labels (Z,Y,X) in RPI, by name, from `disc-2` on."""
    centres = {}
    for value in np.unique(marks):
        if NO_DISC < value < FIRST_NO_DISC:
            z, y, _x = (float(each.mean()) for each in np.nonzero(marks == value))
            centres[f"disc-{int(value)}"] = (0.0, height - 1 - z, y)
    return centres


def to_rpi(
    array: NDArray[np.generic], volume: NiftiImage
) -> tuple[NDArray[np.generic], tuple[float, float, float]]:
    """Return voxels (Z,Y,X) turned so that x runs to the left, y to the front and z to the head.

    Axes are exchanged and flipped; a tilt of less than half a right angle stays. Also returns the spacing
    (z,y,x) in mm.
    """
    direction = np.reshape(volume.direction, (3, 3))
    turn = RPI.T @ direction  # row: an axis of RPI, column: an axis of the array, both x, y, z
    order = [int(place) for place in np.abs(turn).argmax(axis=1)]
    if sorted(order) != [0, 1, 2]:
        raise UserError(
            f"{volume.path} has axes between two directions of the body, expected each nearest to one; turn "
            "the volume to RPI"
        )
    axes = [2 - order[2 - axis] for axis in range(3)]  # of the array (Z,Y,X), for z, y and x
    turned = np.transpose(array, axes)
    for axis in range(3):
        if turn[2 - axis, order[2 - axis]] < 0:
            turned = np.flip(turned, axis)
    z, y, x = (volume.spacing_mm[axis] for axis in axes)
    return turned, (z, y, x)


def build_spine_store(
    folder: SpineFolder, spec: DatasetSpec, destination: Path, *, overwrite: bool = False, workers: int = 0,
    on_progress: Callable[[int], None] = lambda _count: None,
    finish: Callable[[Store], object] | None = None,
) -> Store:  # fmt: skip
    """Check every scan, write the store and return it opened; a scan is one slice.

    Args:
        folder: the scans and their folds.
        spec: facts of the dataset; the slices' side is that of the largest, a multiple of 8.
        destination: folder of the store.
        overwrite: replace an existing store.
        workers: threads, 0 for one per usable core.
        on_progress: called with 1 after each check, and after each scan written.
        finish: as in `new_store`.

    Raises:
        UserError: as `read_spine` and `new_store`.
    """
    side = 0
    for files in folder.scans.values():
        side = max(side, *read_spine(files).image.shape)
        on_progress(1)
    facts = replace(spec, fold_borders=folder.fold_borders, image_size=-(-side // 8) * 8)
    value = next(iter(facts.classes.values()))
    with new_store(destination, facts, overwrite=overwrite, prepared_by="fewshot", finish=finish) as writer:
        for scan, files in folder.scans.items():
            made = read_spine(files)
            image = np.zeros((1, facts.image_size, facts.image_size), dtype=np.float32)
            image[0, : made.image.shape[0], : made.image.shape[1]] = made.image
            labels = disc_masks(made.points.values(), (1, facts.image_size, facts.image_size), value)
            threshold = threshold_of(image, facts.patient_threshold, facts.modality)
            superpixels = volume_superpixels(image, threshold, facts.superpixel_min_size, workers)
            writer.add(
                SourceScan(
                    scan, image, labels, superpixels, made.spacing_mm, (0.0, 0.0, 0.0), UNIT_DIRECTION,
                    sha256_of(files.image), sha256_of(files.labels), points=made.points,
                )
            )  # fmt: skip
            on_progress(1)
    return Store.open(destination)


def same_spines(store: Store, folder: SpineFolder) -> bool:
    """Return whether a store was prepared from exactly these files."""
    hashes = {scan: (sha256_of(files.image), sha256_of(files.labels)) for scan, files in folder.scans.items()}
    return store.sources() == hashes and store.spec.fold_borders == folder.fold_borders


def _size(volume: NiftiImage) -> str:
    return " x ".join(map(str, volume.array.shape))
