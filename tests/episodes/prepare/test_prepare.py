"""`fewshot prepare`: the published layout becomes a store; a bad folder gets one line and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from places import HELPERS
from seal_again import edit_json
from small_volumes import (
    DIRECTION,
    ORIGIN,
    SPACING,
    names_in,
    small_scan,
    small_spec,
    write_scan,
    write_scans,
)

from episodes.figures.contact_sheet import middle_class_slice
from episodes.io.nifti import write_nifti
from episodes.prepare.audit import audit, flipped, left_right
from episodes.prepare.paired_nifti import find_pairs, prepare_published
from episodes.pseudo_labels.superpixels import volume_superpixels
from episodes.store import dataset
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.commands.data.store_summary import grouped_warnings
from fewshot.commands.main import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good folder of three small scans."""
    (tmp_path / "raw").mkdir()
    return write_scans(tmp_path / "raw")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `chaost2` mean the three small scans."""
    monkeypatch.setattr(dataset, "load_dataset_spec", lambda _name: small_spec())


def test_store_holds_what_the_files_hold(folder: Path, tmp_path: Path) -> None:
    (folder / "superpix-MIDDLE_1.nii.gz").write_text("ignored")
    (folder / "notes.txt").write_text("ignored")
    store = prepare_published(folder, small_spec(), tmp_path / "stores" / "chaost2")
    assert store.prepared_by == "published-layout"
    image, labels = small_scan(2)
    scan = store.scan("2")
    assert np.array_equal(scan.image, image) and np.array_equal(scan.labels, labels)
    assert scan.image.dtype == np.int16 and scan.labels.dtype == np.uint8
    assert np.array_equal(scan.superpixels, volume_superpixels(image, 50.0001, 20, 1))
    np.testing.assert_allclose(scan.spacing_mm, SPACING, rtol=1e-6)


def test_scans_are_in_integer_order(tmp_path: Path) -> None:
    for number in (10, 9, 2):
        write_scan(tmp_path, number, *small_scan(number))
    spec = replace(small_spec(), scans=())
    assert list(find_pairs(tmp_path, spec)) == ["2", "9", "10"]


def _missing(folder: Path) -> None:
    (folder / "label_2.nii.gz").unlink()


def _lone_label(folder: Path) -> None:
    (folder / "image_3.nii.gz").unlink()


def _truncated(folder: Path) -> None:
    file = folder / "label_2.nii.gz"
    file.write_bytes(file.read_bytes()[:-20])


def _shape(folder: Path) -> None:
    write_scan(folder, 2, small_scan(2)[0], small_scan(2)[1][:-1])


def _spacing(folder: Path) -> None:
    write_nifti(folder / "label_2.nii.gz", small_scan(2)[1], (7.7, 1.25, 1.25), ORIGIN, DIRECTION)


def _direction(folder: Path) -> None:
    write_nifti(folder / "label_2.nii.gz", small_scan(2)[1], SPACING, ORIGIN, (-1.0, *DIRECTION[1:]))


def _nan(folder: Path) -> None:
    image = small_scan(2)[0].astype(np.float32)
    image[1, 2, 3] = np.nan
    write_scan(folder, 2, image, small_scan(2)[1])


def _value(folder: Path) -> None:
    write_scan(folder, 2, small_scan(2)[0], np.where(small_scan(2)[1] == 4, 9, 0).astype(np.uint8))


def _few(folder: Path) -> None:
    for kind in ("image", "label"):
        (folder / f"{kind}_3.nii.gz").unlink()


def _many(folder: Path) -> None:
    write_scan(folder, 4, *small_scan(4))


def _twice(folder: Path) -> None:
    (folder / "image_2.nii").write_bytes(b"")


def _small(folder: Path) -> None:
    write_scan(folder, 2, small_scan(2)[0][:, :40], small_scan(2)[1][:, :40])


def _empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_missing, "no label_2.nii.gz beside its partner"),
        (_lone_label, "no image_3.nii.gz beside its partner"),
        (_truncated, "label_2.nii.gz: unreadable or truncated"),
        (_shape, "label_2.nii.gz has shape (4, 49, 49) (z,y,x), expected (5, 49, 49)"),
        (_spacing, "label_2.nii.gz has spacing (7.7, 1.25, 1.25) mm (z,y,x), expected (7.7, 1.25, 1.5)"),
        (_direction, "label_2.nii.gz has direction (-1, "),
        (_nan, "image_2.nii.gz has 1 voxels that are NaN or infinite"),
        (_value, "label_2.nii.gz holds the unknown label value 9; known: 0 background, 1 liver, 4 spleen"),
        (_few, "holds 2 scans, too few for the folds of chaost2, expected 3: 1 are missing (3)"),
        (_many, "holds scans that chaost2 does not have (4)"),
        (_twice, "holds image_2.nii and image_2.nii.gz; keep one"),
        (_small, "image_2.nii.gz has slices of 40 x 49 pixels, expected at least 48 x 48"),
        (_empty, "holds no image_ID.nii.gz"),
    ],
)  # fmt: skip
def test_bad_folder_gets_one_line_before_any_superpixel(
    folder: Path, tmp_path: Path, spoil: object, complaint: str, small: None,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spoil(folder)  # type: ignore[operator]
    monkeypatch.setattr("episodes.prepare.build.volume_superpixels", lambda *_: pytest.fail("too late"))
    work = tmp_path / "work"
    assert main(["prepare", "chaost2", str(folder), "--work", str(work)]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fewshot: error:")]
    assert len(errors) == 1 and complaint in errors[0], errors
    assert not (work / "stores").exists() or names_in(work / "stores") == []


def test_too_few_for_the_folds_of_a_set_without_fixed_ids(folder: Path) -> None:
    with pytest.raises(UserError, match=r"holds 3 scans, the folds of chaost2 need 5"):
        find_pairs(folder, replace(small_spec(), scans=(), fold_borders=(0, 2, 5)))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["chaos2", "."], "unknown dataset 'chaos2': did you mean 'chaost2'"),
        (["chaost2", "nowhere"], "nowhere is not a folder"),
        (["chaost2", ".", "--workers", "-1"], "--workers -1: expected 1 or more"),
        (["chaost2", ".", "--workers", "two"], "invalid int value: 'two'"),
    ],
)  # fmt: skip
def test_bad_arguments(
    arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", *arguments, "--work", str(tmp_path / "work")]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_command_prints_what_it_found_and_draws_it(
    folder: Path, tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    command = ["prepare", "chaost2", str(folder), "--work", str(work)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "3 scans, 15 slices, 12 of them with superpixels" in printed
    assert [line.split() for line in printed.splitlines() if line.startswith(("liver", "spleen"))] == [
        ["liver", "1", "3", "9", "1512", "tested"], ["spleen", "4", "3", "3", "240", "tested"],
    ]  # fmt: skip
    assert "warning: scans 1, 2, 3: 1 slices of one value only (4)" in printed
    picture = work / "stores" / "chaost2" / "contact.png"
    pixels = imread(picture)
    assert pixels.shape[1] > 800 and len(np.unique(pixels[..., :3].reshape(-1, 3), axis=0)) > 100
    assert "prepared by: somebody else's released preprocessing (published layout)" in printed
    assert Store.open(work / "stores" / "chaost2").prepared_by == "published-layout"
    before = (work / "stores" / "chaost2" / "index.json").stat().st_mtime_ns
    picture.unlink()
    assert main(command) == 0  # the same files: left as it is, the picture drawn again
    assert "already prepared" in capsys.readouterr().out and picture.exists()
    assert (work / "stores" / "chaost2" / "index.json").stat().st_mtime_ns == before


def test_other_files_replace_a_store_only_when_asked(
    folder: Path, tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["prepare", "chaost2", str(folder), "--work", str(tmp_path)]
    assert main(command) == 0
    old = Store.open(tmp_path / "stores" / "chaost2").hash
    write_scan(folder, 2, *small_scan(7))
    assert main(command) == 2
    assert "was prepared from other files" in capsys.readouterr().err
    assert Store.open(tmp_path / "stores" / "chaost2").hash == old
    assert main([*command, "--overwrite"]) == 0
    assert Store.open(tmp_path / "stores" / "chaost2").hash != old


@pytest.mark.parametrize("kind", ["images", "labels", "superpixels", "index"])
def test_a_changed_store_is_named_and_made_again(
    folder: Path, tmp_path: Path, small: None, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["prepare", "chaost2", str(folder), "--work", str(tmp_path)]
    assert main(command) == 0
    made = tmp_path / "stores" / "chaost2"
    path = made / "index.json" if kind == "index" else made / kind / "2.npy"
    content = bytearray(path.read_bytes())
    place = content.index(b'"mean": ') + 8 if kind == "index" else -1
    content[place] = ord("9") if kind == "index" else content[place] ^ 1
    path.write_bytes(content)
    capsys.readouterr()
    assert main(command) == 2
    message = capsys.readouterr().err
    assert path.name in message and "--overwrite" in message and message.count("\n") == 1
    assert main([*command, "--overwrite"]) == 0 == main(command)


def test_a_store_of_an_older_program_stays_and_the_way_out_is_named(
    folder: Path, tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["prepare", "chaost2", str(folder), "--work", str(tmp_path)]
    assert main(command) == 0
    index = tmp_path / "stores" / "chaost2" / "index.json"
    edit_json(index, lambda content: content.pop("prepared_by"))
    content = json.loads(index.read_text())
    capsys.readouterr()
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert (
        "--overwrite prepares it again and writes it down" in printed and "prepared by: not known" in printed
    )
    assert Store.open(index.parent).hash == content["hash"]
    assert main([*command, "--overwrite"]) == 0
    store = Store.open(index.parent)
    assert (store.hash, store.prepared_by) == (content["hash"], "published-layout")


def test_full_disk(folder: Path, tmp_path: Path) -> None:
    code = (
        "import resource, sys; sys.path.append(sys.argv[3]); from small_volumes import small_spec\n"
        "from episodes.store import dataset; dataset.load_dataset_spec = lambda name: small_spec()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); from fewshot.commands.main import main\n"
        "sys.exit(main(['prepare', 'chaost2', sys.argv[1], '--work', sys.argv[2]]))"
    )
    work = tmp_path / "work"
    command = [sys.executable, "-c", code, str(folder), str(work), str(HELPERS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert errors == [
        f"fewshot: error: cannot write {work}/stores/chaost2: File too large; free space or choose another "
        "--work folder"
    ]
    assert names_in(work / "stores") == []


def test_audit_warns_of_what_real_sets_hold() -> None:
    spec = small_spec()
    image, labels = small_scan(1)
    assert audit("1", image, labels, spec) == ["scan 1: 1 slices of one value only (4)"]
    image[-1, 0, 0] = 1
    labels[2][labels[2] == 1] = 0  # a gap
    labels[0, 20:22, 20] = 1  # two stray pixels on the first slice
    labels[labels == 4] = 0
    labels[1, 48, 48] = 1  # outside what the model sees
    assert audit("1", image, labels, spec) == [
        "scan 1: 1 labelled voxels lie outside the 48 x 48 pixels that the model sees",
        "scan 1: liver has a gap at slices 2",
        "scan 1: liver touches the first or last slice",
        "scan 1: liver has under 10 pixels at its end slice 0",
        "scan 1: spleen is absent",
    ]


def test_a_flipped_scan_is_noticed() -> None:
    spec = small_spec()
    sides = {str(number): left_right(small_scan(number)[1], spec) for number in (1, 2, 3)}
    assert flipped(sides) == []
    sides["2"] = left_right(small_scan(2)[1][:, :, ::-1], spec)
    (warning,) = flipped(sides)
    assert warning.startswith("scan 2: liver and spleen lie the other way round")


def test_middle_slice_of_those_with_most_classes() -> None:
    labels = np.zeros((9, 4, 4), dtype=np.uint8)
    labels[1:8, 0, 0] = 1
    labels[4:7, 1, 1] = 2
    labels[0, 2, 2] = 3
    assert middle_class_slice(labels, [1, 2]) == 5
    assert middle_class_slice(labels, [4]) == 4


@pytest.mark.volumes
def test_real_pairs_pass_the_checks(shared: Path) -> None:
    from episodes.io.nifti import check_pair, read_nifti

    for name, folder, scan in (("chaost2", "chaos_t2", "3"), ("sabs", "sabs_ct", "12")):
        spec = dataset.load_dataset_spec(name)
        image_file, label_file = find_pairs(shared / "data" / folder, spec)[scan]
        image, label = read_nifti(image_file), read_nifti(label_file)
        check_pair(scan, image, label, spec.classes)
        text = " ".join(audit(scan, image.array, label.array, spec))
        assert (
            "left-kidney has a gap at slices 16" if name == "chaost2" else "gallbladder is absent"
        ) in text


def test_warnings_of_one_kind_are_one_line() -> None:
    warnings = [f"scan {n}: liver has a gap at slices {n}, {n + 2}" for n in range(1, 11)]
    lines = grouped_warnings(
        [*warnings, "scan 3: spleen is absent", "scan 4: spleen is absent", "a.nii: tilt"]
    )
    assert lines == [
        "scans 1, 2, 3, 4, 5, 6, 7, 8 and 2 more: liver has a gap at slices 1, 3 (scan 1; alike in the "
        "others, 10 scans)",
        "scans 3, 4: spleen is absent",
        "a.nii: tilt",
    ]
