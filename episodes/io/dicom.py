"""Read a folder of DICOM slices as one volume, or report why its slices do not form one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from episodes.io.geometry import DIRECTION_TOLERANCE, LEAST_TILT, MOST_TILT, check_spacing, tilt_warning
from episodes.io.nifti import NiftiImage
from episodes.io.simpleitk_io import DicomSlice, read_dicom_slice
from fewshot.base.errors import UserError, numbers_apart

GAP_TOLERANCE = 0.05  # fraction of the slice distance; files hold rounded positions
AXIAL = 0.7  # cosine of the largest tilt, about 45 degrees
MOST_JITTER_MM = 1.0  # of a slice's position against a straight line through all slices


def read_series(files: Sequence[Path], *, axial: bool = True) -> tuple[NiftiImage, list[Path]]:
    """Return the volume (Z,Y,X) of DICOM slices, sorted along their normal, and the files in that order.

    A series with gantry tilt has a warning: each slice is shifted against the next, which is not undone.
    Slices may differ in slope, intercept and pixel type. Raises `UserError` for fewer than two slices, slices
    of several series, a missing slice, two slices at one position, slices that lie on no straight line, and
    with `axial` a series that is not axial.
    """
    folder = files[0].parent
    if len(files) < 2:
        raise UserError(f"{folder} holds one DICOM slice, expected a series; complete the download")
    slices = [read_dicom_slice(file) for file in files]
    _check_one_series(folder, slices)
    row, column = np.array(slices[0].orientation[:3]), np.array(slices[0].orientation[3:])
    normal = np.cross(row, column)
    lengths = np.array([row @ row, column @ column, 1 + row @ column])
    if np.abs(lengths - 1).max() > 10 * DIRECTION_TOLERANCE:
        raise UserError(
            f"{slices[0].path}: orientation {_numbers(slices[0].orientation)}, expected two orthogonal unit "
            "vectors; fetch the slice again"
        )
    if axial and (row[0] < AXIAL or column[1] < AXIAL or normal[2] < AXIAL):
        raise UserError(
            f"{folder}: slices have orientation {_numbers(slices[0].orientation)}, expected an axial series "
            "with rows to the left and columns to the back; choose another series"
        )
    heights = np.array([normal @ found.position for found in slices])
    order = np.argsort(heights, kind="stable")
    slices = [slices[index] for index in order]
    step = _distance(folder, heights[order], slices)
    check_spacing(folder, (step, *slices[0].spacing_mm))
    x, y, z = slices[0].position
    kind = np.result_type(*{found.pixels.dtype for found in slices})
    volume = NiftiImage(
        path=folder,
        array=np.stack([found.pixels for found in slices]).astype(kind, copy=False),
        spacing_mm=(_single(step), _single(slices[0].spacing_mm[0]), _single(slices[0].spacing_mm[1])),
        origin=(x, y, z),
        direction=tuple(np.stack([row, column, normal], axis=1).ravel().tolist()),
        warnings=_tilt(folder, slices, normal, step),
    )
    return volume, [found.path for found in slices]


def _check_one_series(folder: Path, slices: Sequence[DicomSlice]) -> None:
    first = slices[0]
    for other in slices[1:]:
        for what, a, b in (
            ("size", first.pixels.shape, other.pixels.shape),
            ("echo time", first.echo_time, other.echo_time),
        ):
            if a != b and not _equal_numbers(a, b):
                raise _mixed(folder, first, other, what, str(a), str(b))
        for what, c, d in (
            ("spacing", first.spacing_mm, other.spacing_mm),
            ("orientation", first.orientation, other.orientation),
        ):
            if not np.allclose(c, d, rtol=0, atol=1e-3):
                raise _mixed(folder, first, other, what, *numbers_apart(c, d))
    # anonymised downloads may give each slice its own series UID; that is not a mixed series
    series = {found.series for found in slices}
    if 1 < len(series) < len(slices):
        other = next(found for found in slices if found.series != first.series)
        raise _mixed(folder, first, other, "series", first.series, other.series)


def _mixed(folder: Path, first: DicomSlice, other: DicomSlice, what: str, a: str, b: str) -> UserError:
    return UserError(
        f"{folder} mixes series: {first.path.name} has {what} {a}, {other.path.name} has {b}; "
        "leave the slices of one series"
    )


def _equal_numbers(a: object, b: object) -> bool:
    """Return whether two texts are the same number, as 80 and 80.0 are."""
    try:
        return float(str(a)) == float(str(b))
    except ValueError:
        return False


def _tilt(
    folder: Path, slices: Sequence[DicomSlice], normal: NDArray[np.float64], step: float
) -> tuple[str, ...]:
    """Return the warning on a series whose slices are shifted in their plane, one against the next."""
    positions = np.array([found.position for found in slices])
    sideways = positions - np.outer(positions @ normal, normal)
    shifts = np.diff(sideways, axis=0)
    mean = shifts.mean(axis=0)
    line = sideways[0] + np.outer(np.arange(len(slices)), mean)
    worst = int(np.abs(sideways - line).max(axis=1).argmax())
    off = float(np.abs(sideways[worst] - line[worst]).max())
    shift = float(np.linalg.norm(mean)) / step
    if off > MOST_JITTER_MM or shift > MOST_TILT:
        where = f"{slices[worst].path.name} lies {off:.4g} mm beside the line" if off > MOST_JITTER_MM else (
            f"slices are shifted by {shift:.3g} slice distances each"
        )  # fmt: skip
        raise UserError(f"{folder}: {where}, expected slices above one another; choose another series")
    return (tilt_warning(shift, step),) if shift > LEAST_TILT else ()


def _distance(folder: Path, heights: NDArray[np.float64], slices: Sequence[DicomSlice]) -> float:
    """Return the mean distance between slices in mm; raise `UserError` if the distances differ."""
    steps = np.diff(heights)
    usual = float(np.median(steps))
    for index, step in enumerate(steps.tolist()):
        below, above = slices[index].path.name, slices[index + 1].path.name
        if step < 0.5 * usual or step <= 1e-3:
            raise UserError(
                f"{folder} mixes series: {below} and {above} lie {step:.6g} mm apart, expected {usual:.6g} "
                "mm as the others; leave the slices of one series"
            )
        if abs(step - usual) > GAP_TOLERANCE * usual:
            raise UserError(
                f"{folder}: a slice is missing between {below} and {above}, {step:.6g} mm apart, expected "
                f"{usual:.6g} mm as the others; complete the download"
            )
    return float((heights[-1] - heights[0]) / len(steps))


def _single(value: float) -> float:
    """Round to float32 as a NIfTI header does: the released grids were computed from rounded spacings."""
    return float(np.float32(value))


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
