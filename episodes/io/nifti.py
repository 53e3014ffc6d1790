"""NIfTI volumes: reading, checks of image and label pairs, atomic writing."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from fewshot.base.atomic_io import atomic_write
from fewshot.base.errors import UserError

# The headers of image and label may differ by rounding only. Oblique scans (CHAOS has six) pass through
# several header formats, each of which rounds.
SPACING_TOLERANCE_MM = 1e-3
DIRECTION_TOLERANCE = 1e-3
_LPS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class NiftiImage:
    """A volume as stored in its file.

    `array` (Z,Y,X) in the file's own dtype and array order, not reoriented; `spacing_mm` (z,y,x). `origin`
    (x,y,z) in mm and `direction`, a 3x3 matrix row by row, are in the patient's L-P-S frame, as in SimpleITK
    and DICOM.
    """

    path: Path
    array: NDArray[Any]
    spacing_mm: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]


def read_nifti(path: Path) -> NiftiImage:
    """Return the volume in `path`.

    Raises `UserError` naming the file if it is missing, unreadable, truncated, not three-dimensional or
    without a usable geometry.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the folder and the file's name")
    try:
        _check_whole(path)
        image = nibabel.load(path)
        stored: Any = image.dataobj  # type: ignore[attr-defined]
        array = np.asanyarray(stored)
        affine = np.asarray(image.affine, dtype=np.float64)  # type: ignore[attr-defined]
        zooms = tuple(float(size) for size in image.header.get_zooms())  # type: ignore[attr-defined]
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path}: unreadable or truncated ({reason}); wanted a whole NIfTI file, fetch it again"
        ) from error
    if array.ndim != 3 or 0 in array.shape:
        raise UserError(f"{path}: holds an array of shape {array.shape}, wanted three dimensions; split it")
    if array.dtype.kind not in "iuf":
        raise UserError(f"{path}: voxels are of type {array.dtype}, wanted integers or floats; convert it")
    columns = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and columns.all() and min(zooms) > 0 and np.isfinite(zooms).all()):
        raise UserError(f"{path}: header gives spacing {zooms} and no usable direction; mend its affine")
    direction = _LPS @ (affine[:3, :3] / columns)
    origin = _LPS @ affine[:3, 3]
    return NiftiImage(
        path=path,
        array=np.ascontiguousarray(array.T, dtype=array.dtype.newbyteorder("=")),
        spacing_mm=(zooms[2], zooms[1], zooms[0]),
        origin=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction=tuple(float(value) for value in direction.ravel()),
    )


def _check_whole(path: Path) -> None:
    """Read a compressed file to its end, which verifies its checksum; nibabel stops at the last voxel."""
    if path.suffix == ".gz":
        with gzip.open(path) as stream:
            while stream.read(1 << 20):
                pass


def write_nifti(
    path: Path,
    array: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    origin: tuple[float, float, float],
    direction: tuple[float, ...],
) -> None:
    """Write `array` (Z,Y,X) to `path` atomically, compressed if the name ends in .gz.

    The geometry is that of `NiftiImage`; equal input gives equal bytes. A bool array is stored as uint8.
    """
    stored = array.astype(np.uint8) if array.dtype == np.bool_ else array
    affine = np.eye(4)
    affine[:3, :3] = (
        _LPS @ np.asarray(direction, dtype=np.float64).reshape(3, 3) * np.asarray(spacing_mm[::-1])
    )
    affine[:3, 3] = _LPS @ np.asarray(origin, dtype=np.float64)
    image = nibabel.Nifti1Image(stored.T, affine, dtype=stored.dtype)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    image.set_sform(affine, code=1)  # type: ignore[no-untyped-call]
    image.set_qform(affine, code=1)  # type: ignore[no-untyped-call]
    content = image.to_bytes()
    if path.suffix == ".gz":
        content = gzip.compress(content, compresslevel=6, mtime=0)
    with atomic_write(path, "wb") as stream:
        stream.write(content)


def check_pair(scan_id: str, image: NiftiImage, label: NiftiImage, known_values: Mapping[str, int]) -> None:
    """Check that an image and a label belong together.

    Args:
        scan_id: id of the scan, for messages.
        image: the image.
        label: the label.
        known_values: class name -> stored value.

    Raises:
        UserError: shape, spacing or direction differ beyond rounding, a voxel is NaN or infinite, or a label
            value is neither 0 nor known.
    """
    if image.array.shape != label.array.shape:
        raise UserError(
            f"scan {scan_id}: {label.path} has shape {label.array.shape} (z,y,x), wanted {image.array.shape} "
            f"as {image.path.name} has; prepare both in the same way"
        )
    if not np.allclose(image.spacing_mm, label.spacing_mm, rtol=0, atol=SPACING_TOLERANCE_MM):
        raise UserError(
            f"scan {scan_id}: {label.path} has spacing {_numbers(label.spacing_mm)} mm (z,y,x), wanted "
            f"{_numbers(image.spacing_mm)} as {image.path.name} has; prepare both in the same way"
        )
    if not np.allclose(image.direction, label.direction, rtol=0, atol=DIRECTION_TOLERANCE):
        raise UserError(
            f"scan {scan_id}: {label.path} has direction {_numbers(label.direction)}, wanted "
            f"{_numbers(image.direction)} as {image.path.name} has; prepare both in the same way"
        )
    for volume in (image, label):
        finite = np.isfinite(volume.array)
        if not finite.all():
            z, y, x = (int(place) for place in np.argwhere(~finite)[0])
            raise UserError(
                f"scan {scan_id}: {volume.path} has {int((~finite).sum())} voxels that are NaN or infinite, "
                f"the first at (z,y,x) = ({z}, {y}, {x}); wanted finite values, prepare the scan again"
            )
    known = {0, *known_values.values()}
    unknown = [value for value in np.unique(label.array).tolist() if value not in known]
    if unknown:
        names = ", ".join(f"{value} {name}" for name, value in known_values.items())
        raise UserError(
            f"scan {scan_id}: {label.path} holds the unknown label value {unknown[0]:g}; known: "
            f"0 background, {names}; check that the folder is of this dataset"
        )


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
