"""Replay of the supervoxels of the released ADNet and Q-Net on small volumes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from episodes.pseudo_labels.supervoxels import volume_supervoxels
from protocols.conformance.parts.superpixels import same_partition
from protocols.conformance.quantity import Quantity
from protocols.conformance.replays.replay import read_vectors


def check(folder: Path) -> Iterator[Quantity]:
    """Yield, per volume, whether the map and the number of supervoxels differ from the released; tolerance 0.

    Maps agree if both are zero at the same voxels and group the others alike. Label numbers may differ.
    """
    expected, vectors = read_vectors(folder)
    for name, facts in expected.items():
        image, wanted = vectors[f"{name}/image"].astype(np.float64), vectors[f"{name}/expected"]
        spacing_z, spacing_y, spacing_x = facts["spacing_zyx"]
        found = volume_supervoxels(image, (spacing_z, spacing_y, spacing_x), facts["min_size"])
        yield Quantity(f"{folder.name}/{name}/partition", float(not same_partition(found, wanted)), 0)
        count = abs(int(found.max()) - facts["supervoxels"])
        yield Quantity(f"{folder.name}/{name}/supervoxels", float(count), 0)
