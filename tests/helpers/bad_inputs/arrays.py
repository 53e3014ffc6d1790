"""Bad stores (index.json and .npy arrays) and bad .npz vectors of `verify`."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from seal_again import edit_index

from bad_inputs.case import Base, Case, own_work
from bad_inputs.files import few
from bad_inputs.json_files import NOT_JSON, removals, with_value
from episodes.store.store import store_hash
from fewshot.files.seals import SEAL, add_seal

ARRAY = "images/1.npy"


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


def _headed(header: str, version: tuple[int, int] = (1, 0)) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        text = header.encode("latin-1") + b" " * 20 + b"\n"
        size = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
        return b"\x93NUMPY" + bytes(version) + size + text + raw[128:]

    return change


def _described(shape: object, kind: str = "'<i2'", order: bool = False) -> Callable[[bytes], bytes]:
    return _headed(f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}")


SHAPE = (8, 65, 65)
ARRAYS: dict[str, Callable[[bytes], bytes]] = {
    "npy-truncated": lambda raw: raw[:-1],
    "npy-header-alone": lambda raw: raw[:128],
    "npy-magic-alone": lambda raw: raw[:8],
    "npy-version-9": lambda raw: raw[:6] + b"\x09\x00" + raw[8:],
    "npy-header-longer-than-file": lambda raw: raw[:8] + b"\xff\xff" + raw[10:],
    "npy-header-code": _headed("__import__('os').system('true')"),
    "npy-header-nested": _headed("(" * 5000),
    "npy-header-not-a-dict": _headed("[1, 2, 3]"),
    "npy-header-huge": _headed(
        "{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }" + " " * 200_000, (2, 0)
    ),
    "npy-shape-huge": _described((10**9, 10**9, 10**9)),
    "npy-shape-negative": _described((-8, 65, 65)),
    "npy-shape-text": _described("'abc'"),
    "npy-shape-transposed": _described((65, 8, 65)),
    "npy-shape-flat": _described((8 * 65 * 65,)),
    "npy-object": lambda _raw: _npy(np.array([{"a": 1}], dtype=object)),
    "npy-text": lambda _raw: _npy(np.full(SHAPE, "ab")),
    "npy-complex": lambda _raw: _npy(np.zeros(SHAPE, np.complex64)),
    "npy-bool": lambda _raw: _npy(np.zeros(SHAPE, bool)),
    "npy-float": lambda _raw: _npy(np.zeros(SHAPE, np.float64)),
    "npy-structured": _described(SHAPE, "[('a', '<i1'), ('b', '<i1')]"),
    "npy-unknown-type": _described(SHAPE, "'<q9'"),
    "npy-date": lambda _raw: _npy(np.zeros(SHAPE, "datetime64[s]")),
}


def store_with(change: Callable[[Path], None], folder: Path, base: Base) -> Sequence[str]:
    """Copy the store, change it, and draw a scan of it."""
    work = own_work(folder, base, "stores")
    change(work / "stores" / "tiny")
    return ["view", "tiny", "1", "--work", str(work), "--out", str(folder / "out.png")]


def _put(name: str, put: Callable[[Path], None], store: Path) -> None:
    (store / name).unlink()
    put(store / name)


def _bytes(name: str, change: Callable[[bytes], bytes], store: Path) -> None:
    content = change((store / name).read_bytes())
    (store / name).write_bytes(content)
    kind, file = name.split("/")

    def rehash(index: dict[str, Any]) -> None:
        (entry,) = (entry for entry in index["scans"] if entry["id"] == file.removesuffix(".npy"))
        entry["array_sha256"][kind] = hashlib.sha256(content).hexdigest()

    edit_index(store / "index.json", rehash)


def _index(change: Callable[[Any], Any], store: Path) -> None:
    path = store / "index.json"
    content = json.loads(path.read_text())
    del content[SEAL]
    content = change(content)
    if isinstance(content, dict):
        with contextlib.suppress(KeyError, TypeError, AttributeError):  # not enough for a hash
            content["hash"] = content["hash"] and store_hash(content["spec"], content["scans"])
        content = add_seal(content)
    path.write_text(json.dumps(content))


def _npz(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _bomb() -> bytes:
    """Return an archive whose directory gives 4 GB for one entry, as an archive of zeros would."""
    raw = bytearray(_npz({"a.npy": _described((500 << 20,), "'<i8'")(bytes(128))}))
    place = raw.rindex(b"PK\x01\x02")
    raw[place + 24 : place + 28] = (4_000_000_000).to_bytes(4, "little")
    return bytes(raw)


GOOD_NPZ = _npz({"a.npy": _npy(np.zeros(4))})
VECTORS: dict[str, bytes] = {
    "npz-truncated": GOOD_NPZ[:-30],
    "npz-half": GOOD_NPZ[: len(GOOD_NPZ) // 2],
    "npz-flipped": GOOD_NPZ[:60] + b"\xff" * 20 + GOOD_NPZ[80:],
    "npz-object": _npz({"a.npy": _npy(np.array([{"a": 1}], dtype=object))}),
    "npz-text-entry": _npz({"a.npy": b"no array"}),
    "npz-header-lies": _npz({"a.npy": _described((1 << 33,), "'<f8'")(bytes(128))}),
    "npz-header-lies-version-2": _npz(
        {
            "a.npy": _headed("{'descr': '<f8', 'fortran_order': False, 'shape': (8589934592,), }", (2, 0))(
                bytes(128)
            )
        }
    ),
    "npz-no-entry": _npz({}),
    "npz-not-an-array": _npz({"readme.txt": b"hello"}),
}


def verify_with(put: Callable[[Path], None], name: str, folder: Path, _base: Base) -> Sequence[str]:
    """Make a family of reference vectors with one bad file and verify it."""
    family = folder / "conformance" / "dspnet"
    family.mkdir(parents=True)
    (family / "expected.json").write_text("{}")
    (family / "vectors.npz").write_bytes(GOOD_NPZ)
    (family / name).unlink()
    put(family / name)
    return ["verify", str(family), "--work", str(folder / "work")]


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def cases() -> Iterator[Case]:
    """Yield the bad stores and vectors."""
    for name, put in few().items():
        yield Case(f"store/array-{name}", partial(store_with, partial(_put, ARRAY, put)), "1.npy")
    for name, change in ARRAYS.items():
        yield Case(f"store/{name}", partial(store_with, partial(_bytes, ARRAY, change)), "1.npy")
    for kind in ("labels", "superpixels"):
        yield Case(f"store/{kind}-missing", partial(store_with, partial(_remove, f"{kind}/1.npy")), "1.npy")
        change = ARRAYS["npy-float"]
        yield Case(
            f"store/{kind}-float", partial(store_with, partial(_bytes, f"{kind}/1.npy", change)), "1.npy"
        )
    for name, put in {**few(), **NOT_JSON}.items():
        yield Case(f"store/index-{name}", partial(store_with, partial(_put, "index.json", put)), "")
    for name, alter in INDEX.items():
        yield Case(f"store/index-{name}", partial(store_with, partial(_index, alter)), "index.json")
    for name, put in few().items():
        if name != "zip":
            yield Case(f"verify/vectors-{name}", partial(verify_with, put, "vectors.npz"), "vectors.npz")
    for name, content in VECTORS.items():
        yield Case(
            f"verify/{name}", partial(verify_with, partial(_write, content), "vectors.npz"), "", (1, 2)
        )
    yield Case(
        "verify/npz-bomb", partial(verify_with, lambda path: _write(_bomb(), path), "vectors.npz"), "vectors"
    )
    for name, put in NOT_JSON.items():
        yield Case(f"verify/expected-{name}", partial(verify_with, put, "expected.json"), "expected.json")
    yield Case(
        "store/scan-folder-missing",
        partial(store_with, lambda store: shutil.rmtree(store / "images")),
        "1.npy",
    )
    yield Case("store/index-of-a-link", partial(store_with, _linked), "index.json")


def _remove(name: str, store: Path) -> None:
    (store / name).unlink()


def _linked(store: Path) -> None:
    (store / "index.json").unlink()
    (store / "index.json").symlink_to("/nowhere")


INDEX: dict[str, Callable[[Any], Any]] = {
    "a-list": lambda content: [content],
    "a-number": lambda _content: 5,
    "null": lambda _content: None,
    **removals(("schema", "spec", "scans", "hash", "warnings")),
    **removals(("id", "shape", "spacing_mm", "class_slices", "superpixel_slices", "dtype"), "scans", 0),
    **removals(("modality", "classes", "fold_borders", "image_size"), "spec"),
    "schema-99": with_value(99, "schema"),
    "schema-text": with_value("1", "schema"),
    "scans-a-number": with_value(3, "scans"),
    "scans-of-text": with_value(["1", "2"], "scans"),
    "shape-of-text": with_value(["8", "65", "65"], "scans", 0, "shape"),
    "shape-a-number": with_value(8, "scans", 0, "shape"),
    "spec-a-list": with_value([], "spec"),
    "class-slices-a-list": with_value([1, 2], "scans", 0, "class_slices"),
    "class-slices-of-a-number": with_value(3, "scans", 0, "class_slices", "liver"),
    "superpixel-slices-null": with_value(None, "scans", 0, "superpixel_slices"),
    "warnings-a-number": with_value(1, "warnings"),
    "prepared-by-unknown": with_value("elves", "prepared_by"),
    "image-size-huge": with_value(8 * 10**9, "spec", "image_size"),
}
