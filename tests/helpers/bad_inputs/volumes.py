"""Bad NIfTI files as image and label of `prepare`, query of `segment` and mask of `score`."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import nibabel
import numpy as np

from bad_inputs.case import Base, Case, link_files
from bad_inputs.files import everything

Change = Callable[[bytes], bytes]
MAGIC, DIM, TYPE, BITS, PIXDIM, OFFSET, SLOPE, INTER = 344, 40, 70, 72, 76, 108, 112, 116
UNITS, QCODE, SCODE, SROW = 123, 252, 254, 280


def set_at(layout: str, offset: int, *values: float) -> Change:
    """Return a change that packs values into the header."""

    def change(raw: bytes) -> bytes:
        made = bytearray(raw)
        struct.pack_into(f"<{layout}", made, offset, *values)
        return bytes(made)

    return change


def _nii2(raw: bytes) -> bytes:
    image = nibabel.Nifti1Image.from_bytes(raw)
    two = nibabel.Nifti2Image(np.asanyarray(image.dataobj), image.affine).to_bytes()
    return set_at("q", 16, 9)(two)


def _typed(kind: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def make(raw: bytes) -> bytes:
        image = nibabel.Nifti1Image.from_bytes(raw)
        made = nibabel.Nifti1Image(change(np.asanyarray(image.dataobj).astype(kind)), image.affine)
        made.header.set_xyzt_units("mm")
        return bytes(made.to_bytes())

    return make


def _nan(array: np.ndarray) -> np.ndarray:
    array[1, 2, 1] = np.nan
    return array


def _infinite(array: np.ndarray) -> np.ndarray:
    array[1, 2, 1] = np.inf
    return array


# changes of an uncompressed file that no reader accepts
HEADER: dict[str, Change] = {
    "sizeof-hdr-0": set_at("i", 0, 0),
    "sizeof-hdr-349": set_at("i", 0, 349),
    "sizeof-hdr-negative": set_at("i", 0, -348),
    "magic-zero": set_at("4s", MAGIC, b"\0\0\0\0"),
    "magic-pair": set_at("4s", MAGIC, b"ni1\0"),
    "magic-text": set_at("4s", MAGIC, b"nii\0"),
    "dim-0": set_at("h", DIM, 0),
    "dim-8": set_at("h", DIM, 8),
    "dim-negative": set_at("h", DIM, -3),
    "dim-1d": set_at("h", DIM, 1),
    "dim-2d": set_at("h", DIM, 2),
    "dim-byteswapped": set_at("h", DIM, 768),
    "size-x-0": set_at("h", DIM + 2, 0),
    "size-y-negative": set_at("h", DIM + 4, -64),
    "size-z-0": set_at("h", DIM + 6, 0),
    "size-z-one-more": lambda raw: set_at("h", DIM + 6, struct.unpack_from("<h", raw, DIM + 6)[0] + 1)(raw),
    "size-z-fewer": set_at("h", DIM + 6, 1),
    "sizes-huge": set_at("3h", DIM + 2, 32767, 32767, 32767),
    "sizes-gigabytes": set_at("3h", DIM + 2, 2048, 2048, 600),
    "two-frames": lambda raw: set_at("h", DIM + 8, 2)(set_at("h", DIM, 4)(raw)),
    "frames-5d": set_at("h3h3h", DIM, 5, 32, 64, 1, 2, 1, 2),
    "frames-0": lambda raw: set_at("h", DIM + 8, 0)(set_at("h", DIM, 4)(raw)),
    "type-0": set_at("h", TYPE, 0),
    "type-binary": set_at("2h", TYPE, 1, 1),
    "type-unknown": set_at("h", TYPE, 999),
    "type-negative": set_at("h", TYPE, -4),
    "type-rgb": set_at("2h", TYPE, 128, 24),
    "type-rgba": set_at("2h", TYPE, 2304, 32),
    "type-complex": set_at("2h", TYPE, 32, 64),
    "type-float128": set_at("2h", TYPE, 1536, 128),
    "type-larger": set_at("2h", TYPE, 64, 64),
    "offset-past-end": set_at("f", OFFSET, 1e9),
    "offset-in-header": set_at("f", OFFSET, 16.0),
    "offset-negative": set_at("f", OFFSET, -352.0),
    "offset-infinite": set_at("f", OFFSET, float("inf")),
    "slope-infinite": set_at("f", SLOPE, float("inf")),
    "inter-infinite": set_at("2f", SLOPE, 1.0, float("inf")),
    "pixdim-z-0": set_at("f", PIXDIM + 12, 0.0),
    "pixdim-x-negative": set_at("f", PIXDIM + 4, -1.25),
    "pixdim-y-nan": set_at("f", PIXDIM + 8, float("nan")),
    "pixdim-z-infinite": set_at("f", PIXDIM + 12, float("inf")),
    "pixdim-huge": set_at("f", PIXDIM + 12, 1e30),
    "pixdim-tiny": set_at("f", PIXDIM + 12, 1e-30),
    "pixdim-against-affine": set_at("f", PIXDIM + 12, 1.0),
    "pixdim-0-without-affine": lambda raw: set_at("f", PIXDIM + 12, 0.0)(set_at("2h", QCODE, 0, 0)(raw)),
    "units-metres-of-mm": set_at("B", UNITS, 1),
    "units-micrometres-of-mm": set_at("B", UNITS, 3),
    "affine-nan": set_at("f", SROW, float("nan")),
    "affine-infinite": set_at("f", SROW + 12, float("inf")),
    "affine-zero": set_at("12f", SROW, *[0.0] * 12),
    "affine-column-0": lambda raw: set_at("f", SROW + 40, 0.0)(raw),
    "affine-parallel": set_at("12f", SROW, 1.25, 1.25, 0, 0, 0, 0, 0, 0, 0, 0, 7.7, 0),
    "affine-two-axes-alike": set_at("12f", SROW, 1.25, 0, 7.7, 0, 0, 1.25, 0, 0, 0, 0, 0, 0),
    "affine-rows-at-45": set_at("12f", SROW, 1.25, 0.884, 0, 0, 0, 0.884, 0, 0, 0, 0, 7.7, 0),
    "affine-tilt-60": set_at("12f", SROW, 1.25, 0, 0, 0, 0, 1.25, 6.67, 0, 0, 0, 3.85, 0),
    "affine-larger": set_at("12f", SROW, 2.5, 0, 0, 0, 0, 2.5, 0, 0, 0, 0, 15.4, 0),
    "truncated-header": lambda raw: raw[:200],
    "header-alone": lambda raw: raw[:352],
    "truncated-half": lambda raw: raw[: len(raw) // 2],
    "truncated-one-byte": lambda raw: raw[:-1],
    "a-slice-too-many": lambda raw: raw + raw[-20_000:],
    "nifti2-nine-dimensions": _nii2,
    "nan-voxel": _typed("<f4", _nan),
    "infinite-voxel": _typed("<f8", _infinite),
}
# changes of the compressed file
PACKED: dict[str, Change] = {
    "gzip-truncated": lambda raw: gzip.compress(raw)[:-20],
    "gzip-half": lambda raw: (packed := gzip.compress(raw))[: len(packed) // 2],
    "gzip-without-checksum": lambda raw: gzip.compress(raw)[:-8],
    "gzip-wrong-checksum": lambda raw: gzip.compress(raw)[:-8] + b"\1\2\3\4" + gzip.compress(raw)[-4:],
    "gzip-wrong-length": lambda raw: gzip.compress(raw)[:-4] + b"\1\2\3\4",
    "gzip-flipped": lambda raw: (packed := gzip.compress(raw))[:600] + b"\xaa\x55" * 9 + packed[618:],
    "gzip-twice": lambda raw: gzip.compress(gzip.compress(raw)),
    "gzip-bomb-behind": lambda raw: gzip.compress(raw + bytes(1 << 28), 6),
    "gzip-header-lies": lambda raw: gzip.compress(set_at("3h", DIM + 2, 1000, 1000, 1000)(raw)),
    "zlib-not-gzip": zlib.compress,
    "gzip-garbage-behind": lambda raw: gzip.compress(raw) + b"\1garbage" * 40,
    "gzip-second-member": lambda raw: gzip.compress(raw) + gzip.compress(b"more" * 9000),
}
# geometry or values that fit no other file of the scan
PLACED: dict[str, Change] = {
    "origin-shifted": set_at("f", SROW + 12, 500.0),
    "flipped-x-alone": lambda raw: set_at("f", SROW, -struct.unpack_from("<f", raw, SROW)[0])(raw),
    "z-spacing-other": lambda raw: set_at("f", SROW + 40, 5.0)(set_at("f", PIXDIM + 12, 5.0)(raw)),
    "metres": lambda raw: set_at("B", UNITS, 1)(
        set_at("3f", PIXDIM + 4, 2e-3, 2e-3, 7.7e-3)(
            set_at("12f", SROW, 2e-3, 0, 0, 0, 0, 2e-3, 0, 0, 0, 0, 7.7e-3, 0)(raw)
        )
    ),
    "no-axes": lambda raw: set_at("2h", QCODE, 0, 0)(raw),
    "fewer-slices": lambda raw: _cropped(raw, np.s_[:, :, :-1]),
    "fewer-columns": lambda raw: _cropped(raw, np.s_[:-1]),
    "transposed": lambda raw: _cropped(raw, np.s_[:, :, :], (1, 2, 0)),
}
VALUES: dict[str, Change] = {
    "value-unknown": _typed("<u1", lambda array: np.where(array > 0, 77, array)),
    "value-fraction": _typed("<f4", lambda array: array + np.float32(0.5)),
    "value-near": _typed("<f8", lambda array: array * 1.002),
    "value-negative": _typed("<i2", lambda array: -array - 1),
    "value-huge": _typed("<f8", lambda array: array * 1e300 + 1e300),
}


def _cropped(raw: bytes, part: object, order: tuple[int, int, int] = (0, 1, 2)) -> bytes:
    image = nibabel.Nifti1Image.from_bytes(raw)
    array = np.asanyarray(image.dataobj)[part].transpose(order)  # type: ignore[index]
    made = nibabel.Nifti1Image(np.ascontiguousarray(array), image.affine)
    made.header.set_xyzt_units("mm")
    return bytes(made.to_bytes())


def _raw(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def prepare_with(kind: str, put: Callable[[Path, bytes], None], folder: Path, base: Base) -> Sequence[str]:
    """Make a folder of scans whose second image or label is bad, and prepare it."""
    name = f"{kind}_2.nii.gz"
    link_files(base.scans, folder / "scans", without=name)
    put(folder / "scans" / name, _raw(base.scans / name))
    facts = str(base.scans / "my.toml")
    return ["prepare", "mine", str(folder / "scans"), "--spec", facts, "--work", str(folder / "work")]


def score_with(put: Callable[[Path, bytes], None], folder: Path, base: Base) -> Sequence[str]:
    """Make a folder of masks of which one is bad, and score it."""
    name = "scan_1_label_1.nii.gz"
    link_files(base.masks, folder / "masks", without=name)
    put(folder / "masks" / name, _raw(base.masks / name))
    more = ["--plan", str(base.plan), "--name", "theirs", "--labels-used", "none"]
    return ["score", str(folder / "masks"), *more, "--work", str(base.work)]


def segment_with(part: str, put: Callable[[Path, bytes], None], folder: Path, base: Base) -> Sequence[str]:
    """Segment with a bad query, support image or support mask."""
    paths = {"query": "image_1", "image": "image_2", "mask": "label_2"}
    files = {name: str(base.scans / f"{file}.nii.gz") for name, file in paths.items()}
    bad = folder / "bad.nii.gz"
    put(bad, _raw(Path(files[part])))
    files[part] = str(bad)
    return [
        "segment", "--support", files["image"], files["mask"], "--query", files["query"], "--label", "1",
        "--checkpoint", base.model, "--prepared", "--out", str(folder / "out.nii.gz"), "--work",
        str(base.work),
    ]  # fmt: skip


def _changed(change: Change, packed: bool) -> Callable[[Path, bytes], None]:
    def put(path: Path, raw: bytes) -> None:
        made = change(raw)
        path.write_bytes(made if packed else gzip.compress(made, 1))

    return put


def cases() -> Iterator[Case]:
    """Yield the bad volumes."""
    places = {
        "prepare-image": partial(prepare_with, "image"),
        "prepare-label": partial(prepare_with, "label"),
        "score-mask": score_with,
        "segment-query": partial(segment_with, "query"),
    }
    for place, make in places.items():
        for name, change in (PACKED if place == "prepare-image" else HEADER | PACKED).items():
            yield Case(f"{place}/{name}", partial(make, _changed(change, name in PACKED)), ".nii.gz")
    for name, put in everything().items():
        for place in ("prepare-label", "segment-query"):
            yield Case(
                f"{place}/{name}", partial(places[place], lambda path, _raw, put=put: put(path)), ".nii"
            )
    for place in ("prepare-image", "prepare-label", "score-mask"):
        for name, change in PLACED.items():
            yield Case(f"{place}/{name}", partial(places[place], _changed(change, False)), ".nii.gz")
    for place, make in {**places, "segment-mask": partial(segment_with, "mask")}.items():
        for name, change in VALUES.items():
            if place not in ("prepare-image", "segment-query") and (place, name) != (
                "segment-mask",
                "value-unknown",
            ):
                yield Case(f"{place}/{name}", partial(make, _changed(change, False)), ".nii.gz")
