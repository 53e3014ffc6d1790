"""Phantoms of pathology: scar shows in LGE alone, oedema in T2 alone, on one anatomy."""

from __future__ import annotations

import numpy as np

from episodes.phantoms.generate import phantom_scan, phantom_spec
from episodes.phantoms.pathology import SEQUENCES


def test_each_pathology_shows_in_one_sequence() -> None:
    spec = phantom_spec("phantom-pathology", 64)
    found = {name: phantom_scan(spec, "1", 8, name) for name in SEQUENCES}
    labels = found["bSSFP"][1]
    assert all(np.array_equal(each, labels) for _image, each in found.values())
    assert tuple(spec.channels) == tuple(SEQUENCES) and set(np.unique(labels)) == {0, 1, 2, 3}
    for name, (image, _labels) in found.items():
        mean = {value: float(image[labels == value].mean()) for value in (1, 2, 3)}
        assert (mean[2] > 2 * mean[1]) == (name == "LGE") and (mean[3] > 1.5 * mean[1]) == (name == "T2w")
        assert np.array_equal(image, phantom_scan(spec, "1", 8, name)[0])
