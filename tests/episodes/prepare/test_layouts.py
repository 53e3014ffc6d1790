"""Folders as people have them: every layout and format is recognised, and gives the voxels written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from download_scans import SPACING, STEP, write_dicom
from layout_folders import (
    scans,
    write_beside,
    write_bids,
    write_decathlon,
    write_nnunet,
    write_organ_masks,
    write_subjects,
    write_volume,
)

from episodes.io.nifti import write_nifti
from episodes.prepare.own_data.folder import own_scans, read_own_facts
from episodes.prepare.recognition.detection import recognise_folder
from episodes.prepare.recognition.toml_draft import draft_text
from episodes.prepare.scan import RawScan
from episodes.store.dataset import DatasetSpec
from fewshot.base.errors import UserError
from fewshot.commands.main import main


def drafted(folder: Path, channel: str | None = None) -> tuple[str, DatasetSpec, dict[str, RawScan]]:
    """Return layout, facts and scans by the draft of a folder, as `prepare --init-spec` writes it."""
    draft = recognise_folder(folder)
    path = folder.parent / "drafted.toml"
    path.write_text(draft_text(draft, "mine", folder, channel))
    return draft.layout, *own_scans(folder, read_own_facts(path, "mine"))


def check_voxels(spec: DatasetSpec, found: dict[str, RawScan], plus: int = 0) -> None:
    """Compare every scan with what was written, about its centre; classes by the written value."""
    assert spec.image_size == 56 and spec.patient_threshold == "auto" and spec.superpixel_min_size == 19
    for (_number, image, labels), raw in zip(scans(), found.values(), strict=True):
        pair = raw.read()
        inner = (slice(None), slice(4, 53), slice(4, 53))
        assert np.array_equal(pair.image.array[inner], image + plus)
        for value, stored in zip((1, 4), spec.classes.values(), strict=True):
            assert np.array_equal(pair.label.array[inner] == stored, labels == value)
        assert pair.original.shape == image.shape


VALUES, ORGAN_NAMES = ["class-1", "class-4"], ["liver", "spleen"]
LAYOUTS: list[tuple[str, Callable[[Path], None], str, list[str], list[str]]] = [
    ("nnunet", write_nnunet, "nnU-Net raw data", ["001", "002", "003"], ORGAN_NAMES),
    ("nrrd", lambda f: write_nnunet(f, ".nrrd"), "nnU-Net raw data", ["001"], ORGAN_NAMES),
    ("decathlon", write_decathlon, "Medical Segmentation Decathlon", ["1"], ORGAN_NAMES),
    ("bids", write_bids, "BIDS-like", ["01", "02", "03"], VALUES),
    ("subjects", write_subjects, "one folder a subject", ["1"], VALUES),
    ("mha", lambda f: write_subjects(f, ".mha"), "one folder a subject", ["1"], VALUES),
    ("mhd", lambda f: write_beside(f, ".mhd"), "files beside one another", ["1"], VALUES),
    ("organs", write_organ_masks, "one folder a subject, one mask file an organ", ["0001"], ORGAN_NAMES),
    ("beside", write_beside, "files beside one another", ["1", "2", "3"], VALUES),
]  # fmt: skip


@pytest.mark.parametrize(
    ("write", "layout", "ids", "classes"), [each[1:] for each in LAYOUTS], ids=[each[0] for each in LAYOUTS]
)
def test_a_layout_is_recognised_and_read(
    tmp_path: Path, write: Callable[[Path], None], layout: str, ids: list[str], classes: list[str]
) -> None:
    write(tmp_path / "data")
    found, spec, raw = drafted(tmp_path / "data")
    assert (found, spec.modality, spec.groups) == (layout, "mr", {"all": tuple(classes)})
    assert list(raw)[: len(ids)] == ids and list(spec.classes) == classes
    check_voxels(spec, raw)


@pytest.mark.parametrize("write", [write_nnunet, write_decathlon], ids=["files", "frames"])
def test_one_of_several_channels_is_read(tmp_path: Path, write: Callable[..., None]) -> None:
    write(tmp_path / "data", channels=2)
    check_voxels(*drafted(tmp_path / "data")[1:])
    for chosen in ("T2", "1"):
        check_voxels(*drafted(tmp_path / "data", chosen)[1:], plus=100)
    with pytest.raises(UserError, match="unknown channel 'T3': did you mean"):
        drafted(tmp_path / "data", "T3")
    facts = (tmp_path / "drafted.toml").read_text().replace('channel = "T2"', "")
    (tmp_path / "drafted.toml").write_text(facts)
    with pytest.raises(UserError, match="images have the channels T1, T2; choose one with --channel NAME"):
        read_own_facts(tmp_path / "drafted.toml", "mine")
    other = own_scans(tmp_path / "data", read_own_facts(tmp_path / "drafted.toml", "mine", "T1"))[1]
    same = own_scans(tmp_path / "data", read_own_facts(tmp_path / "drafted.toml", "mine", "T2"))[1]
    assert other[next(iter(other))].hashes() != same[next(iter(same))].hashes()


def test_channels_without_names_need_a_number(tmp_path: Path) -> None:
    for number, image, labels in scans():
        write_volume(tmp_path / "data" / f"image_{number}.nrrd", np.stack([image, image + np.int16(7)]))
        write_volume(tmp_path / "data" / f"label_{number}.nrrd", labels)
    facts = tmp_path / "my.toml"
    facts.write_text(
        'modality = "mr"\nimage_size = 56\ncrop_or_pad = true\nfolds = 3\nimages = "image_{id}.nrrd"\n'
        'labels = "label_{id}.nrrd"\n[classes]\nliver = 1\nspleen = 4\n'
    )
    with pytest.raises(UserError, match="has 2 channels or frames; choose one with --channel N, from 0 to 1"):
        own_scans(tmp_path / "data", read_own_facts(facts, "mine"))[1]["1"].read()
    check_voxels(*own_scans(tmp_path / "data", read_own_facts(facts, "mine", "1")), plus=7)
    with pytest.raises(UserError, match="holds 2 channels, so it has no channel 2"):
        own_scans(tmp_path / "data", read_own_facts(facts, "mine", "2"))[1]["1"].read()


def test_sessions_are_scans_of_one_patient_and_stay_in_one_fold(tmp_path: Path) -> None:
    write_bids(tmp_path / "data", sessions=("a", "b", "c"))
    layout, spec, raw = drafted(tmp_path / "data")
    assert layout == "BIDS-like, with sessions"
    assert list(raw) == ["01_a", "01_b", "01_c", "02_a", "03_a"]
    assert spec.patients == {"01": ("01_a", "01_b", "01_c")}
    assert spec.fold_borders == (0, 3, 4, 5)
    facts = tmp_path / "drafted.toml"
    facts.write_text(facts.read_text().replace("folds = 3", "folds = 4"))
    with pytest.raises(UserError, match="5 scans of 3 patients are too few for 4 folds"):
        own_scans(tmp_path / "data", read_own_facts(facts, "mine"))


def test_numbers_in_names_are_ids_in_their_order(tmp_path: Path) -> None:
    for number in (2, 10, 1):
        write_volume(tmp_path / "data" / f"case_{number}_image.nii.gz", scans()[0][1])
        write_volume(tmp_path / "data" / f"case_{number}_label.nii.gz", scans()[0][2])
    _layout, _spec, raw = drafted(tmp_path / "data")
    assert list(raw) == ["1", "2", "10"]
    assert raw["10"].images[0].name == "case_10_image.nii.gz"


def test_weightings_are_channels_by_name(tmp_path: Path) -> None:
    write_bids(tmp_path / "data", weightings=("T1w", "T2w"))
    assert 'channel = "T1w"  # one of T1w, T2w' in draft_text(
        recognise_folder(tmp_path / "data"), "mine", tmp_path / "data"
    )
    raw = drafted(tmp_path / "data", "T2w")[2]
    assert [each.images[0].name for each in raw.values()][:1] == ["sub-01_T2w.nii.gz"]


def test_folders_of_dicom_slices_are_read_and_a_turned_label_is_turned_back(tmp_path: Path) -> None:
    flipped = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)  # converters of DICOM turn the rows
    for number, image, labels in scans():
        place = tmp_path / "data" / f"p{number}"
        for z, pixels in enumerate(image):
            write_dicom(place / "dicom" / f"IM{z:03d}.dcm", pixels, 40 + STEP * z, f"1.2.{number}")
        last_row = (-100.0, -90.0 + SPACING * (image.shape[1] - 1), 40.0)
        write_nifti(place / "seg.nii.gz", labels[:, ::-1], (STEP, SPACING, SPACING), last_row, flipped)
    layout, spec, raw = drafted(tmp_path / "data")
    assert layout == "one folder a subject"
    check_voxels(spec, raw)
    original = raw["1"].read().original
    assert (original.image, original.label, original.suffix) == ("dicom", "seg.nii.gz", "")


FACTS = """
modality = "mr"
image_size = 48
folds = 3
"""


def test_values_are_merged_into_one_class_and_other_files_are_new_sources(tmp_path: Path) -> None:
    write_beside(tmp_path / "data")
    facts = tmp_path / "my.toml"
    names = 'images = "images/{id}.nii.gz"\nlabels = "labels/{id}.nii.gz"\n'
    facts.write_text(FACTS + names + "[classes]\norgans = [1, 4]\n")
    spec, raw = own_scans(tmp_path / "data", read_own_facts(facts, "mine"))
    assert spec.classes == {"organs": 1}
    assert np.array_equal(raw["a1"].read().label.array == 1, scans()[0][2] > 0)
    merged = raw["a1"].hashes()
    facts.write_text(FACTS + names + "[classes]\norgans = [1, 4, 600]\n")
    assert own_scans(tmp_path / "data", read_own_facts(facts, "mine"))[1]["a1"].hashes() != merged
    facts.write_text(FACTS + names + "[classes]\norgans = [1, 3]\n")
    with pytest.raises(UserError, match=r"unknown label value 4; known: 0 background, 1\+3 organs"):
        own_scans(tmp_path / "data", read_own_facts(facts, "mine"))[1]["a1"].read()


def test_ignored_voxels_are_refused_not_made_background(tmp_path: Path) -> None:
    write_nnunet(tmp_path / "data", labels={"background": 0, "liver": 1, "ignore": 4})
    text = draft_text(recognise_folder(tmp_path / "data"), "mine", tmp_path / "data")
    assert "ignore = [4]" in text and "liver = 1" in text
    with pytest.raises(UserError, match="holds 80 voxels of the ignored value 4, which would count as"):
        next(iter(drafted(tmp_path / "data")[2].values())).read()


def test_masks_that_overlap_are_refused_and_a_missing_one_is_an_absent_organ(tmp_path: Path) -> None:
    write_organ_masks(tmp_path / "data")
    (tmp_path / "data" / "s0002" / "segmentations" / "spleen.nii.gz").unlink()
    raw = drafted(tmp_path / "data")[2]
    assert set(np.unique(raw["0002"].read().label.array)) == {0, 1}
    shutil.copy(
        tmp_path / "data/s0001/segmentations/liver.nii.gz",
        tmp_path / "data/s0001/segmentations/spleen.nii.gz",
    )
    with pytest.raises(UserError, match=r"voxels are liver and spleen .*, expected one class a voxel"):
        raw["0001"].read()


def test_overlapping_regions_of_nnunet_are_named(tmp_path: Path) -> None:
    write_nnunet(tmp_path / "data", labels={"background": 0, "whole": [1, 4], "core": [4]})
    draft = recognise_folder(tmp_path / "data")
    assert draft.classes == {"core": [4]}
    assert "region whole = [1, 4] overlaps with another" in draft.notes[0]


def test_an_unknown_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match="holds no volumes"):
        recognise_folder(tmp_path / "data")
    for number, image, _labels in scans():
        write_volume(tmp_path / "data" / f"x{number}.nii.gz", image)
    with pytest.raises(UserError, match=r"no layout was recognised in 3 volumes .*: no name says what"):
        recognise_folder(tmp_path / "data")


def test_the_draft_is_not_written_over_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_nnunet(tmp_path / "data")
    assert main(["prepare", "mine", "data", "--init-spec"]) == 0
    assert "data: nnU-Net raw data, 3 scans" in capsys.readouterr().out
    before = (tmp_path / "mine.toml").read_text()
    assert main(["prepare", "mine", "data", "--init-spec"]) == 2
    assert "mine.toml exists already" in capsys.readouterr().err
    assert (tmp_path / "mine.toml").read_text() == before
