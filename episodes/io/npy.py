"""Writing of .npy files that computes their sha256 and keeps the reason of a failure."""

from __future__ import annotations

import hashlib
import io
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


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
