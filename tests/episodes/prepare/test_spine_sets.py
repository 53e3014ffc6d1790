"""Spine Generic in a folder: the middle slice and the discs, in any orientation, and one line for a fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from episodes.io.nifti import write_nifti
from episodes.prepare.spine_sets.build import read_spine
from episodes.prepare.spine_sets.spine_generic import SpineFiles, find_spines
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.commands.main import main

RPI = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
SAGITTAL = (0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # slices along the patient's left
SHAPE, SPACING = (48, 40, 10), (1.0, 1.5, 2.0)  # head, front, left
DISCS = {3: (40, 12), 4: (28, 14), 5: (16, 12)}  # label -> voxel (z, y)
Labels = Callable[[np.ndarray], np.ndarray]


def volumes(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    image = np.random.Generator(np.random.PCG64(seed)).normal(100, 10, SHAPE).astype(np.float32)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for value, (z, y) in {1: (46, 10), **DISCS, 30: (4, 10)}.items():
        labels[z, y, 5] = value
    return image, labels


def write(path: Path, array: np.ndarray, sagittal: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if sagittal:
        z, y, x = SPACING
        write_nifti(path, np.ascontiguousarray(array.transpose(2, 0, 1)), (x, z, y), (0.0,) * 3, SAGITTAL)
    else:
        write_nifti(path, array, SPACING, (0.0, 0.0, 0.0), RPI)
    return path


def scan(
    folder: Path, name: str, change: Labels = lambda labels: labels, sagittal: bool = False
) -> SpineFiles:
    image, labels = volumes(int(name[-1]))
    derived = folder / "derivatives" / "labels" / name / "anat"
    return SpineFiles(
        write(folder / name / "anat" / f"{name}_T2w.nii.gz", image, sagittal),
        write(derived / f"{name}_T2w_labels-disc-manual.nii.gz", change(labels), sagittal),
    )


def test_the_mean_of_six_slices_and_the_discs_of_any_orientation(tmp_path: Path) -> None:
    image = volumes(1)[0]
    made = read_spine(scan(tmp_path / "a", "sub-1"))
    assert np.allclose(made.image, image[::-1, :, 2:8].mean(axis=2), atol=1e-4)
    assert made.spacing_mm == (12.0, 1.0, 1.5)
    assert made.points == {f"disc-{value}": (0.0, 47.0 - z, float(y)) for value, (z, y) in DISCS.items()}
    turned = read_spine(scan(tmp_path / "b", "sub-1", sagittal=True))
    assert np.array_equal(turned.image, made.image) and turned.points == made.points
    assert turned.spacing_mm == made.spacing_mm


def test_the_command_makes_a_store_with_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(5):
        scan(tmp_path / "set", f"sub-{number}")
    command = ["prepare", "spine-generic-t2w", str(tmp_path / "set"), "--work", str(tmp_path / "work")]
    assert main(command) == 0
    assert "Spine Generic, T2w" in capsys.readouterr().out
    store = Store.open(tmp_path / "work" / "stores" / "spine-generic-t2w")
    assert store.has_points and store.point_names == ("disc-3", "disc-4", "disc-5")
    assert store.scan("sub-2").points["disc-4"] == (0.0, 19.0, 14.0)
    assert store.index.slices_of("disc", "sub-2") == (0,)
    assert main(command) == 0
    assert "nothing to do" in capsys.readouterr().out


FAULTS: dict[str, tuple[Labels, str]] = {
    "no-disc": (lambda labels: labels * (labels == 1), "no voxel of a disc"),
    "other-size": (lambda labels: labels[:, :-1], "expected equal sizes"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_labels_that_do_not_fit_are_one_line(tmp_path: Path, name: str) -> None:
    change, line = FAULTS[name]
    with pytest.raises(UserError, match=line) as error:
        read_spine(scan(tmp_path, "sub-1", change))
    assert "\n" not in str(error.value)


def test_labels_in_another_orientation_or_spacing_are_refused(tmp_path: Path) -> None:
    image, labels = volumes()
    files = SpineFiles(write(tmp_path / "image.nii.gz", image), tmp_path / "labels.nii.gz")
    write_nifti(files.labels, labels, SPACING, (0.0,) * 3, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    with pytest.raises(UserError, match=r"direction|orientation"):
        read_spine(files)
    write_nifti(files.labels, labels, (2.0, 1.5, 2.0), (0.0,) * 3, RPI)
    with pytest.raises(UserError, match="spacing"):
        read_spine(files)


def test_images_and_labels_must_pair(tmp_path: Path) -> None:
    files = [scan(tmp_path, f"sub-{number}") for number in range(5)]
    assert list(find_spines(tmp_path, "T2w").scans) == [f"sub-{number}" for number in range(5)]
    with pytest.raises(UserError, match="holds no sub-ID_T1w"):
        find_spines(tmp_path, "T1w")
    files[0].labels.unlink()
    with pytest.raises(UserError, match=r"sub-0_T2w\.nii\.gz has no labels"):
        find_spines(tmp_path, "T2w")
    files[0].image.unlink()
    with pytest.raises(UserError, match="4 scans, too few for 5 folds"):
        find_spines(tmp_path, "T2w")
    files[1].image.unlink()
    with pytest.raises(UserError, match="has no image sub-1_T2w"):
        find_spines(tmp_path, "T2w")
