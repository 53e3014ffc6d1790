"""The store: what it keeps, what its hash covers, and that nothing half-written stays behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from places import HELPERS
from seal_again import edit_json
from small_volumes import DIRECTION, ORIGIN, SIZE, SPACING, names_in, small_scan, small_spec

from episodes.store.dataset import DatasetSpec
from episodes.store.store import PREPARED_BY, SourceScan, Store, new_store
from fewshot.base.errors import UserError
from fewshot.files.seals import add_seal


def small_source(number: int) -> SourceScan:
    image, labels = small_scan(number)
    superpixels = np.where(image > 0, 1 + number, 0).astype(np.uint16)
    return SourceScan(str(number), image, labels, superpixels, SPACING, ORIGIN, DIRECTION, "a" * 64, "b" * 64)


def write_small(
    path: Path, *sources: SourceScan, spec: DatasetSpec | None = None, overwrite: bool = False
) -> Store:
    with new_store(path, spec or small_spec(), overwrite=overwrite) as writer:
        for source in sources or (small_source(1), small_source(2), small_source(3)):
            writer.add(source)
    return Store.open(path)


def test_what_went_in_comes_out(tmp_path: Path) -> None:
    store = write_small(tmp_path / "chaost2")
    assert store.spec == small_spec() and store.index.scans == ("1", "2", "3")
    for number in (1, 2, 3):
        scan, source = store.scan(str(number)), small_source(number)
        for stored, given in (
            (scan.image, source.image), (scan.labels, source.labels), (scan.superpixels, source.superpixels),
        ):  # fmt: skip
            assert isinstance(stored, np.memmap) and not stored.flags.writeable
            assert stored.dtype == given.dtype and np.array_equal(stored, given)
        assert scan.image.shape == (5, SIZE + 1, SIZE + 1)  # uncut
        assert (scan.spacing_mm, scan.origin, scan.direction) == (SPACING, ORIGIN, DIRECTION)


def test_index_from_the_labels(tmp_path: Path) -> None:
    index = write_small(tmp_path / "chaost2").index
    assert index.depths == {"1": 5, "2": 5, "3": 5}
    assert index.slices_of("liver", "1") == (1, 2, 3) and index.slices_of("spleen", "2") == (2,)
    assert index.superpixel_slices["1"] == (0, 1, 2, 3)  # the last slice is empty


def test_statistics_of_the_whole_uncut_volume(tmp_path: Path) -> None:
    image = np.arange(5 * 49 * 49, dtype=np.int16).reshape(5, 49, 49)
    n = image.size
    scan = write_small(tmp_path / "s", replace(small_source(1), image=image)).scan("1")
    assert scan.count == n
    assert scan.mean == pytest.approx((n - 1) / 2, rel=1e-14)
    assert scan.m2 == pytest.approx(
        n * (n * n - 1) / 12, rel=1e-12
    )  # sum of squares of 0 .. n-1 about the mean


def test_hash_covers_what_determines_results(tmp_path: Path) -> None:
    first = write_small(tmp_path / "a").hash
    assert write_small(tmp_path / "b").hash == first
    prose = replace(small_spec(), title="another", sources=(), region="heart")
    assert write_small(tmp_path / "c", spec=prose).hash == first
    changed = []
    source = small_source(1)
    for field in ("image", "labels"):
        array = getattr(source, field).copy()
        array[0, 0, 0] += 1
        changed.append((replace(source, **{field: array}), small_spec()))
    changed.append((replace(source, spacing_mm=(7.7, 1.25, 1.25)), small_spec()))
    changed.append((source, replace(small_spec(), classes={"liver": 1, "spleen": 3})))
    changed.append((source, replace(small_spec(), fold_borders=(0, 2, 3))))
    hashes = {
        write_small(tmp_path / f"d{number}", scan, small_source(2), small_source(3), spec=spec).hash
        for number, (scan, spec) in enumerate(changed)
    }
    assert len(hashes | {first}) == len(changed) + 1


def test_superpixels_have_a_hash_of_their_own(tmp_path: Path) -> None:
    """They differ in some pixels between processors; evaluation reads none of them."""
    source = small_source(1)
    other = source.superpixels.copy()
    other[0, 0, 0] += 1
    here = write_small(tmp_path / "a", source)
    elsewhere = write_small(tmp_path / "b", replace(source, superpixels=other))
    assert here.hash == elsewhere.hash and here.superpixels_hash != elsewhere.superpixels_hash
    assert len(here.superpixels_hash) == 16


def test_who_prepared_a_store_is_kept_and_not_hashed(tmp_path: Path) -> None:
    hashes = set()
    for name in PREPARED_BY:
        with new_store(tmp_path / name, small_spec(), prepared_by=name) as writer:
            writer.add(small_source(1))
        store = Store.open(tmp_path / name)
        assert store.prepared_by == name
        hashes.add(store.hash)
    assert hashes == {"74c419490f9d1e20"}  # that of a store without the key


def test_a_store_without_the_key_is_of_unknown_preparation(tmp_path: Path) -> None:
    store = write_small(tmp_path / "chaost2")
    assert store.prepared_by == "unknown"  # what an own folder has
    index = store.path / "index.json"
    edit_json(index, lambda content: content.pop("prepared_by"))
    old = Store.open(store.path)
    assert (old.prepared_by, old.hash) == ("unknown", store.hash)
    edit_json(index, lambda content: content.update(prepared_by="me"))
    with pytest.raises(UserError, match="prepared_by is 'me', expected one of fewshot, published-layout"):
        Store.open(store.path)


def test_existing_store_stays_unless_asked(tmp_path: Path) -> None:
    old = write_small(tmp_path / "chaost2").hash
    with pytest.raises(UserError, match="exists already; use --overwrite"):
        write_small(tmp_path / "chaost2", small_source(5))
    assert Store.open(tmp_path / "chaost2").hash == old
    new = write_small(tmp_path / "chaost2", small_source(5), overwrite=True)
    assert new.hash != old and new.index.scans == ("5",)
    assert names_in(tmp_path) == ["chaost2"]


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    old = write_small(tmp_path / "chaost2").hash
    for error in (ValueError("boom"), KeyboardInterrupt()):
        with (
            pytest.raises(type(error)),
            new_store(tmp_path / "chaost2", small_spec(), overwrite=True) as writer,
        ):
            writer.add(small_source(1))
            raise error
    assert names_in(tmp_path) == ["chaost2"] and Store.open(tmp_path / "chaost2").hash == old


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    code = (
        "import os, sys; sys.path += sys.argv[2:]; from pathlib import Path; from test_store import *\n"
        "with new_store(Path(sys.argv[1]) / 'chaost2', small_spec()) as writer:\n"
        "    writer.add(small_source(1)); print('there', flush=True); os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(HELPERS), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "there\n" and len(names_in(tmp_path)) == 1
    with new_store(tmp_path / "chaost2", small_spec()) as writer:
        writer.add(small_source(1))
        # a living writer's folder is left alone by the next one
        with new_store(tmp_path / "chaost2", small_spec(), overwrite=True) as other:
            other.add(small_source(2))
            assert len(names_in(tmp_path)) == 2
        shutil.rmtree(tmp_path / "chaost2")
    assert names_in(tmp_path) == ["chaost2"] and Store.open(tmp_path / "chaost2").index.scans == ("1",)


def test_full_disk_is_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, sys; sys.path += sys.argv[2:]\n"
        "from pathlib import Path; from test_store import *\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))\n"
        "try: write_small(Path(sys.argv[1]) / 'chaost2')\n"
        "except UserError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(HELPERS), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (
        done.stdout
        == f"cannot write {tmp_path}/chaost2: File too large; free space or choose another --work folder\n"
    )
    assert names_in(tmp_path) == []


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no index\.json"):
        Store.open(tmp_path)
    store = write_small(tmp_path / "chaost2")
    file = store.path / "index.json"
    table = json.loads(file.read_text())
    for content, complaint in (
        ("{", "not JSON"),
        ("[]", "has schema None, expected 2"),
        (json.dumps({**table, "schema": 99}), "has schema 99, expected 2"),
        (json.dumps({"schema": 2, "hash": ""}), "has no seal"),
        (json.dumps(add_seal({"schema": 2, "hash": ""})), "is damaged"),
    ):
        file.write_text(content)
        with pytest.raises(UserError, match=complaint) as error:
            Store.open(store.path)
        assert "\n" not in str(error.value) and "--overwrite" in str(error.value)
    file.write_text(json.dumps(table))
    array = store.path / "images" / "1.npy"
    array.write_bytes(array.read_bytes()[:-100])
    scan = Store.open(store.path).scan("1")
    with pytest.raises(UserError, match=r"1\.npy is not as prepared"):
        scan.image  # noqa: B018
    array.unlink()
    with pytest.raises(UserError, match=r"1\.npy: no such file; prepare it again"):
        scan.image  # noqa: B018


def test_unknown_scan(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"scan '9' is not in .*; it holds 1, 2, 3"):
        write_small(tmp_path / "chaost2").scan("9")
