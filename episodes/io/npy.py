"""NumPy files: writing with a sha256 and the reason of a failure, reading with checked sizes and types."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fewshot.base.errors import UserError
from fewshot.files.input_files import check_file, file_kind

MOST_BYTES = 1 << 31  # of the arrays of one .npz file, unpacked


def write_npy(stream: IO[bytes], array: NDArray[Any]) -> str:
    """Write a .npy file to `stream` and return its sha256; numpy's writer hides why it failed."""
    array = np.ascontiguousarray(array)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    digest = hashlib.sha256()
    for part in (header.getvalue(), array.data):
        stream.write(part)
        digest.update(part)
    return digest.hexdigest()


def map_npy(path: Path, shape: Sequence[int], dtype: str | None, remedy: str) -> NDArray[Any]:
    """Return the memory-mapped array of a .npy file; nothing is allocated.

    Args:
        path: the file.
        shape: the expected shape.
        dtype: the expected type by name; None: any integers or floats.
        remedy: what the user can do, for messages.

    Raises:
        UserError: the file is missing, damaged or of another kind, or has another shape or type.
    """
    check_file(path, remedy)
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        kind = array.dtype
    except Exception as error:  # numpy's exceptions are not listed anywhere
        found = file_kind(path)
        what = "damaged" if found == "a NumPy array" else found
        raise UserError(f"{path} is {what}, expected a NumPy array; {remedy}") from error
    if list(array.shape) != list(shape):
        raise UserError(f"{path} has shape {array.shape}, index.json says {list(shape)}; {remedy}")
    if kind.kind not in "iuf" or (dtype is not None and kind.name != dtype):
        raise UserError(f"{path} has type {kind}, expected {dtype or 'integers or floats'}; {remedy}")
    return array


def read_npz(path: Path, remedy: str) -> dict[str, NDArray[Any]]:
    """Return name -> array of a .npz file whose arrays take at most 2 GiB.

    Raises `UserError` if the file is missing, damaged, of another kind or larger.
    """
    check_file(path, remedy)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MOST_BYTES:
            raise UserError(f"{path} holds {size} bytes unpacked, expected {MOST_BYTES} or fewer; {remedy}")
        with np.load(path, allow_pickle=False) as file:
            _check_headers(path, file.zip, remedy)
            return dict(file.items())
    except UserError:
        raise
    except Exception as error:  # numpy's and zipfile's exceptions are not listed anywhere
        found = file_kind(path)
        what = f"damaged ({error})" if found == "a ZIP archive" else found
        raise UserError(f"{path} is {what}, expected a .npz file of arrays; {remedy}") from error


def _check_headers(path: Path, archive: zipfile.ZipFile, remedy: str) -> None:
    """Raise `UserError` if an array's header gives more bytes than its entry holds: numpy allocates first."""
    for entry in archive.infolist():
        with archive.open(entry) as stream:
            if np.lib.format.read_magic(stream) == (1, 0):
                shape, _order, dtype = np.lib.format.read_array_header_1_0(stream)
            else:
                shape, _order, dtype = np.lib.format.read_array_header_2_0(stream)
        if math.prod(shape) * dtype.itemsize > entry.file_size:
            raise UserError(f"{path}: {entry.filename} is shorter than its header says; {remedy}")
