"""Functions of SimpleITK: resampling, and reading DICOM slices, PNG masks, NRRD and MetaImage volumes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from episodes.io.geometry import Grid, affine_of, grid_of_affine
from episodes.io.nifti import NiftiImage, after_step
from episodes.io.original_grid import Resample
from fewshot.base.errors import UserError
from fewshot.files.input_files import check_file, file_kind

MOST_PIXELS = 1 << 26  # of a slice or picture: 8,192 x 8,192
MOST_VOXELS = 1 << 28  # of a volume, 2 GiB of 64 bits each
ITK_READERS = {".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}
EXPECTED = {  # reader -> what `file_kind` calls its files
    "GDCMImageIO": "a DICOM file",
    "PNGImageIO": "a PNG picture",
    "NrrdImageIO": "an NRRD file",
}
sitk.ProcessObject.SetGlobalWarningDisplay(False)  # type: ignore[no-untyped-call]  # messages are one line, and are ours


def resample(
    volume: NiftiImage, spacing_mm: tuple[float, float, float], size: tuple[int, int, int]
) -> NiftiImage:
    """Return `volume` linearly resampled to `spacing_mm` and `size`, both (z,y,x), in its own dtype.

    Origin and direction stay; voxels outside the input are 0.
    """
    grid = _empty_image(size, spacing_mm, volume)
    array = _onto(volume, grid)
    z, y, x = (after / before for after, before in zip(spacing_mm, volume.spacing_mm, strict=True))
    depth, height, width = volume.array.shape
    step = Resample((depth, height, width), size, (z, y, x))
    return after_step(volume, step, array=array, spacing_mm=spacing_mm)


def resample_onto(volume: NiftiImage, reference: NiftiImage) -> NiftiImage:
    """Return `volume` linearly resampled to the voxel grid of `reference`, in its own dtype, 0 outside."""
    shape = (reference.array.shape[0], reference.array.shape[1], reference.array.shape[2])
    grid = _empty_image(shape, reference.spacing_mm, reference)
    return replace(reference, path=volume.path, array=_onto(volume, grid))


def _empty_image(size: tuple[int, int, int], spacing_mm: tuple[float, float, float], like: NiftiImage) -> Any:
    """Return an empty image: size and spacing (z,y,x), origin and direction of `like`."""
    image = sitk.Image(list(size[::-1]), sitk.sitkUInt8)  # type: ignore[no-untyped-call]
    _set_geometry(image, spacing_mm, like)
    return image


def _onto(volume: NiftiImage, grid: Any) -> NDArray[Any]:
    image: Any = sitk.GetImageFromArray(volume.array)
    _set_geometry(image, volume.spacing_mm, volume)
    identity = sitk.Transform()  # type: ignore[no-untyped-call]
    moved = sitk.Resample(image, grid, identity, sitk.sitkLinear, 0.0, image.GetPixelID())
    array: NDArray[Any] = sitk.GetArrayFromImage(moved)
    return array


def _set_geometry(image: Any, spacing_mm: tuple[float, float, float], like: NiftiImage) -> None:
    image.SetSpacing(spacing_mm[::-1])
    image.SetOrigin(like.origin)
    # headers hold rounded directions; ITK requires orthogonal ones
    u, _, v = np.linalg.svd(np.asarray(like.direction, dtype=np.float64).reshape(3, 3))
    image.SetDirection((u @ v).ravel().tolist())


@dataclass(frozen=True)
class DicomSlice:
    """One DICOM slice: pixels (Y,X), spacing (y,x) in mm, and its position in the patient's L-P-S frame.

    `position`: (x,y,z) of the first pixel in mm; `orientation`: direction of rows, then of columns.
    """

    path: Path
    pixels: NDArray[Any]
    spacing_mm: tuple[float, float]
    position: tuple[float, float, float]
    orientation: tuple[float, ...]
    series: str
    echo_time: str


def read_dicom_slice(path: Path) -> DicomSlice:
    """Return a DICOM slice.

    Raises `UserError` for another file, several frames, colours, and a missing position or orientation.
    """
    image = _read(path, "GDCMImageIO", "DICOM slice")
    array = _one_channel(path, image)
    if array.shape[:-2] not in ((), (1,)):
        raise UserError(f"{path} holds an array of shape {array.shape}, expected one slice; split it")
    height, width = array.shape[-2:]
    row_spacing, column_spacing = _tag(path, image, "0028|0030", "pixel spacing", 2)
    x, y, z = _tag(path, image, "0020|0032", "position", 3)
    return DicomSlice(
        path=path,
        pixels=array.reshape(height, width),
        spacing_mm=(row_spacing, column_spacing),
        position=(x, y, z),
        orientation=_tag(path, image, "0020|0037", "orientation", 6),
        series=_text(image, "0020|000e"),
        echo_time=_text(image, "0018|0081"),
    )


def read_picture(path: Path) -> NDArray[Any]:
    """Return a grey PNG (Y,X) in its own dtype; `UserError` for another file and for colours."""
    return _one_channel(path, _read(path, "PNGImageIO", "PNG picture"))


def read_itk(path: Path, channel: int | None = None) -> NiftiImage:
    """Return the volume of an NRRD or MetaImage file (.nrrd, .nhdr, .mha, .mhd), its grid checked.

    Args:
        path: the file.
        channel: of several channels or frames, the one to read, from 0; None: the file has one.

    Raises:
        UserError: the file is missing, damaged, of another kind or too large, is not three-dimensional, has
            no such channel, or no usable geometry (`grid_of_affine`).
    """
    image = _read(path, ITK_READERS[path.suffix.lower()], "volume", MOST_VOXELS)
    array: NDArray[Any] = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)
    frames = math.prod(array.shape[:-3])
    if array.ndim < 3 or (channel is None and frames != 1):
        raise UserError(
            f"{path} holds an array of shape {array.shape}, expected three dimensions; split it, or "
            "give an image's --channel to segment or prepare --spec"
        )
    if channel is not None and not 0 <= channel < frames:
        raise UserError(
            f"{path} holds {frames} channels, so it has no channel {channel}; give one from 0 to {frames - 1}"
        )
    array = array.reshape(-1, *array.shape[-3:])[channel or 0]
    size = image.GetDimension()
    direction = np.reshape(image.GetDirection(), (size, size))[:3, :3]
    x, y, z = (float(value) for value in image.GetSpacing()[:3])
    first, second, third = (float(value) for value in image.GetOrigin()[:3])
    placed = Grid((z, y, x), (first, second, third), tuple(direction.ravel().tolist()))
    grid = grid_of_affine(path, affine_of(placed), (x, y, z))
    return NiftiImage(
        path, np.ascontiguousarray(array), grid.spacing_mm, grid.origin, grid.direction,
        affine_of(placed) if grid.tilted else None, grid.warnings,
    )  # fmt: skip


def count_channels(path: Path) -> int:
    """Return the number of channels or frames of an NRRD or MetaImage file, by its header."""
    file = _header(path, ITK_READERS[path.suffix.lower()], "volume")
    return int(file.GetNumberOfComponents() * math.prod(file.GetSize()[3:]))


def _header(path: Path, reader: str, what: str) -> Any:
    """Return a reader that has read the header of a file."""
    if check_file(path) == 0:
        raise UserError(f"{path} is an empty file, expected a {what}; fetch it again")
    file: Any = sitk.ImageFileReader()  # type: ignore[no-untyped-call]
    file.SetFileName(str(path))
    file.SetImageIO(reader)
    try:
        file.ReadImageInformation()
    except Exception as error:  # SimpleITK's exceptions are not listed anywhere
        raise _unreadable(path, reader, what) from error
    return file


def _unreadable(path: Path, reader: str, what: str) -> UserError:
    kind = file_kind(path)
    found = "damaged" if kind == EXPECTED.get(reader) else kind
    return UserError(f"{path} cannot be read as a {what}: it is {found}; fetch it again")


def _read(path: Path, reader: str, what: str, most: int = MOST_PIXELS) -> Any:
    """Return the image in a file; its size is checked by the header before anything is allocated."""
    file = _header(path, reader, what)
    size = file.GetSize()
    if math.prod(size) * file.GetNumberOfComponents() > most:
        raise UserError(f"{path} has {size} pixels, expected {most} or fewer in all; crop it")
    try:
        image: Any = file.Execute()
    except Exception as error:  # SimpleITK's exceptions are not listed anywhere
        raise _unreadable(path, reader, what) from error
    return image


def _one_channel(path: Path, image: Any) -> NDArray[Any]:
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise UserError(
            f"{path} has {image.GetNumberOfComponentsPerPixel()} values per pixel, as colour pictures have, "
            "expected one; convert it to grey values"
        )
    array: NDArray[Any] = sitk.GetArrayFromImage(image)
    return array


def _text(image: Any, tag: str) -> str:
    return str(image.GetMetaData(tag)).strip() if image.HasMetaDataKey(tag) else ""


def _tag(path: Path, image: Any, tag: str, what: str, count: int) -> tuple[float, ...]:
    text = _text(image, tag)
    try:
        numbers = tuple(float(part) for part in text.split("\\")) if text else ()
    except ValueError:
        numbers = ()
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise UserError(
            f"{path}: {what} ({tag}) is {text!r}, expected {count} numbers; fetch the slice again"
        )
    return numbers
