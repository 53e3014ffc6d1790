"""Bad DICOM slices, PNG masks and folders of a CHAOS download, prepared by the command line."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from dicom_bytes import Tag, with_element
from download_scans import STEP, anatomy, write_dicom

from bad_inputs.case import Base, Case
from bad_inputs.files import everything, few

Put = Callable[[Path], None]
FIRST = "DICOM_anon/IMG-0004-00003.dcm"
MASK = "Ground/IMG-0004-00003.png"


def chaos_with(change: Callable[[Path], None], folder: Path, base: Base) -> Sequence[str]:
    """Link a download whose scan 1 is copied and then changed; prepare it."""
    home = folder / "raw" / "MR"
    home.mkdir(parents=True)
    for path in (base.chaos / "Train_Sets" / "MR").iterdir():
        if path.name != "1":
            (home / path.name).symlink_to(path)
    for kind in ("DICOM_anon", "Ground"):
        (home / "1" / "T2SPIR" / kind).mkdir(parents=True)
        for path in (base.chaos / "Train_Sets" / "MR" / "1" / "T2SPIR" / kind).iterdir():
            (home / "1" / "T2SPIR" / kind / path.name).symlink_to(path)
    change(home / "1" / "T2SPIR")
    return ["prepare", "chaost2", str(folder / "raw"), "--work", str(folder / "work")]


def _replaced(name: str, put: Put, series: Path) -> None:
    (series / name).unlink()
    put(series / name)


def _rewritten(name: str, change: Callable[[bytes], bytes], series: Path) -> None:
    content = change((series / name).read_bytes())
    (series / name).unlink()
    (series / name).write_bytes(content)


def _slice(
    series: Path, pixels: np.ndarray | None = None, height: float = 40 + 2 * STEP, **tags: str
) -> None:
    (series / FIRST).unlink()
    write_dicom(series / FIRST, anatomy(1)[0][2] if pixels is None else pixels, height, "1.2.1.3", **tags)


def _moved(
    direction: tuple[float, ...] | None, origin: tuple[float, ...] | None, spacing: float, series: Path
) -> None:
    image = sitk.GetImageFromArray(anatomy(1)[0][2][None])
    image.SetSpacing((spacing, spacing, STEP))
    image.SetOrigin(origin or (-100.0, -90.0, 40 + 2 * STEP))
    if direction is not None:
        image.SetDirection(direction)
    for tag, text in {"0008|0060": "MR", "0020|000e": "1.2.1.3", "0018|0081": "70"}.items():
        image.SetMetaData(tag, text)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    (series / FIRST).unlink()
    writer.SetFileName(str(series / FIRST))
    writer.Execute(image)


def _value(tag: Tag, text: bytes) -> Callable[[bytes], bytes]:
    """Return a change that gives an element another value."""
    return lambda raw: with_element(raw, tag, text)


def _number(tag: Tag, value: int) -> Callable[[bytes], bytes]:
    return _value(tag, struct.pack("<H", value))


POSITION, ORIENTATION, SPACING = (0x20, 0x32), (0x20, 0x37), (0x28, 0x30)
ROWS, COLUMNS, BITS, STORED, SAMPLES = (0x28, 0x10), (0x28, 0x11), (0x28, 0x100), (0x28, 0x101), (0x28, 0x02)
BYTES: dict[str, Callable[[bytes], bytes]] = {
    "truncated-preamble": lambda raw: raw[:100],
    "truncated-after-magic": lambda raw: raw[:132],
    "truncated-header": lambda raw: raw[:400],
    "preamble-zeros-alone": lambda raw: raw[:128] + b"DICM" + bytes(500),
    "position-missing-number": _value(POSITION, b"-100\\-90"),
    "position-text": _value(POSITION, b"here\\there\\up"),
    "position-nan": _value(POSITION, b"nan\\-90\\55.4"),
    "position-infinite": _value(POSITION, b"-100\\-90\\1e999"),
    "position-empty": _value(POSITION, b""),
    "orientation-short": _value(ORIENTATION, b"1\\0\\0\\0\\1"),
    "orientation-zero": _value(ORIENTATION, b"0\\0\\0\\0\\0\\0"),
    "orientation-scaled": _value(ORIENTATION, b"5\\0\\0\\0\\5\\0"),
    "orientation-same-twice": _value(ORIENTATION, b"1\\0\\0\\1\\0\\0"),
    "orientation-coronal": _value(ORIENTATION, b"1\\0\\0\\0\\0\\-1"),
    "orientation-flipped": _value(ORIENTATION, b"-1\\0\\0\\0\\1\\0"),
    "spacing-zero": _value(SPACING, b"0\\0"),
    "spacing-negative": _value(SPACING, b"-2.5\\2.5"),
    "spacing-one-number": _value(SPACING, b"2.5"),
    "spacing-text": _value(SPACING, b"a\\b"),
    "spacing-other": _value(SPACING, b"2.6\\2.6"),
    "rows-0": _number(ROWS, 0),
    "rows-65535": _number(ROWS, 65535),
    "columns-65535": lambda raw: _number(COLUMNS, 65535)(_number(ROWS, 65535)(raw)),
    "bits-7": _number(BITS, 7),
    "bits-64": _number(BITS, 64),
    "samples-3": lambda raw: _value((0x28, 0x04), b"RGB")(_number(SAMPLES, 3)(raw)),
}
PIXELS = anatomy(1)[0][2]
CHANGES: dict[str, Callable[[Path], None]] = {
    "slice-shifted-in-plane": partial(_moved, None, (-60.0, -90.0, 40 + 2 * STEP), 2.5),
    "slice-at-the-same-height": lambda series: _slice(series, height=40.0),
    "slice-between": lambda series: _slice(series, height=40 + 1.4 * STEP),
    "slice-too-high": lambda series: _slice(series, height=4000.0),
    "slice-missing": lambda series: [(series / name).unlink() for name in (FIRST, MASK)] and None,
    "mask-missing": lambda series: (series / MASK).unlink(),
    "mask-alone": lambda series: (series / FIRST).unlink(),
    "only-one-slice": lambda series: _keep_one(series),
    "no-slices": lambda series: _empty(series / "DICOM_anon"),
    "no-masks": lambda series: _empty(series / "Ground"),
    "size-other": lambda series: _slice(series, PIXELS[:80]),
    "colours": lambda series: _slice(series, np.repeat(PIXELS[..., None].astype(np.uint8), 3, axis=2)),
    "echo-other": lambda series: _slice(series, **{"0018|0081": "80"}),
    "series-of-two": lambda series: _two_series(series),
    "name-without-number": lambda series: (
        (series / FIRST).rename(series / "DICOM_anon" / "slice.dcm") and None
    ),
    "mask-name-without-number": lambda series: (
        (series / MASK).rename(series / "Ground" / "mask.png") and None
    ),
}


def _keep_one(series: Path) -> None:
    for path in (series / "DICOM_anon").iterdir():
        if path.name != Path(FIRST).name:
            path.unlink()


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _two_series(series: Path) -> None:
    for path in sorted((series / "DICOM_anon").iterdir())[:3]:
        number = int(path.stem[-1])
        path.unlink()
        write_dicom(path, anatomy(1)[0][number - 1], 40 + STEP * (number - 1), "9.9.9")


def _png(array: np.ndarray) -> Put:
    def put(path: Path) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=array.ndim == 3), str(path))

    return put


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bomb(width: int, height: int) -> bytes:
    """Return a PNG of one bit per pixel whose header gives a huge size, with few bytes of pixels."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1 << 20))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


GREY = np.zeros((90, 90), np.uint8)
MASKS: dict[str, Put] = {
    "mask-colour": _png(np.zeros((90, 90, 3), np.uint8)),
    "mask-small": _png(GREY[:89]),
    "mask-large": _png(np.zeros((900, 900), np.uint8)),
    "mask-unknown-value": _png(GREY + 1),
    "mask-16-bit": _png(GREY.astype(np.uint16) + 30_000),
    "mask-bomb": lambda path: path.write_bytes(png_bomb(60_000, 60_000)) and None,
    "mask-bomb-wide": lambda path: path.write_bytes(png_bomb(2**31 - 1, 2)) and None,
    "mask-size-0": lambda path: path.write_bytes(png_bomb(0, 0)) and None,
}


def cases() -> Iterator[Case]:
    """Yield the bad slices, masks and folders."""
    for name, put in everything().items():
        yield Case(f"dicom/{name}", partial(chaos_with, partial(_replaced, FIRST, put)), ".dcm")
    for name, change in BYTES.items():
        yield Case(f"dicom/{name}", partial(chaos_with, partial(_rewritten, FIRST, change)), "DICOM_anon")
    for name, alter in CHANGES.items():
        yield Case(f"dicom/{name}", partial(chaos_with, alter), "T2SPIR")
    for name, put in (few() | MASKS).items():
        yield Case(f"png/{name}", partial(chaos_with, partial(_replaced, MASK, put)), ".png")
