"""Arrays of the release of I-MMSeg: slices and volumes become a store whose fold 0 is the test."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest

from episodes.prepare.build import build_store
from episodes.prepare.downloads.layouts import detect
from episodes.prepare.own_data.folder import with_even_folds
from episodes.store.dataset import load_dataset_spec
from episodes.store.store import Store
from fewshot.base.errors import UserError

DEPTH, HEIGHT, WIDTH = 3, 40, 36
SEQUENCES = ("bSSFP", "LGE", "T2w")
CASES, TESTED = 11, (1, 6)


def arrays(case: int, sequence: int) -> tuple[np.ndarray, np.ndarray]:
    """Return image and label (Z,H,W); slice z of the image has the value 100 case + 10 sequence + z."""
    place = np.broadcast_to(np.arange(DEPTH)[:, None, None], (DEPTH, HEIGHT, WIDTH))
    image = place + 100 * case + 10 * sequence
    label = np.zeros(image.shape)
    for value in (1, 2, 3):
        label[:, 8 * value : 8 * value + 5, 10:24] = value
    return image.astype(np.float32), label


def release(folder: Path) -> Path:
    for number, name in enumerate(SEQUENCES):
        for inner in ("train_npz", "test_vol_h5"):
            (folder / name / inner).mkdir(parents=True)
        for case in range(1, CASES + 1):
            image, label = arrays(case, number)
            if case in TESTED:
                with h5py.File(folder / name / "test_vol_h5" / f"case{case:04d}.npy.h5", "w") as file:
                    file["image"], file["label"] = (np.moveaxis(each, 0, 2) for each in (image, label))
            else:
                for z in range(DEPTH):
                    path = folder / name / "train_npz" / f"case{case:04d}_slice{z:03d}.npz"
                    np.savez(path, image=image[z], label=label[z])
    return folder


def prepare(folder: Path, out: Path) -> Store:
    spec = load_dataset_spec("myops380-processed")
    _name, layout = detect(folder, spec)
    scans = layout.scans(folder, spec)
    return build_store(scans, with_even_folds(spec, len(scans)), out)


def test_slices_and_volumes_become_one_store(tmp_path: Path) -> None:
    store = prepare(release(tmp_path / "raw"), tmp_path / "store")
    scans, borders = store.index.scans, store.spec.fold_borders
    folds = [scans[first:last] for first, last in pairwise(borders)]
    assert folds == [("1", "6"), ("2", "7"), ("3", "8"), ("4", "9"), ("5", "10", "11")]
    for scan in ("1", "7"):
        found = store.scan(scan)
        assert found.channels.shape == (3, DEPTH, 128, 128)
        image, label = arrays(int(scan), 2)
        top, left = (128 - HEIGHT) // 2, (128 - WIDTH) // 2
        assert np.array_equal(found.channels[2][:, top : top + HEIGHT, left : left + WIDTH], image)
        assert np.array_equal(found.labels[:, top : top + HEIGHT, left : left + WIDTH], label)
    assert not store.spec.spacing_known


def lose_a_slice(folder: Path) -> None:
    (folder / "LGE" / "train_npz" / "case0002_slice001.npz").unlink()


def lose_a_sequence(folder: Path) -> None:
    (folder / "T2w" / "test_vol_h5" / "case0001.npy.h5").unlink()


def lose_a_test_case(folder: Path) -> None:
    for name in SEQUENCES:
        (folder / name / "test_vol_h5" / "case0006.npy.h5").unlink()


def repeat_a_case(folder: Path) -> None:
    for name in SEQUENCES:
        for z in range(DEPTH):
            other = folder / name / "train_npz" / f"case0002_slice{z:03d}.npz"
            other.with_name(f"case0001_slice{z:03d}.npz").write_bytes(other.read_bytes())


def change_a_value(folder: Path) -> None:
    for number, name in enumerate(SEQUENCES):
        image, label = arrays(3, number)
        label[label == 3] = 7
        np.savez(folder / name / "train_npz" / "case0003_slice000.npz", image=image[0], label=label[0])


def change_one_label(folder: Path) -> None:
    image, label = arrays(3, 0)
    np.savez(folder / "bSSFP" / "train_npz" / "case0003_slice000.npz", image=image[0], label=0 * label[0])


def cut_a_file(folder: Path) -> None:
    path = folder / "LGE" / "test_vol_h5" / "case0001.npy.h5"
    path.write_bytes(path.read_bytes()[:100])


def spoil_a_slice(folder: Path) -> None:
    (folder / "LGE" / "train_npz" / "case0002_slice001.npz").write_bytes(b"no archive")


def write_other_names(folder: Path) -> None:
    np.savez(folder / "LGE" / "train_npz" / "case0002_slice001.npz", picture=np.zeros((HEIGHT, WIDTH)))


def write_a_volume(folder: Path) -> None:
    image, label = arrays(2, 1)
    np.savez(folder / "LGE" / "train_npz" / "case0002_slice001.npz", image=image, label=label)


def write_infinity(folder: Path) -> None:
    image, label = arrays(2, 1)
    np.savez(folder / "LGE" / "train_npz" / "case0002_slice001.npz", image=image[0] + np.inf, label=label[0])


def shrink_a_sequence(folder: Path) -> None:
    image, label = arrays(2, 1)
    for z in range(DEPTH):
        path = folder / "LGE" / "train_npz" / f"case0002_slice{z:03d}.npz"
        np.savez(path, image=image[z, 1:], label=label[z, 1:])


def shrink_a_slice(folder: Path) -> None:
    image, label = arrays(2, 1)
    np.savez(folder / "LGE" / "train_npz" / "case0002_slice001.npz", image=image[0, 1:], label=label[0, 1:])


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lose_a_slice, "case 2 .* 3 of bSSFP, 2 of LGE, 3 of T2w in train_npz, expected slices 0, 1, 2"),
        (lose_a_sequence, "case 1 .* 1 of bSSFP, 1 of LGE, 0 of T2w in test_vol_h5"),
        (lose_a_test_case, "1 cases in test_vol_h5 of 10, expected 2"),
        (repeat_a_case, "case 1 in train_npz and test_vol_h5; take one"),
        (change_a_value, "scan 3: .* values 0, 1, 2, 3, 7, expected only 0, 1, 2, 3"),
        (change_one_label, "scan 3: the labels of its sequences differ"),
        (cut_a_file, r"case0001.npy.h5 cannot be read \(.*\), expected arrays image and label"),
        (spoil_a_slice, r"case0002_slice001.npz cannot be read \(.*\), expected arrays image and label"),
        (write_other_names, r"case0002_slice001.npz cannot be read \(.*\), expected arrays image and label"),
        (write_a_volume, "case0002_slice001.npz holds .*expected image and label, numbers of 2 axes"),
        (write_infinity, "case0002_slice001.npz holds numbers that are not finite"),
        (shrink_a_sequence, r"scan 2: images and labels .* shapes \(3, 39, 36\), \(3, 40, 36\)"),
        (shrink_a_slice, "train_npz has slices of several shapes in one case"),
    ],
)  # fmt: skip
def test_bad_arrays_are_one_line(spoil: Callable[[Path], None], text: str, tmp_path: Path) -> None:
    folder = release(tmp_path / "raw")
    spoil(folder)
    with pytest.raises(UserError, match=text) as caught:
        prepare(folder, tmp_path / "store")
    assert "\n" not in str(caught.value)


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = release(tmp_path / "raw")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UserError, match=r"needs the package h5py; install fewshot-medseg\[h5\]"):
        prepare(folder, tmp_path / "store")
