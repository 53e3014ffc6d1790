"""Bytes and files that are wrong for every reader: pages, archives, pointers, text, links, pipes."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please log in</body></html>\n" * 9
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 12345\n"
ANNEX = b"/annex/objects/MD5E-s1234--0123456789abcdef0123456789abcdef.nii.gz\n"
APPLE = b"\x00\x05\x16\x07" + b"\x00" * 200


def zipped(content: bytes = b"hello", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP archive with one entry."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("entry", content)
    return stream.getvalue()


# name -> bytes that no reader of images, arrays, tables or weights accepts
ALIEN: dict[str, bytes] = {
    "empty": b"",
    "one-byte": b"\x00",
    "zeros": bytes(4096),
    "ff": b"\xff" * 4096,
    "html": HTML,
    "html-in-gzip": gzip.compress(HTML),
    "text": b"This is no volume.\n" * 40,
    "xml": b"<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code></Error>\n",
    "utf16-text": "Zeile eins\n".encode("utf-16") * 50,
    "git-lfs": LFS,
    "git-annex": ANNEX,
    "apple-double": APPLE,
    "zip": zipped(),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(300),
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(300),
    "pdf": b"%PDF-1.7\n" + bytes(300),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(900),
    "npy": b"\x93NUMPY\x01\x00v\x00{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }" + bytes(80),
    "pickle": pickle.dumps({"a": [1, 2, 3]}),
    "json": b'{"a": 1}',
    "elf": b"\x7fELF" + bytes(500),
    "bz2": b"BZh91AY&SY" + bytes(300),
    "gzip-of-nothing": gzip.compress(b""),
    "gzip-magic-alone": b"\x1f\x8b",
    "gzip-bad-method": b"\x1f\x8b\x07\x00" + bytes(300),
}


def as_link_to_nothing(path: Path) -> None:
    """Make `path` a link to a file that does not exist."""
    path.symlink_to("/nowhere/at/all.nii.gz")


def as_annex_link(path: Path) -> None:
    """Make `path` a link as git-annex leaves it before `git annex get`."""
    path.symlink_to("../.git/annex/objects/xX/Yy/MD5E-s9--abc.nii.gz/MD5E-s9--abc.nii.gz")


def as_link_to_itself(path: Path) -> None:
    """Make `path` a link to itself."""
    path.symlink_to(path)


def as_pipe(path: Path) -> None:
    """Make `path` a pipe that nobody writes to."""
    os.mkfifo(path)


def as_folder(path: Path) -> None:
    """Make `path` a folder."""
    path.mkdir()


def as_device(path: Path) -> None:
    """Make `path` a link to an endless device."""
    path.symlink_to("/dev/zero")


NO_FILE: dict[str, Callable[[Path], None]] = {
    "dead-link": as_link_to_nothing,
    "annex-link": as_annex_link,
    "link-to-itself": as_link_to_itself,
    "pipe": as_pipe,
    "folder": as_folder,
    "device": as_device,
}


def writer(content: bytes) -> Callable[[Path], None]:
    """Return a function that writes `content` to a path."""

    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


FEW = ("empty", "zeros", "html", "utf16-text", "git-annex", "zip", "pickle", "gzip-magic-alone")


def few() -> dict[str, Callable[[Path], None]]:
    """Return the part of `everything` for a reader whose neighbours are tried with all of it."""
    return {**{name: writer(ALIEN[name]) for name in FEW}, **NO_FILE}


def everything() -> dict[str, Callable[[Path], None]]:
    """Return name -> function that puts a wrong file of every kind at a path."""
    return {**{name: writer(content) for name, content in ALIEN.items()}, **NO_FILE}
