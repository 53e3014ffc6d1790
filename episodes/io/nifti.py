"""NIfTI volumes: reading within limits, checks of image and label pairs, atomic writing."""

from __future__ import annotations

import gzip
import logging
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from episodes.io.geometry import Grid, affine_of, grid_difference, grid_of_affine
from episodes.io.original_grid import OriginalGrid, Step
from fewshot.base.errors import UserError, listed
from fewshot.files.atomic_io import atomic_write
from fewshot.files.input_files import check_file, kind_of_bytes

logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # the checks here name the file
MOST_BYTES = 1 << 31  # of the voxels in memory
GZIP_RATIO = 1032  # deflate never compresses more
LABEL_TOLERANCE = 1e-3  # a label value this near to an integer is that integer
MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # code of xyzt_units -> mm
FORMATS: dict[int, tuple[Any, Any, int]] = {348: (nibabel.Nifti1Image, nibabel.Nifti1Header, 352), 540: (
    nibabel.Nifti2Image, nibabel.Nifti2Header, 544)}  # fmt: skip


@dataclass(frozen=True)
class NiftiImage:
    """A volume as stored in its file, or after steps of preparation.

    `array` (Z,Y,X) in the file's own dtype and array order, not reoriented; `spacing_mm` (z,y,x). `origin`
    (x,y,z) in mm and `direction`, a 3x3 matrix row by row, are in the patient's L-P-S frame, as in SimpleITK
    and DICOM. `affine`: of a file with tilted slices, its own affine (4,4) in mm and R-A-S, which `direction`
    cannot hold; else None. `warnings`: on the header, one line each, without the file's name. `original`: the
    file's grid and the steps since, None before the first step (`original_of`).
    """

    path: Path
    array: NDArray[Any]
    spacing_mm: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]
    affine: NDArray[np.float64] | None = None
    warnings: tuple[str, ...] = ()
    original: OriginalGrid | None = None


def original_of(volume: NiftiImage, label: str = "") -> OriginalGrid:
    """Return the original grid of a volume; of one as in its file, that grid without steps.

    `label` is the name of the label's file, kept beside that of the image.
    """
    if volume.original is not None:
        return replace(volume.original, label=label or volume.original.label)
    depth, height, width = volume.array.shape
    return OriginalGrid(
        image=volume.path.name,
        label=label,
        suffix=suffix_of(volume.path),
        shape=(depth, height, width),
        spacing_mm=volume.spacing_mm,
        origin=volume.origin,
        direction=volume.direction,
        affine=None if volume.affine is None else tuple(float(value) for value in volume.affine.ravel()),
    )


def after_step(volume: NiftiImage, step: Step, **changes: Any) -> NiftiImage:
    """Return the volume with `changes` of its fields and `step` added to the steps of its original grid."""
    original = original_of(volume)
    return replace(volume, original=replace(original, steps=(*original.steps, step)), **changes)


def suffix_of(path: Path) -> str:
    """Return the ending of a file's name that gives its format, such as .nii.gz; "" for a folder."""
    return (
        "" if path.is_dir() else "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:])
    )


def read_nifti(path: Path, frame: int | None = None) -> NiftiImage:
    """Return the volume in `path`, compressed or not, whatever its name ends in.

    Sizes are checked by the header before anything is allocated. Positions in metres or micrometres become
    mm. Four dimensions with a single frame are three.

    Args:
        path: the file.
        frame: of several frames or channels, the one to read, from 0; None: the file has one.

    Raises:
        UserError: the file is missing, of another kind, truncated, damaged, larger than 2 GiB in memory or
            not three-dimensional, or its header has no usable geometry (`grid_of_affine`).
    """
    size = check_file(path)
    try:
        with path.open("rb") as file:
            return _read(path, file, size, frame)
    except (OSError, MemoryError) as error:
        raise _unreadable(path, error) from error


def count_frames(path: Path) -> int:
    """Return the number of frames or channels of a NIfTI file by its header; errors as `read_nifti`."""
    check_file(path)
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            start = (gzip.GzipFile(fileobj=file) if compressed else file).read(1024)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error
    _image_class, header, _offset = _header(path, start)
    return math.prod(_sizes(path, header)[3:])


def read_label(path: Path) -> NiftiImage:
    """Return the label map in `path`; values within 0.001 of an integer are that integer.

    Errors as `read_nifti`. Other values, NaN among them, stay as they are: `check_pair` refuses them.
    """
    return with_whole_labels(read_nifti(path))


def with_whole_labels(label: NiftiImage) -> NiftiImage:
    """Return a label map whose values within 0.001 of an integer are that integer; others stay."""
    if label.array.dtype.kind != "f":
        return label
    whole = np.rint(label.array)
    with np.errstate(invalid="ignore"):
        near = np.abs(label.array - whole) <= LABEL_TOLERANCE
    if not near.all() or np.abs(whole).max() > 2**31 - 1:
        return label
    return replace(label, array=whole.astype(np.int32))


def _read(path: Path, file: IO[bytes], size: int, frame: int | None) -> NiftiImage:
    beginning = file.read(1024)
    file.seek(0)
    compressed = beginning.startswith(b"\x1f\x8b")
    stream: IO[bytes] = gzip.GzipFile(fileobj=file) if compressed else file  # type: ignore[assignment]
    try:
        start = stream.read(1024)
        stream.seek(0)
    except Exception as error:  # the decompressor's exceptions are not listed anywhere
        raise _unreadable(path, error) from error
    image_class, header, least_offset = _header(path, start)
    item, shape, frames = _voxel_layout(path, header, frame)
    offset = _number(header, "vox_offset") or least_offset
    if not math.isfinite(offset) or offset < least_offset:
        raise UserError(f"{path}: voxels begin at byte {offset:g}, expected {least_offset} or more; mend it")
    needed = int(offset) + math.prod(shape) * math.prod(frames) * item
    if needed > (size * GZIP_RATIO if compressed else size):
        raise UserError(
            f"{path}: truncated: its header needs {needed} bytes for {shape} voxels, the file "
            f"{'cannot hold them compressed in' if compressed else 'has'} {size}; fetch it again"
        )
    try:
        image = image_class.from_stream(stream)
        if math.prod(frames) == 1:
            array = np.asanyarray(image.dataobj).reshape(shape)
        else:
            place = np.unravel_index(frame or 0, frames, order="F")
            array = np.asanyarray(image.dataobj[(..., *(int(index) for index in place))])
        affine = np.asarray(image.affine, dtype=np.float64)
        slice_bytes = shape[0] * shape[1] * item
        stream.seek(needed)
        rest = len(stream.read(slice_bytes))
        if compressed and rest < slice_bytes:
            stream.read(1)  # the end of the stream: its checksum is verified
    except Exception as error:  # nibabel's exceptions are not listed anywhere
        raise _unreadable(path, error) from error
    if rest >= slice_bytes:
        raise UserError(
            f"{path}: holds at least a slice more than its header says, {shape} voxels; mend the header"
        )
    grid = _grid(path, header, affine)
    return NiftiImage(
        path=path,
        array=np.ascontiguousarray(array.T, dtype=array.dtype.newbyteorder("=")),
        spacing_mm=grid.spacing_mm,
        origin=grid.origin,
        direction=grid.direction,
        affine=_in_mm(header, affine) if grid.tilted else None,
        warnings=grid.warnings,
    )


def _header(path: Path, start: bytes) -> tuple[Any, Any, int]:
    """Return image class, unchecked header and least offset of the voxels, from a file's first 1024 bytes."""
    for order in "<>":
        length = struct.unpack(f"{order}i", start[:4])[0] if len(start) >= 4 else 0
        if length in FORMATS and len(start) >= length:
            image_class, header_class, least_offset = FORMATS[length]
            header: Any = header_class(start[:length], endianness=order, check=False)
            magic = bytes(header["magic"].tobytes())[:3]
            if magic in (b"n+1", b"n+2"):
                return image_class, header, least_offset
            if magic in (b"ni1", b"ni2"):
                raise UserError(f"{path} is the header of a pair .hdr and .img; convert the pair to .nii.gz")
            raise UserError(
                f"{path} is an Analyze file, which has no orientation, or damaged; expected a NIfTI file"
            )
    kind = kind_of_bytes(start)
    found = (
        "damaged, or a file of another kind" if kind in ("a NIfTI file", "a file of another kind") else kind
    )
    raise UserError(f"{path} is {found}, expected a NIfTI file; fetch it again")


def _sizes(path: Path, header: Any) -> tuple[int, ...]:
    """Return all sizes of a header, x first; `UserError` if they are no sizes."""
    dimensions = int(header["dim"][0])
    sizes = tuple(int(size) for size in header["dim"][1 : max(0, min(dimensions, 7)) + 1])
    if not 1 <= dimensions <= 7 or min(sizes) < 1:
        raise UserError(f"{path}: header gives the sizes {sizes}, expected three of at least 1; mend it")
    return sizes


def _voxel_layout(path: Path, header: Any, frame: int | None) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Return bytes per voxel, sizes (x,y,z) and frames of a header; `UserError` if it is no usable volume."""
    sizes = _sizes(path, header)
    if len(sizes) < 3 or (frame is None and any(size != 1 for size in sizes[3:])):
        raise UserError(
            f"{path}: holds an array of shape {sizes}, expected three dimensions; split it, or "
            "give an image's --channel to segment or prepare --spec"
        )
    if frame is not None and not 0 <= frame < math.prod(sizes[3:]):
        raise UserError(
            f"{path}: holds {math.prod(sizes[3:])} frames, so it has no frame {frame}; give one from 0 to "
            f"{math.prod(sizes[3:]) - 1}"
        )
    code = int(header["datatype"])
    try:
        dtype = np.dtype(header.get_data_dtype())
    except (HeaderDataError, KeyError):
        raise UserError(f"{path}: header gives voxels of the unknown type {code}; convert it") from None
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise UserError(
            f"{path}: voxels are of type {dtype}, expected integers or floats of up to 64 bits; convert it"
        )
    scaled = _number(header, "scl_slope") not in (0.0, 1.0) or _number(header, "scl_inter") != 0.0
    if not all(math.isfinite(_number(header, name)) for name in ("scl_slope", "scl_inter")):
        raise UserError(f"{path}: header gives an infinite slope or intercept; mend it, or convert it again")
    in_memory = math.prod(sizes[:3]) * (8 if scaled else dtype.itemsize)
    if in_memory > MOST_BYTES:
        raise UserError(
            f"{path}: header gives {sizes} voxels, {in_memory} bytes in memory, expected {MOST_BYTES} or "
            "fewer; mend the header, or crop the volume"
        )
    return dtype.itemsize, sizes[:3], sizes[3:]


def _grid(path: Path, header: Any, affine: NDArray[np.float64]) -> Grid:
    """Return the grid of a header whose best affine, in the file's unit, is `affine`."""
    unit = int(header["xyzt_units"]) & 7
    warnings = []
    if unit not in MM_PER_UNIT:
        warnings.append(f"header gives the unknown unit {unit} of length; mm are assumed")
    scale = MM_PER_UNIT.get(unit, 1.0)
    sizes = [float(size) for size in header["pixdim"][1:4]]
    if not all(math.isfinite(size) and size > 0 for size in sizes):
        x, y, z = sizes
        raise UserError(
            f"{path}: header gives spacing ({z:g}, {y:g}, {x:g}) (z,y,x) in pixdim, expected numbers above "
            "0; mend its header"
        )
    x, y, z = (size if scale == 1 else float(np.float32(size * scale)) for size in sizes)
    affine = _in_mm(header, affine)
    q_code, s_code = int(header["qform_code"]), int(header["sform_code"])
    if q_code <= 0 and s_code <= 0:
        warnings.append("header has neither qform nor sform: the axes' directions are not known")
    if q_code > 0 and s_code > 0:
        warnings += _qform_warnings(header, affine, scale)
    grid = grid_of_affine(path, affine, (x, y, z))
    return replace(grid, warnings=(*warnings, *grid.warnings))


def _qform_warnings(header: Any, affine: NDArray[np.float64], scale: float) -> list[str]:
    """Return a warning if the qform places the scan otherwise than `affine`, the sform in mm."""
    try:
        other = np.asarray(header.get_qform(), dtype=np.float64)
    except (ValueError, HeaderDataError):
        return ["qform holds no rotation; the sform is used"]
    other[:3] *= scale
    columns = [np.linalg.norm(each[:3, :3], axis=0) for each in (affine, other)]
    if not all(np.isfinite(column).all() and column.all() for column in columns):
        return []  # grid_of_affine refuses the sform; a qform of zeros cannot be
    turned = np.abs(affine[:3, :3] / columns[0] - other[:3, :3] / columns[1]).max()
    moved = float(np.linalg.norm(affine[:3, 3] - other[:3, 3]))
    if turned <= 1e-2 and moved <= 0.1 * columns[0].min():
        return []
    return [
        f"qform and sform differ: by up to {turned:.3g} in an entry of the axes, {moved:.4g} mm in the "
        "origin; the sform is used"
    ]


def _in_mm(header: Any, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled = affine.copy()
    scaled[:3] *= MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    return scaled


def _number(header: Any, field: str) -> float:
    """Return a number of a header; NaN counts as 0, as in nibabel."""
    value = float(header[field])
    return 0.0 if math.isnan(value) else value


def _unreadable(path: Path, error: BaseException) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(
        f"{path}: unreadable or truncated ({reason}); expected a whole NIfTI file, fetch it again"
    )


def write_nifti(
    path: Path,
    array: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    origin: tuple[float, float, float],
    direction: tuple[float, ...],
    affine: NDArray[np.float64] | None = None,
) -> None:
    """Write `array` (Z,Y,X) to `path` atomically, compressed if the name ends in .gz.

    The geometry is that of `NiftiImage`; equal input gives equal bytes. A bool array is stored as uint8. With
    an `affine` the file has it in place of the other three, and no qform, which cannot hold a tilt.
    """
    stored = array.astype(np.uint8) if array.dtype == np.bool_ else array
    tilted = affine is not None
    if affine is None:
        affine = affine_of(Grid(spacing_mm, origin, direction))
    image = nibabel.Nifti1Image(stored.T, affine, dtype=stored.dtype)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    image.set_sform(affine, code=1)  # type: ignore[no-untyped-call]
    image.set_qform(None if tilted else affine, code=0 if tilted else 1)  # type: ignore[no-untyped-call]
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
        UserError: shape, spacing, direction or origin differ beyond rounding, a voxel is NaN or infinite, or
            a label value is neither 0 nor known.
    """
    if image.array.shape != label.array.shape:
        raise UserError(
            f"scan {scan_id}: {label.path} has shape {label.array.shape} (z,y,x), expected "
            f"{image.array.shape} as {image.path.name} has; prepare both in the same way"
        )
    difference = grid_difference(label, image)
    if difference is not None:
        raise UserError(
            f"scan {scan_id}: {label.path} has {difference} as {image.path.name} has; prepare both in the "
            "same way"
        )
    for volume in (image, label):
        check_finite_voxels(volume, f"scan {scan_id}: ")
    known = {0, *known_values.values()}
    unknown = [value for value in np.unique(label.array).tolist() if value not in known]
    if unknown:
        names = listed(f"{value:g} {name}" for name, value in known_values.items())
        raise UserError(
            f"scan {scan_id}: {label.path} holds the unknown label value {unknown[0]:.17g}; known: "
            f"0 background, {names}; check that the folder is of this dataset"
        )


def check_finite_voxels(volume: NiftiImage, prefix: str = "") -> None:
    """Raise `UserError`, beginning with `prefix`, if a voxel of the volume is NaN or infinite."""
    finite = np.isfinite(volume.array)
    if not finite.all():
        z, y, x = (int(place) for place in np.argwhere(~finite)[0])
        raise UserError(
            f"{prefix}{volume.path} has {int((~finite).sum())} voxels that are NaN or infinite, the first at "
            f"(z,y,x) = ({z}, {y}, {x}); expected finite values, prepare the scan again"
        )
