"""Registered cardiac sequences: values, channels and the one line for each bad input, in both layouts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from cardiac_scans import DIRECTION, ORIGIN, SPACING, write

from episodes.io.nifti import write_nifti
from episodes.prepare.build import build_store
from episodes.prepare.downloads.cardiac_sequences import interleaved, release_scans
from episodes.prepare.downloads.layouts import detect
from episodes.prepare.own_data.folder import with_even_folds
from episodes.store.dataset import DatasetSpec, load_dataset_spec
from fewshot.base.errors import UserError

SIZE = 32
MYOPS = {"bSSFP": "C0", "LGE": "DE", "T2w": "T2"}


def label(values: tuple[int, ...]) -> np.ndarray:
    """Return a volume with a strip of each value."""
    volume = np.zeros((4, 40, 40), dtype=np.int16)
    for place, value in enumerate(values):
        volume[:, 10 + 3 * place : 13 + 3 * place, 8:30] = value
    return volume


def image(case: int, sequence: int) -> np.ndarray:
    noise = np.random.default_rng(10 * case + sequence).normal(100 * (sequence + 1), 20, (4, 40, 40))
    return noise.astype(np.int16)


def myops(folder: Path) -> Path:
    for case in (101, 102):
        for number, name in enumerate(MYOPS.values()):
            write(folder / f"myops_training_{case}_{name}.nii.gz", image(case, number))
        write(folder / f"myops_training_{case}_gd.nii.gz", label((200, 500, 600, 1220, 2221)))
    return folder


def release(folder: Path) -> Path:
    for case in (1, 2):
        for number, name in enumerate(MYOPS):
            write(folder / "Raw_data" / name / f"case{case:04d}.nii.gz", image(case, number))
        write(folder / "Raw_data" / "label" / f"case{case:04d}_gt.nii.gz", label((1, 3, 2)))
    return folder


def facts(name: str) -> DatasetSpec:
    return replace(load_dataset_spec(name), image_size=SIZE, fold_borders=(0, 1, 2), crop_or_pad=True)


def prepare(folder: Path, name: str, out: Path) -> dict[int, int]:
    """Prepare a folder; return how many voxels of the first case have each value."""
    spec = facts(name)
    _name, layout = detect(folder, spec)
    store = build_store(layout.scans(folder, spec), spec, out)
    scan = store.scan(store.index.scans[0])
    assert scan.channels.shape == (3, 4, SIZE, SIZE)
    assert np.array_equal(scan.channels[0], scan.image)
    assert [round(float(channel.mean()) / 100) for channel in scan.channels] == [1, 2, 3]
    return dict(zip(*map(np.ndarray.tolist, np.unique(scan.labels, return_counts=True)), strict=True))


@pytest.mark.parametrize(("write_folder", "name"), [(myops, "myops"), (release, "myops380")])
def test_a_case_has_three_channels_and_three_classes(
    write_folder: Callable[[Path], Path], name: str, tmp_path: Path
) -> None:
    counts = prepare(write_folder(tmp_path / "raw"), name, tmp_path / "store")
    assert counts[1] == counts[2] == counts[3] == 4 * 3 * 22 and sum(counts.values()) == 4 * SIZE**2


def test_the_first_fold_of_the_release_has_every_fifth_case(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    for case in range(1, 12):
        for number, name in enumerate(MYOPS):
            write(folder / "Raw_data" / name / f"case{case:04d}.nii.gz", image(case, number))
        write(folder / "Raw_data" / "label" / f"case{case:04d}_gt.nii.gz", label((1, 3, 2)))
    spec = load_dataset_spec("myops380")
    spec = with_even_folds(spec, 11)
    store = build_store(release_scans(folder, spec), replace(spec, image_size=SIZE), tmp_path / "store")
    scans, borders = store.index.scans, store.spec.fold_borders
    folds = [scans[first:last] for first, last in pairwise(borders)]
    assert folds == [("1", "6"), ("2", "7"), ("3", "8"), ("4", "9"), ("5", "10", "11")]


@pytest.mark.parametrize("count", range(5, 16))
def test_interleaved_cases_fill_even_folds(count: int) -> None:
    cases = tuple(map(str, range(count)))
    order = interleaved(cases, 5)
    assert sorted(order, key=int) == list(cases)
    borders = with_even_folds(replace(load_dataset_spec("myops380"), fold_borders=(0, 1, 2, 3, 4, 99)), count)
    for fold, (first, last) in enumerate(pairwise(borders.fold_borders)):
        assert order[first : first + count // 5] == cases[fold : 5 * (count // 5) : 5]
        assert last - first - count // 5 in (0, 1)


def missing(folder: Path) -> None:
    (folder / "myops_training_102_T2.nii.gz").unlink()


def smaller(folder: Path) -> None:
    write(folder / "myops_training_102_T2.nii.gz", image(102, 2)[:, :38])


def other_spacing(folder: Path) -> None:
    z, y, x = SPACING
    write_nifti(folder / "myops_training_102_T2.nii.gz", image(102, 2), (z, y * 2, x * 2), ORIGIN, DIRECTION)


def unknown_value(folder: Path) -> None:
    write(folder / "myops_training_102_gd.nii.gz", label((200, 77)))


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (missing, "no T2w, expected bSSFP, LGE, T2w, label"), (smaller, "scan 102: .*has shape"),
        (other_spacing, "102: .*as myops_training_102_T2"), (unknown_value, "holds the values 0, 77, 200"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(spoil: Callable[[Path], None], text: str, tmp_path: Path) -> None:
    folder = myops(tmp_path / "raw")
    spoil(folder)
    with pytest.raises(UserError, match=text) as caught:
        prepare(folder, "myops", tmp_path / "store")
    assert "\n" not in str(caught.value)
