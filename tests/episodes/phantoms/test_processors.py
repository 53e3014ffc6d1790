"""Phantoms do not depend on the processor: numpy's code for several of them gives the same bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from places import HELPERS, ROOT
from scipy import ndimage

from episodes.phantoms.generate import PHANTOMS, phantom_scan, phantom_spec
from episodes.phantoms.shapes import generator_for, smooth_noise

CHILD = "from test_processors import digests; print(digests(SCANS))"
SCANS = ("0",)
USED = [name for name in __cpu_dispatch__ if __cpu_features__[name]]


def digests(scans: tuple[str, ...]) -> str:
    """Return the sha256 of images and labels of some scans of every phantom."""
    found = hashlib.sha256()
    for name in PHANTOMS:
        spec = phantom_spec(name)
        for scan in scans:
            for array in phantom_scan(spec, scan):
                found.update(array.tobytes())
    return found.hexdigest()


@pytest.mark.skipif(not USED, reason="numpy has no code for this processor but its baseline")
def test_phantoms_do_not_depend_on_the_processor() -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD.replace("SCANS", repr(SCANS))],
        env={
            **os.environ,
            "NPY_DISABLE_CPU_FEATURES": " ".join(USED),
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, HELPERS, Path(__file__).parent))),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == digests(SCANS)


@pytest.mark.parametrize(("shape", "coarse"), [((9, 40, 48), (3, 4, 4)), ((1, 64, 64), (1, 24, 24))])
def test_noise_interpolated_axis_by_axis_is_that_of_scipy(
    shape: tuple[int, int, int], coarse: tuple[int, int, int]
) -> None:
    found = smooth_noise(generator_for("noise"), shape, coarse)
    values = generator_for("noise").standard_normal(coarse).astype(np.float32)
    zoom = [length / cells for length, cells in zip(shape, coarse, strict=True)]
    expected = ndimage.zoom(values, zoom, order=3, mode="nearest", grid_mode=True)
    assert found.dtype == np.float32 and found.std() > 0.3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
