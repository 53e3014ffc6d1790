"""AMOS22, CHAOS T1, MyoPS and male pelvis: facts by name, and files in the layout of the download."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from cardiac_scans import heart
from download_scans import DEPTH, PNG, STEP, anatomy, write_dicom

from episodes.io.nifti import write_nifti
from episodes.prepare.downloads import chaos
from episodes.prepare.downloads.layouts import LAYOUTS, detect
from episodes.prepare.own_data.folder import with_even_folds
from episodes.store.dataset import DatasetSpec, load_dataset_spec
from fewshot.base.errors import UserError
from fewshot.commands.main import main

RAS = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)  # columns to the right, rows to the front


def small(name: str, count: int, **changes: object) -> DatasetSpec:
    spec = load_dataset_spec(name)
    facts = {"image_size": 64, "fold_borders": tuple(range(count + 1)), "superpixel_min_size": 20, **changes}
    return replace(spec, **facts)  # type: ignore[arg-type]


def write_amos(folder: Path) -> dict[int, np.ndarray]:
    """Write scans 1, 2 (CT) and 507 (MR) for training, 3 for validation, 4 for testing; return labels."""
    labels = {}
    for number, part in ((1, "Tr"), (2, "Tr"), (507, "Tr"), (3, "Va"), (4, "Ts")):
        draw = np.random.Generator(np.random.PCG64(number))
        label = np.zeros((4, 60, 50), dtype=np.uint8)
        label[1:3, 10:20, 5:15], label[1:3, 40:50, 30:40] = 6, 15
        image = draw.integers(-1000, 1000, label.shape).astype(np.int16)
        write_nifti(
            folder / f"images{part}" / f"amos_{number:04d}.nii.gz", image, (5.0, 1.5, 1.5), (0, 0, 0), RAS
        )
        if part != "Ts":
            write_nifti(
                folder / f"labels{part}" / f"amos_{number:04d}.nii.gz", label, (5.0, 1.5, 1.5), (0, 0, 0), RAS
            )
        labels[number] = label
    return labels


def test_amos_has_ct_and_mr_by_id_turned_to_left_back_and_up(tmp_path: Path) -> None:
    labels = write_amos(tmp_path / "amos22")
    ct, mr = small("amos-ct", 3), small("amos-mr", 1, fold_borders=(0, 1))
    name, layout = detect(tmp_path, ct)
    assert name == "AMOS22 download"
    scans = layout.scans(tmp_path, ct)
    assert list(scans) == ["1", "2", "3"] and list(layout.scans(tmp_path, mr)) == ["507"]
    pair = scans["2"].read()
    assert np.reshape(pair.image.direction, (3, 3)).round(6).tolist() == np.eye(3).tolist()
    assert pair.image.array.min() == 0 and pair.image.array.max() == 255  # -125 .. 275 HU
    assert np.array_equal(pair.label.array[:, 2:62, 7:57], labels[2][:, ::-1, ::-1])
    with pytest.raises(UserError, match="holds 3 scans, the folds of amos-ct need 300"):
        layout.scans(tmp_path, load_dataset_spec("amos-ct"))
    (tmp_path / "amos22" / "labelsTr" / "amos_0002.nii.gz").unlink()
    with pytest.raises(UserError, match=r"labelsTr holds no amos_0002\.nii\.gz; complete the download"):
        layout.scans(tmp_path, ct)


def write_t1(folder: Path, number: int, mask_numbers: list[int]) -> np.ndarray:
    """Write both phases with alternating numbers, the out-of-phase images darker by 10."""
    image, labels = anatomy(number)
    home = folder / "Train_Sets" / "MR" / str(number) / "T1DUAL"
    (home / "Ground").mkdir(parents=True)
    for z in range(DEPTH):
        for phase, first, minus in (("OutPhase", 1, 10), ("InPhase", 2, 0)):
            pixels = (image[z].astype(np.int16) - minus).clip(0).astype(np.int16)
            path = home / "DICOM_anon" / phase / f"IMG-0004-{2 * z + first:05d}.dcm"
            write_dicom(path, pixels, 40 + STEP * z, f"1.2.{number}.{first}.{z}")
        picture = sitk.GetImageFromArray(PNG[labels[z]])
        sitk.WriteImage(picture, str(home / "Ground" / f"IMG-0004-{mask_numbers[z]:05d}.png"))
    return labels


@pytest.mark.parametrize("first", [1, 2])
def test_both_phases_of_chaos_t1_have_the_masks_of_their_slices(tmp_path: Path, first: int) -> None:
    numbers = [2 * z + first for z in range(DEPTH)]
    labels = write_t1(tmp_path, 1, numbers)
    pairs = []
    for name in ("chaost1-in", "chaost1-out"):
        spec = small(name, 1, scans=("1",))
        assert detect(tmp_path, spec)[0] == "CHAOS download, T1-DUAL"
        raw = LAYOUTS["CHAOS download, T1-DUAL"].scans(tmp_path, spec)["1"]
        pairs.append(chaos.read_pair("1", raw.images, raw.labels, spec))
        assert np.array_equal(pairs[-1][1].array, labels[:, ::-1])
    (inside, _), (outside, _) = pairs
    assert np.array_equal(outside.array, (inside.array - 10).clip(0))


def write_myops(folder: Path, cases: int, lge: str = "LGE", prefix: str = "Case") -> None:
    for number in range(1, cases + 1):
        image, masks = heart(number)
        label = np.zeros(image.shape, dtype=np.int16)
        for name, value in (("lv-myo", 200), ("lv-bp", 500), ("rv", 600)):
            label[masks[name]] = value
        label[1][masks["lv-myo"][1]] = 1220
        label[2][masks["lv-myo"][2]] = 2221
        place = folder / "CenterB" / f"{prefix}{number + 100}"
        for name, array in ((lge, image), ("C0", image + np.int16(50)), ("T2", image), ("gd", label)):
            write_nifti(
                place / f"{prefix}{number + 100}_{name}.nii.gz", array, (10.0, 1.0, 1.0), (0, 0, 0), RAS
            )


@pytest.mark.parametrize(("lge", "prefix"), [("LGE", "Case"), ("DE", "myops_training_")])
def test_myops_merges_scar_and_edema_into_myocardium(tmp_path: Path, lge: str, prefix: str) -> None:
    write_myops(tmp_path, 6, lge, prefix)
    for name, plus in (("myops-lge", 0), ("myops-bssfp", 50)):
        spec = small(name, 5)
        assert detect(tmp_path, spec)[0] == "MyoPS download"
        scans = LAYOUTS["MyoPS download"].scans(tmp_path, spec)
        assert list(scans) == [str(number) for number in range(101, 107)]
        assert with_even_folds(spec, len(scans)).fold_borders == (0, 1, 2, 3, 4, 6)
        pair = scans["103"].read()
        image, masks = heart(3)
        assert np.array_equal(pair.image.array[:, 7:57, 10:54], image + plus)
        for name_of, value in spec.classes.items():
            assert np.array_equal(pair.label.array[:, 7:57, 10:54] == value, masks[name_of])


def test_male_pelvis_has_eight_structures(tmp_path: Path) -> None:
    spec = small("male-pelvis", 2, resample_mm=(0.0, 1.5, 1.5))
    label = np.zeros((3, 60, 60), dtype=np.uint8)
    for value in range(1, 9):
        label[1, 6 * value : 6 * value + 4, 20:40] = value
    for number in (1000, 2000):
        image = np.random.Generator(np.random.PCG64(number)).integers(0, 500, label.shape).astype(np.int16)
        for kind, array in (("img", image), ("mask", label)):
            path = tmp_path / "data" / f"{number:06d}_{kind}.nii"
            write_nifti(path, array, (3.0, 0.75, 0.75), (0, 0, 0), RAS)
    assert detect(tmp_path, spec)[0] == "male pelvis download"
    scans = LAYOUTS["male pelvis download"].scans(tmp_path, spec)
    assert list(scans) == ["1000", "2000"]
    pair = scans["1000"].read()
    assert pair.image.spacing_mm == (3.0, 1.5, 1.5) and pair.image.array.shape == (3, 64, 64)
    assert np.array_equal(pair.label.array[:, 17:47, 17:47], label[:, ::2, ::2])
    (tmp_path / "data" / "002000_mask.nii").unlink()
    with pytest.raises(UserError, match=r"holds no mask of 002000_img\.nii"):
        LAYOUTS["male pelvis download"].scans(tmp_path, spec)


@pytest.mark.slow
def test_a_new_dataset_is_prepared_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_myops(tmp_path / "download", 5)
    work = tmp_path / "work"
    command = ["prepare", "myops-lge", str(tmp_path / "download"), "--in-plane-mm", "2", "--work", str(work)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "Card-MRI: MyoPS, LGE, 2 mm in plane: 5 scans, 20 slices" in printed
    assert main(["run", "--dataset", "myops-lge-2mm", "--method", "copy-support", "--work", str(work)]) == 0
    assert "myops-lge-2mm" in capsys.readouterr().out
