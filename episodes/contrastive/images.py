"""Sources of images for contrastive pre-training: folders of JPEG and PNG files, or slices of a store."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor

from episodes.contrastive.image_cache import CheckCache, FileCheck
from episodes.store.slices import Normalisation, SliceReader
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef
from fewshot.encoders.backbone_file import image_hash

LOG = logging.getLogger("fewshot")
ENDINGS = (".jpg", ".jpeg", ".png")
FORMATS = ("JPEG", "PNG")
DEEP = ("I;16", "I;16B", "I")  # Pillow's modes of a 16-bit grey PNG, by version and machine
NO_RADIOLOGY = "non-radiology"  # ROCO: data/{train,test,validation}/{radiology,non-radiology}/images
SAVED_AFTER = 4096  # files checked between two writes of the cache
# exceptions of Pillow for bytes that are not a complete picture, or a picture of implausible size
NO_PICTURE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)

Verdict = Literal["good", "unreadable", "of one pixel", "CMYK"]


class Pictures(Protocol):
    """A fixed sequence of pictures.

    `hashes`: 16 hex digits for each picture; `source`: name of their origin; `cuts`: for each source the side
    in pixels to which its larger pictures are cropped, None if no picture is cropped.
    """

    @property
    def hashes(self) -> tuple[str, ...]: ...
    @property
    def source(self) -> str: ...
    @property
    def cuts(self) -> tuple[int | None, ...]: ...
    def __len__(self) -> int: ...
    def read(self, number: int, /) -> Tensor:
        """Return picture `number`, (3,H,W): uint8 or float32 in [0,1]; threads may call this."""
        ...


@dataclass(frozen=True)
class FolderPictures:
    """Picture files below a folder, in order of their relative paths; `hashes` are of the files' bytes.

    `left_out`: reason -> number of skipped files.
    """

    folder: Path
    names: tuple[str, ...]
    hashes: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    cuts: tuple[int | None, ...] = (None,)

    @property
    def source(self) -> str:
        """The folder's own name."""
        return self.folder.resolve().name

    def __len__(self) -> int:
        return len(self.names)

    def read(self, number: int) -> Tensor:
        """Return a picture, (3,H,W) uint8, or float32 in [0,1] where the file is grey of 16 bits.

        Transparent pixels are shown over black. Raises `UserError` if the file can no longer be read.
        """
        path = self.folder / self.names[number]
        try:
            return _decoded(path.read_bytes())
        except NO_PICTURE as error:
            raise UserError(
                f"{path} can't be read any more ({error}); it was whole when pre-training began: "
                "put it back, or start again in another folder"
            ) from error


@dataclass(frozen=True)
class SlicePictures:
    """Slices of prepared scans, cropped to the model's input; `hashes` are of the stored, uncropped slices.

    `left_out`: reason -> number of skipped slices.
    """

    source: str
    refs: tuple[SliceRef, ...]
    hashes: tuple[str, ...]
    reader: SliceReader
    left_out: Mapping[str, int] = field(default_factory=dict)
    cuts: tuple[int | None, ...] = (None,)

    def __len__(self) -> int:
        return len(self.refs)

    def read(self, number: int) -> Tensor:
        """Return a slice, (3,H,W) float32: normalised, then scaled so that its values span 0..1."""
        values = self.reader.image(self.refs[number])
        low, high = values.min(), values.max()
        return torch.from_numpy((values - low) / (high - low)).expand(3, -1, -1)


class JoinedPictures:
    """The pictures of several sources, one after the other."""

    def __init__(self, parts: Sequence[Pictures]) -> None:
        self._places = [(part, number) for part in parts for number in range(len(part))]
        self.source = "+".join(part.source for part in parts)
        self.hashes = tuple(digest for part in parts for digest in part.hashes)
        self.cuts = tuple(cut for part in parts for cut in part.cuts)

    def __len__(self) -> int:
        return len(self._places)

    def read(self, number: int) -> Tensor:
        """Return picture `number`, counted over all sources, (3,H,W)."""
        part, place = self._places[number]
        return part.read(place)


def open_folder(folder: Path, cache: Path | None = None) -> FolderPictures:
    """Open all JPEG and PNG files below `folder`, following links; each is decoded once as a check.

    Skips and counts files that are unreadable, truncated, CMYK, or have a side of fewer than 2 pixels. Files
    below a folder `non-radiology`, which ROCO has beside its radiology, are counted but not decoded.
    `cache`, a folder, keeps the checks, so that the next call decodes only new and changed files. Raises
    `UserError` if the folder does not exist or has no usable picture.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give one that holds JPEG or PNG files")
    walked, aside = set[Path](), list[Path]()
    names = sorted(_names(folder, folder, walked, aside))
    others = sum(1 for place in aside for _name in _names(folder, place, walked))
    if not names:
        but = f" but {others} below {NO_RADIOLOGY}" if others else ""
        raise UserError(
            f"{folder} holds no file ending in {', '.join(ENDINGS)}{but}; give a folder of pictures"
        )
    found = dict(zip(names, _checked(folder, names, cache), strict=True))
    good = {name: entry.hash for name, entry in found.items() if entry and entry.verdict == "good"}
    left_out = Counter(
        entry.verdict if entry else "unreadable" for name, entry in found.items() if name not in good
    )
    left_out += Counter({NO_RADIOLOGY: others})
    summary = f"left out {left_out.total()} of {len(names) + others} pictures: {_reasons(left_out)}"
    if not good:
        raise UserError(
            f"{folder} has no picture to learn from: {summary}; give RGB or grey JPEG or PNG files"
        )
    if left_out:
        LOG.warning("%s", summary)
    return FolderPictures(folder, tuple(good), tuple(good.values()), dict(left_out))


def open_slices(store: Store, scans: Sequence[str], intensities: Normalisation) -> SlicePictures:
    """Open the slices of `scans` of a store, in order, normalised by `intensities`.

    Skips and counts slices with a single value. Raises `UserError` if `scans` is empty, if a scan is not in
    the store, or if no slice is left.
    """
    if not scans:
        raise UserError(f"no scan of {store.spec.name} to learn from; choose a fold that leaves some")
    reader = SliceReader(store, intensities)
    refs, hashes, slices, cut = [], [], 0, None
    for scan in scans:
        image = store.scan(scan).image
        slices += len(image)
        if max(image.shape[1:]) > reader.image_size:
            cut = reader.image_size
        for z in range(len(image)):
            shown = reader.image(SliceRef(scan, z))  # stored values may differ and be equal in float32
            if shown.min() < shown.max():
                refs.append(SliceRef(scan, z))
                hashes.append(image_hash(image[z]))
    left_out = Counter({"of one value": slices - len(refs)})
    if not refs:
        raise UserError(
            f"scans {', '.join(scans)} of {store.spec.name} have no slice to learn from: "
            f"{_reasons(left_out)}; choose others"
        )
    if left_out.total():
        LOG.info("left out %d of %d slices: %s", left_out.total(), slices, _reasons(left_out))
    return SlicePictures(store.spec.name, tuple(refs), tuple(hashes), reader, dict(+left_out), (cut,))


def _names(folder: Path, top: Path, walked: set[Path], aside: list[Path] | None = None) -> Iterator[str]:
    """Yield the paths, relative to `folder`, of files below `top` with a picture's ending.

    `walked` collects the visited folders, so that each is walked once. With `aside`, folders named
    `non-radiology` are collected there and not walked.
    """
    for parent, folders, names in os.walk(top, followlinks=True, onerror=_cannot_list):
        place = Path(parent)
        real = place.resolve()
        if real in walked:
            folders.clear()
            continue
        walked.add(real)
        if aside is not None:
            aside += [place / name for name in folders if name == NO_RADIOLOGY]
            folders[:] = [name for name in folders if name != NO_RADIOLOGY]
        folders.sort()
        for name in names:
            if name.lower().endswith(ENDINGS):
                yield (place / name).relative_to(folder).as_posix()


def _cannot_list(error: OSError) -> None:
    raise UserError(
        f"cannot list {error.filename}: {error.strerror}; make it readable, or move it"
    ) from error


def _checked(folder: Path, names: Sequence[str], cache: Path | None) -> list[FileCheck | None]:
    """Return the check of each file, in order; None for a file that cannot be read."""
    known = CheckCache(cache, folder, f"Pillow {PIL.__version__}")
    found = {name: known.get(name, folder / name) for name in names}
    unknown = [name for name, entry in found.items() if entry is None]
    if unknown:
        LOG.info("checking %d of %d pictures", len(unknown), len(names))
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for start in range(0, len(unknown), SAVED_AFTER):
            part = unknown[start : start + SAVED_AFTER]
            for name, entry in zip(part, pool.map(_check, (folder / name for name in part)), strict=True):
                found[name] = entry
                if entry is not None:
                    known.put(name, entry)
            known.save()
    return list(found.values())


def _check(path: Path) -> FileCheck | None:
    if not path.is_file():  # a broken link, or a pipe that would never end
        return None
    try:
        state = path.stat()
        content = path.read_bytes()
    except OSError:  # unreadable now, but not cached: permission may change
        return None
    digest = hashlib.sha256(content).hexdigest()[:16]
    return FileCheck(state.st_size, state.st_mtime_ns, _verdict(content), digest)


def _verdict(content: bytes) -> Verdict:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.load()
            if image.mode == "CMYK":
                return "CMYK"
            return "of one pixel" if min(image.size) < 2 else "good"
    except NO_PICTURE:
        return "unreadable"


def _decoded(content: bytes) -> Tensor:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if image.mode in DEEP:
            deep = torch.from_numpy(np.asarray(image).astype(np.float32) / np.float32(65535))
            return deep.expand(3, -1, -1)
        if image.has_transparency_data:
            over = image.convert("RGBA")
            flat = Image.alpha_composite(Image.new("RGBA", over.size, "black"), over).convert("RGB")
        else:
            flat = image.convert("L" if image.mode in ("1", "L") else "RGB")
    values = torch.from_numpy(np.array(flat))
    return values.expand(3, -1, -1) if flat.mode == "L" else values.permute(2, 0, 1)


def _reasons(left_out: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
