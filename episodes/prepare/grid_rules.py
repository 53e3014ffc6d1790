"""Rules on the grid of a user's scans: axes turned, slices along another axis, resampling. Off by default.

Every function returns a new volume whose original grid has the step, so that masks can be put back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from episodes.io.nifti import NiftiImage, after_step
from episodes.io.original_grid import Reorient
from episodes.io.simpleitk_io import resample
from episodes.prepare.crop_pad import square_pair
from episodes.prepare.scan import PreparedPair, RawScan
from episodes.store.dataset import DatasetSpec, in_plane_ending
from fewshot.base.errors import UserError

AXES = {"z": (0, 1, 2), "y": (1, 0, 2), "x": (2, 0, 1)}  # slice axis -> axes (z,y,x) in their new order
DIRECTIONS = ("left to right", "front to back", "foot to head")
LEAST_SIZE = 8


def image_on_grid(image: NiftiImage, spec: DatasetSpec) -> NiftiImage:
    """Return an image turned, and resampled linearly, as the facts say.

    Raises `UserError` if the facts want axial slices of a file whose header has no axes.
    """
    turned = _turned(image, spec)
    return _resampled(turned, spec.resample_mm)


def label_on_grid(label: NiftiImage, spec: DatasetSpec) -> NiftiImage:
    """Return a label map turned, and resampled class by class, as the facts say."""
    return _resampled_classes(_turned(label, spec), spec.classes, spec.resample_mm)


def axial_warning(image: NiftiImage, spec: DatasetSpec) -> tuple[str, ...]:
    """Return a warning if slices of an abdomen do not lie from foot to head and nothing turns them."""
    if spec.orientation != "as-is" or spec.slice_axis != "z" or spec.region == "heart" or lacks_axes(image):
        return ()
    along = int(np.abs(np.reshape(image.direction, (3, 3))[:, 2]).argmax())
    if along == 2:
        return ()
    return (
        f'slices follow one another from {DIRECTIONS[along]}, so they are not axial; orientation = "axial" '
        "turns them",
    )


def lacks_axes(image: NiftiImage) -> bool:
    """Return whether the header of the image does not say how its axes lie."""
    return any("neither qform nor sform" in text for text in image.warnings)


def turn(volume: NiftiImage, axes: Sequence[int], flips: Sequence[bool]) -> NiftiImage:
    """Return the volume with its axes exchanged, then reversed; no value changes.

    Args:
        volume: the volume.
        axes: for each new axis (z,y,x) the old one.
        flips: for each new axis whether it is reversed.
    """
    z, y, x = axes
    if (z, y, x) == (0, 1, 2) and not any(flips):
        return volume
    step = Reorient((z, y, x), (flips[0], flips[1], flips[2]))
    direction = np.reshape(volume.direction, (3, 3))
    origin = np.asarray(volume.origin, dtype=np.float64)
    columns = []
    for axis, is_flipped in zip(axes, flips, strict=True):
        column = direction[:, 2 - axis]
        if is_flipped:
            origin = origin + column * volume.spacing_mm[axis] * (volume.array.shape[axis] - 1)
        columns.append(-column if is_flipped else column)
    array = np.flip(volume.array.transpose(z, y, x), tuple(axis for axis in range(3) if flips[axis]))
    first, second, third = (float(value) for value in origin)
    return after_step(
        volume,
        step,
        array=np.ascontiguousarray(array),
        spacing_mm=(volume.spacing_mm[z], volume.spacing_mm[y], volume.spacing_mm[x]),
        origin=(first, second, third),
        direction=tuple(np.stack(columns[::-1], axis=1).ravel().tolist()),
        affine=None,
    )


def _turned(volume: NiftiImage, spec: DatasetSpec) -> NiftiImage:
    if spec.orientation == "axial":
        if lacks_axes(volume):
            raise UserError(
                f'{volume.path}: header does not say how the axes lie, which orientation = "axial" needs; '
                'mend the header or choose orientation = "as-is"'
            )
        volume = axial_axes(volume)
    return turn(volume, AXES[spec.slice_axis], (False, False, False))


def axial_axes(volume: NiftiImage) -> NiftiImage:
    """Return the volume with the axes nearest to left, back and up; an oblique volume stays oblique."""
    direction = np.reshape(volume.direction, (3, 3))
    free, axes = [0, 1, 2], {}
    for _ in range(3):  # the clearest axis first, so that none is taken twice
        patient, own = max(
            ((row, column) for row in range(3) if row not in axes for column in free),
            key=lambda pair: abs(direction[pair]),
        )
        axes[patient] = own
        free.remove(own)
    order = [2 - axes[2 - axis] for axis in range(3)]
    flips = [bool(direction[2 - axis, axes[2 - axis]] < 0) for axis in range(3)]
    return turn(volume, order, flips)


def _resampled(volume: NiftiImage, spacing_mm: Sequence[float]) -> NiftiImage:
    """Return the volume at `spacing_mm` (z,y,x), 0 for an axis that stays; no voxel lies outside it."""
    if not any(spacing_mm):
        return volume
    z, y, x = (after or before for before, after in zip(volume.spacing_mm, spacing_mm, strict=True))
    depth, height, width = (
        math.floor((count - 1) * before / after + 1e-6) + 1
        for count, before, after in zip(volume.array.shape, volume.spacing_mm, (z, y, x), strict=True)
    )
    return resample(volume, (z, y, x), (depth, height, width))


def _resampled_classes(
    label: NiftiImage, classes: Mapping[str, int], spacing_mm: Sequence[float]
) -> NiftiImage:
    """Return the label at `spacing_mm`; a voxel is of the class with the largest share, if that is half."""
    if not any(spacing_mm):
        return label
    merged: NiftiImage | None = None
    largest: NDArray[np.float32] | None = None
    for value in classes.values():
        share = _resampled(replace(label, array=(label.array == value).astype(np.float32)), spacing_mm)
        if merged is None or largest is None:
            largest = np.zeros(share.array.shape, dtype=np.float32)
            merged = replace(share, array=np.zeros(share.array.shape, dtype=np.uint8))
        merged.array[(share.array >= 0.5) & (share.array > largest)] = value
        largest = np.maximum(largest, share.array)
    if merged is None:
        raise ValueError("a dataset has no class")
    return merged


def smaller_slices(
    spec: DatasetSpec, scans: Mapping[str, RawScan], in_plane_mm: float
) -> tuple[DatasetSpec, dict[str, RawScan]]:
    """Return facts and scans of a dataset whose prepared slices have pixels of `in_plane_mm`.

    The dataset has a name and so a store of its own. The slices keep their field of view: `image_size` is the
    least multiple of 8 that holds that of the scan with the largest pixels, and smaller ones are padded.
    `superpixel_min_size` shrinks with the area.

    Args:
        spec: facts of the dataset.
        scans: its scans; each is read once for its pixel size.
        in_plane_mm: pixel size in mm.

    Raises:
        UserError: the spacing is not known, or the slices would have fewer than 8 pixels a side.
    """
    if not spec.spacing_known:
        raise UserError(
            f"--in-plane-mm {in_plane_mm:g}: the spacing of {spec.name} is not known; leave it out, or "
            "prepare "
            "files with their spacing"
        )
    largest = max(max(raw.read().image.spacing_mm[1:]) for raw in scans.values())
    pixels = math.floor((spec.image_size - 1) * largest / in_plane_mm + 1e-6) + 1
    size = 8 * math.ceil(pixels / 8)
    if size <= LEAST_SIZE or in_plane_mm < largest / 4:
        raise UserError(
            f"--in-plane-mm {in_plane_mm:g} gives slices of {size} x {size} pixels from {spec.image_size} of "
            f"{largest:.3g} mm; expected {largest / 4:.3g} mm or more, and more than {LEAST_SIZE} pixels"
        )
    smaller = replace(
        spec,
        name=spec.name + in_plane_ending(in_plane_mm),
        title=f"{spec.title}, {in_plane_mm:g} mm in plane",
        image_size=size,
        superpixel_min_size=max(1, round(spec.superpixel_min_size * (size / spec.image_size) ** 2)),
        in_plane_mm=in_plane_mm,
    )
    return smaller, {scan: replace(raw, read=_reader(raw, smaller)) for scan, raw in scans.items()}


def _reader(raw: RawScan, spec: DatasetSpec) -> Callable[[], PreparedPair]:
    def read() -> PreparedPair:
        pair, spacing = raw.read(), (0.0, spec.in_plane_mm, spec.in_plane_mm)
        small = replace(
            pair,
            image=_resampled(pair.image, spacing),
            label=_resampled_classes(pair.label, spec.classes, spacing),
        )
        return replace(square_pair(small, spec.image_size), cut_off=pair.cut_off)

    return read
