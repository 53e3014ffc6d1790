"""The released preparation is reproduced on the vectors that travel with the repository."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from episodes.io.nifti import read_nifti, write_nifti
from fewshot.commands.main import main
from protocols.conformance.data.preprocess import check


@pytest.mark.parametrize(("family", "scan"), [("preprocess_mr", "1"), ("preprocess_ct", "0")])
def test_vectors_are_reproduced(golden: Path, family: str, scan: str) -> None:
    quantities = list(check(golden / family))
    assert [q.name for q in quantities] == [f"{family}/{scan}/{x}" for x in ("image", "label", "spacing")]
    assert all(quantity.ok for quantity in quantities), quantities


def test_a_wrong_vector_fails(golden: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(golden / "preprocess_mr", tmp_path / "preprocess_mr")
    file = folder / "normalized" / "image_1.nii.gz"
    expected = read_nifti(file)
    array = expected.array + np.where(np.indices(expected.array.shape).sum(0) == 0, 5, 0)
    write_nifti(file, array, (7.7, 1.25, 1.5), expected.origin, expected.direction)
    verdicts = {quantity.name.rsplit("/", 1)[1]: quantity.ok for quantity in check(folder)}
    assert verdicts == {"image": False, "label": True, "spacing": False}
    assert main(["verify", str(folder)]) == 1


def test_another_size_fails(golden: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(golden / "preprocess_mr", tmp_path / "preprocess_mr")
    file = folder / "normalized" / "label_1.nii.gz"
    label = read_nifti(file)
    write_nifti(file, label.array[:-1], label.spacing_mm, label.origin, label.direction)
    assert [quantity.ok for quantity in check(folder)] == [True, False, True]
