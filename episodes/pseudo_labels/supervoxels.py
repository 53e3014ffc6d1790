"""3-D supervoxels, the pseudo-labels of ADNet and its descendants, computed when first needed.

Hansen et al., MedIA 2022, arXiv 2203.02048, as released: Felzenszwalb's segmentation extended to volumes, on
intensities rescaled to 0 .. 255, unsmoothed, with scale 1 (k = 1/255) and 26 neighbours weighted by the
spacing. Segments have at least 5,000 voxels in the abdomen and 1,000 in the heart, for slices of any size.
docs/methods.md, SUPERVOXEL-1 to SUPERVOXEL-4, gives the details. One difference: the release sorts edges
unstably, and integer images have many edges of equal weight, so its maps do not repeat; our sort is stable.

Supervoxels do not belong to a prepared store and do not change its hash. They are stored beside its arrays:
`supervoxels/ID.npy` (Z,Y,X), uint16, or int32 if uint16 is too small, and `supervoxels/index.json`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.io.npy import write_npy
from episodes.pseudo_labels.felzenszwalb import segment_volume
from episodes.pseudo_labels.superpixels import patient_mask, usable_cores
from episodes.store.dataset import DatasetSpec
from episodes.store.scan import read_array
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.files.atomic_io import atomic_write, hash_of
from fewshot.files.locks import locked
from fewshot.files.names import path_in
from fewshot.files.seals import read_sealed, write_sealed

SCHEMA = 2  # raise it whenever a map would change
SCALE = 1.0
RANGE = 255.0  # intensities are rescaled to 0 .. RANGE
PATIENT = 10.0  # a voxel above it, in the rescaled range, may be patient
MIN_SIZE = {"abdomen": 5000, "heart": 1000}  # voxels, by the dataset's `region`


def min_size_of(spec: DatasetSpec) -> int:
    """Return the smallest supervoxel of a dataset, in voxels."""
    return MIN_SIZE[spec.region]


def volume_supervoxels(
    volume: NDArray[Any], spacing_mm: tuple[float, float, float], min_size: int
) -> NDArray[Any]:
    """Return the supervoxel map of a volume, (Z,Y,X): numbers 1 .. n without gaps; 0 means no supervoxel.

    Felzenszwalb's algorithm segments the whole volume. The patient mask of each slice (`patient_mask` at 10
    of 255) is applied afterwards, so remnants smaller than `min_size` stay; no segment is dropped.

    Args:
        volume: image (Z,Y,X).
        spacing_mm: spacing (z,y,x); the ratio z / x weights edges between slices.
        min_size: smallest supervoxel in voxels, before masking.
    """
    values = volume.astype(np.float64)
    low, span = values.min(), np.ptp(values)
    if not span > 0:
        return np.zeros(volume.shape, dtype=np.uint16)
    values = RANGE * (values - low) / span
    segments = segment_volume(values, SCALE / 255, min_size, spacing_mm[0] / spacing_mm[2])
    patient = np.stack([patient_mask(image, PATIENT) for image in values])
    present = np.bincount(segments[patient], minlength=1) > 0
    kind = np.uint16 if np.count_nonzero(present) <= np.iinfo(np.uint16).max else np.int32
    number = (np.cumsum(present) * present).astype(kind)
    numbers = np.zeros(volume.shape, dtype=kind)
    numbers[patient] = number[segments[patient]]
    return numbers


class Supervoxels:
    """The opened supervoxels of a store; `hash` covers parameters and arrays."""

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        self._folder = folder
        self._sha256: dict[str, str] = content["arrays"]
        self._open: dict[str, NDArray[Any]] = {}
        self.min_size: int = content["parameters"]["min_size"]
        self.hash = hash_of([content["parameters"], content["arrays"]])[:16]

    def scan(self, scan_id: str) -> NDArray[Any]:
        """Return the memory-mapped map (Z,Y,X) of a scan; the first call checks the sha256 of its file."""
        if scan_id not in self._open:
            path = path_in(self._folder, "scan", scan_id, ".npy")
            self._open[scan_id] = read_array(path, self._sha256[scan_id], remake(self._folder))
        return self._open[scan_id]


def stored_supervoxels(store: Store) -> Supervoxels | None:
    """Return the stored supervoxels of `store`; None without any, or with other parameters.

    Raises `UserError` for a damaged or changed index.json.
    """
    folder = store.path / "supervoxels"
    file = folder / "index.json"
    if not file.exists():
        return None
    content = read_sealed(file, remake(folder))
    try:
        if content["parameters"] != _parameters(store):
            return None
        if list(content["arrays"]) != sorted(store.index.scans):
            raise KeyError("arrays")
        return Supervoxels(folder, content)
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{file} is damaged; {remake(folder)}") from None


def remake(folder: Path) -> str:
    """Return the remedy for damaged supervoxels in `folder`."""
    return f"delete {folder} to have supervoxels computed again"


def ensure_supervoxels(
    store: Store, workers: int = 0, on_progress: Callable[[int], None] = lambda _count: None
) -> Supervoxels:
    """Return the supervoxels of `store`; compute and write them beside its arrays if they do not exist.

    A lock ensures that only one process computes. index.json is written last, so an interrupted computation
    starts again.

    Args:
        store: the prepared dataset.
        workers: threads, one scan each, 0 for one per usable core; the maps do not depend on it.
        on_progress: called with 1 after each scan, in the calling thread.

    Raises:
        UserError: the folder cannot be written, or its index.json is damaged.
    """
    supervoxels = stored_supervoxels(store)
    if supervoxels is not None:
        return supervoxels
    folder = store.path / "supervoxels"
    try:
        folder.mkdir(exist_ok=True)
        (folder / ".lock").touch()
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror or error}; supervoxels are kept beside the prepared "
            "dataset: make it writable, or copy it to another --work folder"
        ) from error
    with locked(folder / ".lock"):
        supervoxels = stored_supervoxels(store)
        if supervoxels is None:
            _compute(store, folder, workers or usable_cores(), on_progress)
            supervoxels = stored_supervoxels(store)
    assert supervoxels is not None
    return supervoxels


def _compute(store: Store, folder: Path, workers: int, on_progress: Callable[[int], None]) -> None:
    (folder / "index.json").unlink(missing_ok=True)
    parameters = _parameters(store)

    def write(scan: str) -> str:
        stored = store.scan(scan)
        numbers = volume_supervoxels(stored.image, stored.spacing_mm, parameters["min_size"])
        with atomic_write(path_in(folder, "scan", scan, ".npy"), "wb") as stream:
            return write_npy(stream, numbers)

    scans, arrays = store.index.scans, {}
    for scan in scans:
        store.scan(scan)  # open here: the cache of a store is not thread-safe
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="supervoxels")
    try:
        for scan, sha256 in zip(scans, pool.map(write, scans), strict=True):
            arrays[scan] = sha256
            on_progress(1)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    write_sealed(folder / "index.json", {"parameters": parameters, "arrays": arrays})


def _parameters(store: Store) -> dict[str, Any]:
    """Return the parameters of the maps; the hash of the store covers its images and spacings."""
    return {"schema": SCHEMA, "store": store.hash, "scale": SCALE, "min_size": min_size_of(store.spec)}
