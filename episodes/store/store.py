"""A store, which is a prepared dataset: uncropped, memory-mapped arrays of each scan and an index.json.

Layout of a store folder: `index.json`, and for each scan ID `images/ID.npy` (own dtype), `labels/ID.npy`
(uint8) and `superpixels/ID.npy` (uint16), each (Z,H,W). A dataset of several registered channels also has
`channels/ID.npy` (C,Z,H,W) in the image's dtype; few-shot methods see the image alone. The index of a dataset
with sentences has one for each slice; `points` of a scan are its named landmarks, (z,y,x) in voxels.

The store's hash covers everything that evaluation reads, including sentences and points, so that plans and
records of different machines belong together. It does not cover the superpixels, which only training reads:
their algorithm sorts edges unstably, so some pixels differ between kinds of processors. `superpixels_hash`
covers them, and the keys of the models that they train hold it.

Files are checked before they are used: index.json by its seal (`fewshot/files/seals.py`) and the store's hash
when the store is opened, arrays by their sha256 when they are first read.

`prepared_by` in index.json gives the origin of the volumes: "fewshot" (this program, from the download or as
phantoms), "published-layout" (released preprocessing of others), or "unknown" (a user's folder, or else). The
hash does not cover it, because it changes no number. A store without the key is "unknown": older programs did
not record the origin.

`original` of a scan is the grid of its files and the steps from there to the store's slices
(`episodes/io/original_grid.py`), so that masks can be put back. The hash does not cover it either: it follows
from the files and decides no number. Scans of phantoms and of older stores lack it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.io.npy import write_npy
from episodes.io.original_grid import OriginalGrid, original_from_json, prepared_shape
from episodes.store.dataset import DatasetSpec, spec_from_table
from episodes.store.index import ClassSliceIndex
from episodes.store.scan import (
    CHANNELS,
    KINDS,
    REMAKE,
    SUPERPIXELS,
    Point,
    StoredScan,
    array_facts,
    points_from_json,
)
from fewshot.base.errors import UserError, listed, short
from fewshot.files.atomic_io import atomic_folder, hash_of, replace_folder
from fewshot.files.input_files import read_json
from fewshot.files.names import checked_name
from fewshot.files.seals import check_seal, write_sealed

SCHEMA = 2  # 1: the hash covered the superpixels too
PREPARED_BY = ("fewshot", "published-layout", "unknown")
ENTRY: dict[str, type] = {  # keys of a scan in index.json
    "id": str, "shape": list, "dtype": str, "spacing_mm": list, "origin": list, "direction": list,
    "source_sha256": dict, "array_sha256": dict, "count": int, "mean": float, "m2": float,
    "class_slices": dict, "superpixel_slices": list,
}  # fmt: skip
NOT_HASHED = ("title", "sources", "region", "patients")  # facts that change no array and no plan


@dataclass(frozen=True)
class SourceScan:
    """A scan to be written: arrays (Z,H,W), geometry as in `NiftiImage`, and sha256 of its source files.

    `original`: the grid of the files and the steps from there; None for a scan that the program made.
    """

    scan_id: str
    image: NDArray[Any]
    labels: NDArray[np.uint8]
    superpixels: NDArray[np.uint16]
    spacing_mm: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]
    image_sha256: str
    label_sha256: str
    channels: NDArray[Any] | None = None  # (C,Z,H,W) of a dataset with several channels
    original: OriginalGrid | None = None
    points: Mapping[str, Point] | None = None  # name -> (z,y,x) in voxels; None: no landmarks
    sentences: tuple[str, ...] = ()  # one for each slice of a dataset with sentences


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
        self._scans: dict[str, dict[str, Any]] = {
            checked_name(f"{path}: scan", entry["id"]): entry for entry in content["scans"]
        }
        if len(self._scans) < len(content["scans"]):
            raise ValueError("a scan id stands there twice")
        self._open: dict[str, StoredScan] = {}

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open a store folder.

        Raises `UserError` if it is not a store, is damaged, was changed, or has another schema.
        """
        return cls.from_index(path, read_index(path))

    @classmethod
    def from_index(cls, path: Path, content: dict[str, Any]) -> Store:
        """Return the store in a folder whose index.json has this content, as `read_index` gives it.

        Raises `UserError` if an entry lacks what `StoreWriter` wrote, or facts, arrays and spacings do not
        have the store's hash.
        """
        try:
            for entry in content["scans"]:
                _check_entry(entry)
            store = cls(path, content)
            _check_index(store.index)
            store.check_hash(content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path / 'index.json'} is damaged ({error!r}); {REMAKE}") from None
        return store

    def check_hash(self, content: Mapping[str, Any]) -> None:
        """Raise `UserError` unless facts, arrays and spacings in index.json have the store's hash."""
        expected = store_hash(content["spec"], content["scans"])
        if self.hash != expected:
            raise UserError(
                f"{self.path / 'index.json'} was changed: its hash is {self.hash}, its facts and arrays have "
                f"{expected}; {REMAKE}"
            )

    @cached_property
    def superpixels_hash(self) -> str:
        """16 hex digits of a hash over the superpixels of all scans."""
        arrays = [[name, entry["array_sha256"][SUPERPIXELS]] for name, entry in self._scans.items()]
        return hash_of(arrays)[:16]

    def check_arrays(self) -> None:
        """Read every array once; `UserError` for the first that is not as prepared."""
        for scan in self.index.scans:
            self.scan_once(scan).check_arrays()

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

    @cached_property
    def point_names(self) -> tuple[str, ...]:
        """Return the names of all landmarks, numbers in their order; () for a store without points."""
        names = {name for entry in self._scans.values() for name in entry.get("points", {})}
        return tuple(sorted(names, key=_by_number))

    @property
    def has_points(self) -> bool:
        """Whether every scan is annotated with points, even if it shows none of them."""
        return bool(self._scans) and all("points" in entry for entry in self._scans.values())

    def sources(self) -> dict[str, tuple[str, str]]:
        """Return scan id -> sha256 of the image file and of the label file from which it was prepared."""
        hashes = {scan: entry["source_sha256"] for scan, entry in self._scans.items()}
        return {scan: (pair["image"], pair["label"]) for scan, pair in hashes.items()}

    def image_hashes(self) -> dict[str, str]:
        """Return scan id -> sha256 of the prepared image."""
        return {scan: entry["array_sha256"]["images"] for scan, entry in self._scans.items()}

    @property
    def has_sentences(self) -> bool:
        """Whether every scan has a sentence for each slice."""
        return all("sentences" in entry for entry in self._scans.values())

    def scan(self, scan_id: str) -> StoredScan:
        """Return a scan, whose arrays are read when they are used; `UserError` for an unknown id.

        The store keeps it and its memory maps. A single pass over all scans uses `scan_once`.
        """
        if scan_id not in self._open:
            self._open[scan_id] = self.scan_once(scan_id)
        return self._open[scan_id]

    def scan_once(self, scan_id: str) -> StoredScan:
        """Return a scan that the store does not keep, so its memory maps close with the last reference."""
        if scan_id not in self._scans:
            raise UserError(f"scan {scan_id!r} is not in {self.path}; it holds {', '.join(self._scans)}")
        return StoredScan(self.path, self._scans[scan_id])


def read_index(path: Path, *, has_seal: bool = True) -> dict[str, Any]:
    """Return the content of a store's index.json, without its seal.

    Args:
        path: folder of the store.
        has_seal: whether the seal is checked; without it, for `fewshot doctor --seal`, a seal may lack.

    Raises:
        UserError: the file is missing, damaged, changed or has another schema.
    """
    file = path / "index.json"
    if not file.is_file():
        raise UserError(f"{path} holds no index.json, so it is not a prepared dataset; run: fewshot prepare")
    content = read_json(file, REMAKE)
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise UserError(f"{file} has schema {schema!r}, expected {SCHEMA}; {REMAKE}")
    plain: dict[str, Any] = check_seal(content, str(file), REMAKE) if has_seal else content
    return plain


def store_hash(spec: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> str:
    """Return 16 hex digits of a hash over facts, arrays and spacings, without superpixels and `NOT_HASHED`.

    Args:
        spec: `DatasetSpec.to_json` of the dataset.
        entries: the entries of the scans in index.json.
    """
    facts = {key: value for key, value in spec.items() if key not in NOT_HASHED}
    arrays = [
        [entry["id"], _without_superpixels(entry["array_sha256"]), entry["spacing_mm"]]
        + ([entry["sentences"]] if "sentences" in entry else [])
        for entry in entries
    ]
    points = [[entry["id"], entry["points"]] for entry in entries if "points" in entry]
    return hash_of([facts, arrays, *([points] if points else [])])[:16]


def _without_superpixels(arrays: Mapping[str, str]) -> dict[str, str]:
    return {kind: digest for kind, digest in arrays.items() if kind != SUPERPIXELS}


def _check_entry(entry: dict[str, Any]) -> None:
    """Raise `KeyError` or `TypeError` if the entry of a scan in an index lacks what `StoreWriter` wrote."""
    for name, kind in ENTRY.items():
        if type(entry[name]) is not kind:
            raise TypeError(f"{name} is {short(repr(entry[name]))}, expected a {kind.__name__}")
    for name, length in (("shape", 3), ("spacing_mm", 3), ("origin", 3), ("direction", 9)):
        if len(entry[name]) != length:
            raise TypeError(f"{name} is {short(repr(entry[name]))}, expected {length} numbers")
    if "points" in entry:
        points_from_json(entry["points"], entry["shape"])
    sentences = entry.get("sentences", [""] * entry["shape"][0])
    if len(sentences) != entry["shape"][0] or not all(type(one) is str for one in sentences):
        raise ValueError(f"scan {entry['id']} of {entry['shape'][0]} slices has {len(sentences)} sentences")
    if "original" in entry and list(prepared_shape(original_from_json(entry["original"]))) != entry["shape"]:
        raise ValueError(f"steps of the original grid of scan {entry['id']} do not give {entry['shape']}")


def _check_index(index: ClassSliceIndex) -> None:
    """Raise `ValueError` if a slice of the index is no slice of its scan."""
    for slices in (*index.class_slices.values(), index.superpixel_slices):
        for scan, places in slices.items():
            depth = index.depths[scan]
            if type(depth) is not int or any(type(z) is not int or not 0 <= z < depth for z in places):
                raise ValueError(f"scan {scan} of {depth} slices has the slices {listed(places, 5)}")


@contextmanager
def new_store(
    path: Path,
    spec: DatasetSpec,
    *,
    overwrite: bool = False,
    prepared_by: str = "unknown",
    finish: Callable[[Store], object] | None = None,
    unfinished: Path | None = None,
) -> Iterator[StoreWriter]:
    """Yield a writer; if the block succeeds the store appears at `path`, else nothing is left.

    Args:
        path: folder of the store.
        spec: facts of the dataset.
        overwrite: a finished new store replaces an existing one.
        prepared_by: one of `PREPARED_BY`.
        finish: called with the whole store in its temporary folder: what it writes there appears with the
            store.
        unfinished: folder to write in, which stays if the block is interrupted (Ctrl-C, SIGTERM, a kill); its
            subfolder `finished` is removed at the end. None: a temporary folder, which never stays.

    Raises:
        UserError: `path` exists without `overwrite`; the disk is full or not writable.
    """
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists already; use --overwrite to replace it, or another --work folder")
    try:
        with atomic_folder(path) if unfinished is None else _kept_folder(unfinished, path) as temporary:
            writer = StoreWriter(temporary, spec, prepared_by)
            yield writer
            writer.finish()
            if finish is not None:
                finish(Store.open(temporary))
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another --work folder"
        ) from error


@contextmanager
def _kept_folder(folder: Path, path: Path) -> Iterator[Path]:
    """Yield `folder`; on success it becomes `path`, an error removes it, an interruption leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
        shutil.rmtree(folder / "finished", ignore_errors=True)
        replace_folder(folder, path)
    except Exception:
        shutil.rmtree(folder, ignore_errors=True)
        raise


class StoreWriter:
    """Writes scans one by one, so that only one is in memory, and the index last."""

    def __init__(self, folder: Path, spec: DatasetSpec, prepared_by: str = "unknown") -> None:
        self.folder, self.spec, self.prepared_by = folder, spec, prepared_by
        self.warnings: list[str] = []
        self._entries: list[dict[str, Any]] = []

    def add(self, source: SourceScan) -> dict[str, Any]:
        """Write the arrays of one scan, keep its entry for the index and return it."""
        checked_name("scan", source.scan_id)
        scan_arrays: tuple[NDArray[Any], ...] = (source.image, source.labels, source.superpixels)
        arrays = dict(zip(KINDS, scan_arrays, strict=True))
        hashes = {}
        for kind, array in arrays.items():
            hashes[kind] = _write_array(self.folder / kind / f"{source.scan_id}.npy", array)
        channels = self._write_channels(source)
        hashes |= channels
        self.add_entry(
            {
                "id": source.scan_id,
                "spacing_mm": list(source.spacing_mm),
                "origin": list(source.origin),
                "direction": list(source.direction),
                "source_sha256": {"image": source.image_sha256, "label": source.label_sha256},
                "array_sha256": hashes,
                **({"channels": len(self.spec.channels)} if channels else {}),
                **({} if source.points is None else {"points": _points_json(source)}),
                **({} if source.original is None else {"original": source.original.to_json()}),
                **({"sentences": list(source.sentences)} if source.sentences else {}),
                **array_facts(source.image, source.labels, source.superpixels, self.spec.classes),
            }
        )

        return self._entries[-1]

    def add_entry(self, entry: dict[str, Any]) -> None:
        """Keep the entry of a scan whose arrays lie in the folder already."""
        self._entries.append(entry)

    def _write_channels(self, source: SourceScan) -> dict[str, str]:
        """Write the channels of a scan; return the kind and sha256 of the array, empty for one channel."""
        shape = None if source.channels is None else source.channels.shape
        expected = (len(self.spec.channels), *source.image.shape) if self.spec.channels else None
        if shape != expected:
            raise UserError(
                f"scan {source.scan_id} has channels of shape {shape}, expected {expected} for "
                f"{', '.join(self.spec.channels) or 'one channel'}; give every channel on the image's grid"
            )
        if source.channels is None:
            return {}
        path = self.folder / CHANNELS / f"{source.scan_id}.npy"
        return {CHANNELS: _write_array(path, source.channels)}

    def finish(self) -> None:
        """Write index.json, sealed, with the store's hash."""
        write_sealed(
            self.folder / "index.json",
            {
                "schema": SCHEMA,
                "spec": self.spec.to_json(),
                "hash": store_hash(self.spec.to_json(), self._entries),
                "prepared_by": self.prepared_by,
                "scans": self._entries,
                "warnings": self.warnings,
            },
        )


def _points_json(source: SourceScan) -> dict[str, list[float]]:
    """Return a scan's points as JSON values; `UserError` for one outside the scan."""
    assert source.points is not None
    plain = {name: [float(value) for value in point] for name, point in source.points.items()}
    try:
        points_from_json(plain, source.image.shape)
    except (TypeError, ValueError) as error:
        raise UserError(f"scan {source.scan_id}: {error}; correct its annotation") from None
    return plain


def _by_number(name: str) -> tuple[str, int, str]:
    """Return a key that sorts disc-2 before disc-10."""
    stem = name.rstrip("0123456789")
    digits = name[len(stem) :]
    return stem, int(digits) if digits else 0, name


def _write_array(path: Path, array: NDArray[Any]) -> str:
    """Write a .npy file, flush it to the disk and return its sha256."""
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as stream:
        digest = write_npy(stream, array)
        stream.flush()
        os.fsync(stream.fileno())
    return digest
