"""Bring your own folder: the documented example as it is typed, and every mistake in one line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from layout_folders import write_nnunet
from places import ROOT
from small_volumes import DIRECTION, FACTS, ORIGIN, SPACING, names_in, small_scan, write_scan, write_scans

from episodes.io.nifti import write_nifti
from episodes.prepare.own_data.folder import own_scans, paired_files, read_own_facts
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.commands.main import main
from results.records.files import read_record

DOCUMENT = ROOT / "docs" / "your-data.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(), flags=re.DOTALL | re.MULTILINE)


def facts_file(folder: Path, old: str = "", new: str = "") -> Path:
    assert old in FACTS
    path = folder / "my.toml"
    path.write_text(FACTS.replace(old, new, 1) if old else FACTS)
    return path


def write_pelvis(folder: Path, scans: int = 6) -> None:
    """Write scans of several in-plane sizes, none of them 256 x 256, with three classes."""
    for number in range(1, scans + 1):
        draw = np.random.Generator(np.random.PCG64(number))
        height, width = 250 + 4 * number, 270 - 5 * number
        rows, columns = (np.mgrid[:height, :width].T - (height // 2, width // 2)).T
        image = np.where(rows**2 + columns**2 < 110**2, draw.integers(90, 130, (4, height, width)), 0)
        labels = np.zeros(image.shape, dtype=np.uint8)
        for value, place in enumerate((-50, 0, 50), start=1):
            labels[1:3, (abs(rows - place) < 15) & (abs(columns) < 20)] = value
        image[labels > 0] += 60 * labels[labels > 0]
        for kind, array in (("image", image.astype(np.int16)), ("label", labels)):
            write_nifti(folder / f"{kind}_{number}.nii.gz", array, SPACING, ORIGIN, DIRECTION)


def test_the_documented_example_works_as_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEWSHOT_WORK", raising=False)
    write_pelvis(tmp_path / "scans")
    (facts,) = blocks("toml")
    (tmp_path / "my.toml").write_text(facts)
    commands = [shlex.split(line) for line in blocks("sh")[1].splitlines()]
    assert [command[:2] for command in commands] == [["fewshot", name] for name in ("prepare", "plan", "run")]
    printed = []
    for command in commands:
        assert main(command[1:]) == 0
        printed.append(capsys.readouterr().out)
    store = Store.open(tmp_path / "work" / "stores" / "pelvis")
    assert store.prepared_by == "unknown"
    assert store.spec.fold_borders == (0, 2, 4, 6) and store.scan("6").image.shape == (4, 256, 256)
    assert store.spec.groups == {"pelvis": ("prostate", "bladder"), "prostate-alone": ("prostate",)}
    assert (store.path / "contact.png").stat().st_size > 10_000
    assert "Pelvis: T2-weighted MR: 6 scans, 24 slices" in printed[0]
    assert "prostate-alone" in printed[1] and "fold 2" in printed[1].lower()
    assert "incomplete" not in printed[2].lower()
    records = [read_record(path) for path in (tmp_path / "work" / "records").glob("*.json")]
    asked = {(record.fold, record.group, score.class_name) for record in records for score in record.scores}
    assert asked == {
        (fold, group, name)
        for fold in range(3)
        for group, name in (("pelvis", "prostate"), ("pelvis", "bladder"), ("prostate-alone", "prostate"))
    }
    areas = {(score.class_name, score.tp) for record in records for score in record.scores}
    assert areas == {("prostate", 2 * 29 * 39), ("bladder", 2 * 29 * 39)}  # none of the labels was cut off


def test_five_documented_commands_lead_from_an_nnunet_folder_to_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEWSHOT_WORK", raising=False)
    write_nnunet(tmp_path / "Dataset004_Hippocampus")
    commands = [shlex.split(line) for line in blocks("sh")[0].splitlines()]
    assert len(commands) == 5
    printed = []
    for command in commands:
        assert main(command[1:]) == 0
        printed.append(capsys.readouterr().out)
    assert "Dataset004_Hippocampus: nnU-Net raw data, 3 scans" in printed[0]
    assert "hippocampus: 3 scans, 15 slices" in printed[1] and "liver" in printed[1]
    assert len([line for line in printed[1].splitlines() if "slices of one value" in line]) == 1
    assert all("incomplete" not in text.lower() and "undefined scores: 0" in text for text in printed[3:])


@pytest.mark.parametrize(
    ("count", "folds", "borders"), [(6, 3, (0, 2, 4, 6)), (7, 3, (0, 2, 4, 7)), (5, 5, (0, 1, 2, 3, 4, 5))]
)
def test_a_number_of_folds_is_cut_evenly(
    tmp_path: Path, count: int, folds: int, borders: tuple[int, ...]
) -> None:
    for number in range(1, count + 1):
        for kind in ("image", "label"):
            (tmp_path / f"{kind}_{number}.nii.gz").touch()
    facts = read_own_facts(
        facts_file(tmp_path, "folds = 3", f"folds = {folds}\nspacing_known = true"), "mine"
    )
    spec, scans = own_scans(tmp_path, facts)
    assert spec.fold_borders == borders and list(scans) == [str(number) for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("images", "labels", "files", "scans"),
    [
        (
            "{id}.nii.gz", "{id}_seg.nii.gz",
            ["b.nii.gz", "b_seg.nii.gz", "a.nii.gz", "a_seg.nii.gz"],
            ["a", "b"],
        ),
        (
            "imagesTr/p{id}_0000.nii.gz", "labelsTr/p{id}.nii.gz",
            [f"imagesTr/p{n}_0000.nii.gz" for n in (10, 9)] + [f"labelsTr/p{n}.nii.gz" for n in (10, 9)],
            ["9", "10"],
        ),
    ],
)  # fmt: skip
def test_files_are_paired_by_their_patterns(
    tmp_path: Path, images: str, labels: str, files: list[str], scans: list[str]
) -> None:
    for name in [*files, "readme.txt"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = paired_files(tmp_path, images, labels)
    assert list(found) == scans
    for scan, pair in found.items():
        names = tuple(path.relative_to(tmp_path).as_posix() for path in pair)
        assert names == (images.replace("{id}", scan), labels.replace("{id}", scan))


BAD_FACTS = [
    ("image_size = 48", "imagesize = 48", "unknown key 'imagesize': did you mean 'image_size'"),
    ("image_size = 48", "", "key image_size is missing"),
    ("image_size = 48", 'image_size = "48"', "key image_size is '48', expected a int"),
    ("image_size = 48", "image_size = 50", "key image_size is 50, expected a multiple of 8"),
    ("image_size = 48", "image_size = 48\ncrop_or_pad = 1", "key crop_or_pad is 1, expected a bool"),
    ("folds = 3", "", "expected either key folds, a number, or key fold_borders"),
    ("folds = 3", "folds = 3\nfold_borders = [0, 3]", "expected either key folds"),
    ("folds = 3", "folds = 1", "key folds is 1, expected 2 or more"),
    ("folds = 3", "folds = 4", "holds 3 scans, too few for 4 folds"),
    ("folds = 3", "fold_borders = [0, 1, 4]", "holds 3 scans, but fold_borders of mine ends at 4"),
    ("folds = 3", "fold_borders = [0, 2, 1, 3]", "expected 0 first, then ascending numbers"),
    ("folds = 3", 'fold_borders = [0, "3"]', "key fold_borders holds '3', expected each to be a int"),
    ('"mr"', '"pet"', "key modality is 'pet', expected one of mr, ct"),
    ('["tumour"]', '["tumor"]', "unknown tested class 'tumor': did you mean 'tumour'"),
    ('["tumour"]', '"tumour"', "group small is 'tumour', expected a list"),
    ('folds = 3', 'folds = 3\ntested = ["liver"]', "group both: unknown tested class 'tumour'"),
    ("tumour = 4", "tumour = 1", "key classes gives values [1, 1], expected distinct ones"),
    ("folds = 3", 'folds = 3\nlabels = "label_{nr}.nii.gz"', "labels is 'label_{nr}.nii.gz', expected {id}"),
    ("folds = 3", 'folds = 3\nlabels = "image_{id}.nii.gz"', "keys images and labels are both"),
    ("folds = 3", 'folds = 3\nlabels = "seg_{id}.nii.gz"', "no seg_1.nii.gz, the partner of image_1.nii"),
    ("folds = 3", 'folds = 3\nimages = "i{id}.nii"\nlabels = "l{id}.nii"', "no i{id}.nii and no l{id}.nii"),
    ("image_size = 48", "image_size = 56", "slices of 49 x 49 pixels, expected at least 56 x 56"),
    ("tumour = 4", "tumour = 3", "holds the unknown label value 4; known: 0 background, 1 liver, 3 tumour"),
    ("folds = 3", "folds = ", "cannot be read as TOML"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "complaint"), BAD_FACTS, ids=[bad[1][:40] or "left out" for bad in BAD_FACTS]
)
def test_bad_facts_get_one_line_and_leave_nothing(
    tmp_path: Path, old: str, new: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scans").mkdir()
    write_scans(tmp_path / "scans")
    facts = facts_file(tmp_path, old, new)
    work = tmp_path / "work"
    assert main(["prepare", "mine", str(tmp_path / "scans"), "--spec", str(facts), "--work", str(work)]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fewshot: error:")]
    assert len(errors) == 1 and complaint in errors[0], errors
    assert not (work / "stores").exists() or names_in(work / "stores") == []


@pytest.mark.parametrize(
    ("name", "folder", "facts", "complaint"),
    [
        ("chaost2", "scans", "my.toml", "'chaost2' is a dataset whose facts are shipped"),
        ("my data", "scans", "my.toml", "dataset 'my data' is not a usable name"),
        ("mine", "empty", "my.toml", "empty holds no image_{id}.nii.gz and no label_{id}.nii.gz"),
        ("mine", "nowhere", "my.toml", "nowhere is not a folder"),
        ("mine", "scans", "your.toml", "your.toml: no such file"),
        ("mine", "lone", "my.toml", "lone holds no label_2.nii.gz, the partner of image_2.nii.gz (1 such)"),
    ],
)  # fmt: skip
def test_a_wrong_name_folder_or_file(
    tmp_path: Path, name: str, folder: str, facts: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for made in ("scans", "empty", "lone"):
        (tmp_path / made).mkdir()
    write_scan(tmp_path / "scans", 1, *small_scan(1))
    write_scans(tmp_path / "lone")
    (tmp_path / "lone" / "label_2.nii.gz").unlink()
    facts_file(tmp_path)
    (tmp_path / "work").mkdir()
    nothing = ["prepare", "mine", "--spec", str(tmp_path / "my.toml"), "--work", str(tmp_path / "work")]
    assert main(nothing) == 2 and "give the FOLDER" in capsys.readouterr().err
    command = ["prepare", name, str(tmp_path / folder), "--spec", str(tmp_path / facts)]
    assert main([*command, "--work", str(tmp_path / "work")]) == 2
    message = capsys.readouterr().err
    assert complaint in message and message.count("\n") == 1
    assert not (tmp_path / "work" / "stores").exists()


def test_a_spacing_of_one_everywhere_is_no_spacing_unless_the_facts_say_so(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        for kind, array in zip(("image", "label"), small_scan(number), strict=True):
            write_nifti(tmp_path / f"{kind}_{number}.nii.gz", array, (1.0, 1.0, 1.0), ORIGIN, DIRECTION)
    assert not own_scans(tmp_path, read_own_facts(facts_file(tmp_path), "mine"))[0].spacing_known
    told = facts_file(tmp_path, "folds = 3", "folds = 3\nspacing_known = true")
    assert own_scans(tmp_path, read_own_facts(told, "mine"))[0].spacing_known
    write_scan(tmp_path, 3, *small_scan(3))
    assert own_scans(tmp_path, read_own_facts(facts_file(tmp_path), "mine"))[0].spacing_known


def test_bad_facts_name_their_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "my.toml"))):
        read_own_facts(facts_file(tmp_path, "image_size = 48", "size = 48"), "mine")
