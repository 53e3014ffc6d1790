"""A store, which is a prepared dataset: uncropped, memory-mapped arrays of each scan and an index.json.

Layout of a store folder: `index.json`, and for each scan ID `images/ID.npy` (own dtype), `labels/ID.npy`
(uint8) and `superpixels/ID.npy` (uint16), each (Z,H,W). The store's hash covers everything that determines a
result, including the superpixels, which may differ between CPUs.

`prepared_by` in index.json gives the origin of the volumes: "fewshot" (this program, from the download or as
phantoms), "published-layout" (released preprocessing of others), or "unknown" (a user's folder, or else). The
hash does not cover it, because it changes no number. A store without the key is "unknown": older programs did
not record the origin.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.io.npy import map_npy, write_npy
from episodes.store.dataset import DatasetSpec, spec_from_table
from episodes.store.index import ClassSliceIndex
from fewshot.base.atomic_io import hash_of, write_json
from fewshot.base.errors import UserError, listed, short
from fewshot.base.input_files import read_json

SCHEMA = 1
KINDS = ("images", "labels", "superpixels")
PREPARED_BY = ("fewshot", "published-layout", "unknown")
ENTRY: dict[str, type] = {  # keys of a scan in index.json
    "id": str, "shape": list, "dtype": str, "spacing_mm": list, "origin": list, "direction": list,
    "source_sha256": dict, "array_sha256": dict, "count": int, "mean": float, "m2": float,
    "class_slices": dict, "superpixel_slices": list,
}  # fmt: skip
NOT_HASHED = ("title", "sources", "region", "patients")  # facts that change no array and no plan


@dataclass(frozen=True)
class SourceScan:
    """A scan to be written: arrays (Z,H,W), geometry as in `NiftiImage`, and sha256 of its source files."""

    scan_id: str
    image: NDArray[Any]
    labels: NDArray[np.uint8]
    superpixels: NDArray[np.uint16]
    spacing_mm: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]
    image_sha256: str
    label_sha256: str


@dataclass(frozen=True)
class StoredScan:
    """One scan of an opened store, with memory-mapped arrays.

    `image` (Z,H,W) in its own dtype, `labels` (Z,H,W) uint8, `superpixels` (Z,H,W) uint16; `spacing_mm`
    (z,y,x); `count`, `mean`, `m2`: voxels, mean and sum of squared deviations of the uncropped image.
    """

    scan_id: str
    image: NDArray[Any]
    labels: NDArray[np.uint8]
    superpixels: NDArray[np.uint16]
    spacing_mm: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]
    count: int
    mean: float
    m2: float


class Store:
    """An opened store; opening reads only index.json."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path = path
        self.hash: str = content["hash"]
        self.spec: DatasetSpec = spec_from_table(content["spec"], f"{path / 'index.json'}")
        self.warnings: tuple[str, ...] = tuple(content["warnings"])
        self.prepared_by: str = content.get("prepared_by", "unknown")
        if self.prepared_by not in PREPARED_BY:
            raise ValueError(f"prepared_by is {self.prepared_by!r}, expected one of {', '.join(PREPARED_BY)}")
        self._scans: dict[str, dict[str, Any]] = {entry["id"]: entry for entry in content["scans"]}
        self._open: dict[str, StoredScan] = {}

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open a store folder; `UserError` if it is not a store, is damaged, or has another schema."""
        file = path / "index.json"
        if not file.is_file():
            raise UserError(
                f"{path} holds no index.json, so it is not a prepared dataset; run: fewshot prepare"
            )
        content = read_json(file, "it is damaged: prepare it again with --overwrite")
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema != SCHEMA:
            raise UserError(
                f"{file} has schema {schema!r}, wanted {SCHEMA}; prepare it again with --overwrite"
            )
        try:
            for entry in content["scans"]:
                _check_entry(entry)
            store = cls(path, content)
            _check_index(store.index)
            return store
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{file} is damaged ({error!r}); prepare it again with --overwrite") from None

    @cached_property
    def index(self) -> ClassSliceIndex:
        """The class-slice index of the store."""
        return ClassSliceIndex(
            scans=tuple(self._scans),
            depths={scan: entry["shape"][0] for scan, entry in self._scans.items()},
            class_slices={
                name: {scan: tuple(entry["class_slices"][name]) for scan, entry in self._scans.items()}
                for name in self.spec.classes
            },
            superpixel_slices={
                scan: tuple(entry["superpixel_slices"]) for scan, entry in self._scans.items()
            },
        )

    def sources(self) -> dict[str, tuple[str, str]]:
        """Return scan id -> sha256 of the image file and of the label file from which it was prepared."""
        hashes = {scan: entry["source_sha256"] for scan, entry in self._scans.items()}
        return {scan: (pair["image"], pair["label"]) for scan, pair in hashes.items()}

    def image_hashes(self) -> dict[str, str]:
        """Return scan id -> sha256 of the prepared image."""
        return {scan: entry["array_sha256"]["images"] for scan, entry in self._scans.items()}

    def scan(self, scan_id: str) -> StoredScan:
        """Return a scan with memory-mapped arrays; `UserError` for an unknown id or a damaged file."""
        if scan_id not in self._open:
            if scan_id not in self._scans:
                raise UserError(f"scan {scan_id!r} is not in {self.path}; it holds {', '.join(self._scans)}")
            entry = self._scans[scan_id]
            image, labels, superpixels = (self._array(kind, scan_id, entry) for kind in KINDS)
            self._open[scan_id] = StoredScan(
                scan_id, image, labels, superpixels,
                tuple(entry["spacing_mm"]), tuple(entry["origin"]), tuple(entry["direction"]),
                entry["count"], entry["mean"], entry["m2"],
            )  # fmt: skip
        return self._open[scan_id]

    def _array(self, kind: str, scan_id: str, entry: dict[str, Any]) -> NDArray[Any]:
        path = self.path / kind / f"{scan_id}.npy"
        dtype = {"images": entry["dtype"], "labels": "uint8", "superpixels": "uint16"}[kind]
        return map_npy(path, entry["shape"], dtype, "prepare it again with --overwrite")


def _check_entry(entry: dict[str, Any]) -> None:
    """Raise `KeyError` or `TypeError` if the entry of a scan in an index lacks what `StoreWriter` wrote."""
    for name, kind in ENTRY.items():
        if type(entry[name]) is not kind:
            raise TypeError(f"{name} is {short(repr(entry[name]))}, expected a {kind.__name__}")
    for name, length in (("shape", 3), ("spacing_mm", 3), ("origin", 3), ("direction", 9)):
        if len(entry[name]) != length:
            raise TypeError(f"{name} is {short(repr(entry[name]))}, expected {length} numbers")


def _check_index(index: ClassSliceIndex) -> None:
    """Raise `ValueError` if a slice of the index is no slice of its scan."""
    for slices in (*index.class_slices.values(), index.superpixel_slices):
        for scan, places in slices.items():
            depth = index.depths[scan]
            if type(depth) is not int or any(type(z) is not int or not 0 <= z < depth for z in places):
                raise ValueError(f"scan {scan} of {depth} slices has the slices {listed(places, 5)}")


@contextmanager
def new_store(
    path: Path, spec: DatasetSpec, *, overwrite: bool = False, prepared_by: str = "unknown"
) -> Iterator[StoreWriter]:
    """Yield a writer; if the block succeeds the store appears at `path`, else nothing is left.

    With `overwrite`, a finished new store replaces an existing one. `prepared_by` is one of `PREPARED_BY`.
    Raises `UserError` if `path` exists without `overwrite`, and if the disk is full or not writable.
    """
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists already; use --overwrite to replace it, or another --work folder")
    try:
        with _temporary_folder(path) as temporary:
            writer = StoreWriter(temporary, spec, prepared_by)
            yield writer
            writer.finish()
            temporary.chmod(0o755)
            _put_in_place(temporary, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another --work folder"
        ) from error


@contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """Yield a new, locked folder beside `path` and remove it afterwards.

    First remove unlocked folders of the same kind, which killed processes left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{path.name}.partial-*"):
        with _lock_if_free(stale) as free:
            if free:
                shutil.rmtree(stale, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent))
    try:
        with _lock_if_free(temporary):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _lock_if_free(folder: Path) -> Iterator[bool]:
    """Lock `folder` during the block and yield True; yield False if another process holds the lock."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            free = False
        else:
            free = True
        yield free
    finally:
        os.close(descriptor)


def _put_in_place(temporary: Path, path: Path) -> None:
    """Rename the finished store to `path`; remove an older store there only after the rename succeeded."""
    if not path.exists():
        temporary.rename(path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent))
    path.rename(aside / "replaced")
    try:
        temporary.rename(path)
    except OSError:
        (aside / "replaced").rename(path)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


class StoreWriter:
    """Writes scans one by one, so that only one is in memory, and the index last."""

    def __init__(self, folder: Path, spec: DatasetSpec, prepared_by: str = "unknown") -> None:
        self.folder, self.spec, self.prepared_by = folder, spec, prepared_by
        self.warnings: list[str] = []
        self._entries: list[dict[str, Any]] = []

    def add(self, source: SourceScan) -> None:
        """Write the arrays of one scan and keep its entry for the index."""
        arrays = {"images": source.image, "labels": source.labels, "superpixels": source.superpixels}
        hashes = {}
        for kind, array in arrays.items():
            hashes[kind] = _write_array(self.folder / kind / f"{source.scan_id}.npy", array)
        values = source.image.astype(np.float64)
        mean = float(values.mean())
        self._entries.append(
            {
                "id": source.scan_id,
                "shape": list(source.image.shape),
                "dtype": source.image.dtype.name,
                "spacing_mm": list(source.spacing_mm),
                "origin": list(source.origin),
                "direction": list(source.direction),
                "source_sha256": {"image": source.image_sha256, "label": source.label_sha256},
                "array_sha256": hashes,
                "count": int(values.size),
                "mean": mean,
                "m2": float(((values - mean) ** 2).sum()),
                "class_slices": {
                    name: np.flatnonzero((source.labels == value).any(axis=(1, 2))).tolist()
                    for name, value in self.spec.classes.items()
                },
                "superpixel_slices": np.flatnonzero(source.superpixels.any(axis=(1, 2))).tolist(),
            }
        )

    def finish(self) -> None:
        """Write index.json; its hash covers the arrays, spacings and facts, but not the keys `NOT_HASHED`."""
        facts = {key: value for key, value in self.spec.to_json().items() if key not in NOT_HASHED}
        arrays = [[entry["id"], entry["array_sha256"], entry["spacing_mm"]] for entry in self._entries]
        write_json(
            self.folder / "index.json",
            {
                "schema": SCHEMA,
                "spec": self.spec.to_json(),
                "hash": hash_of([facts, arrays])[:16],
                "prepared_by": self.prepared_by,
                "scans": self._entries,
                "warnings": self.warnings,
            },
        )


def _write_array(path: Path, array: NDArray[Any]) -> str:
    """Write a .npy file, flush it to the disk and return its sha256."""
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as stream:
        digest = write_npy(stream, array)
        stream.flush()
        os.fsync(stream.fileno())
    return digest
