"""Check a label's orientation against its image, by the outline of the body and the edges of the organs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from episodes.prepare.audit import ScanFacts
from fewshot.base.errors import UserError

LEAST_IN_BODY = 0.9  # at least 0.98 in the CHAOS volumes
EDGE_SIGMA = 1.0
CLEARLY = 1.1  # in the CHAOS volumes the true orientation has at least 1.6 times the edges
MIRRORED = {
    "flipped in its rows": (1,),
    "flipped in its columns": (2,),
    "turned by half in plane": (1, 2),
    "in reversed order of slices": (0,),
}


def edge_strength(image: NDArray[Any], label: NDArray[Any]) -> float:
    """Return the mean gradient of the image on the outline of the labelled voxels, both (Z,Y,X).

    It is high if outlines lie on edges of the image, and 0 without labelled voxels.
    """
    total, count = 0.0, 0
    for pixels, mask in zip(image, label > 0, strict=True):
        if mask.any():
            outline = mask & ~ndimage.binary_erosion(mask)
            gradient = ndimage.gaussian_gradient_magnitude(pixels.astype(np.float32), EDGE_SIGMA)
            total += float(gradient[outline].sum())
            count += int(outline.sum())
    return total / count if count else 0.0


def better_orientation(image: NDArray[Any], label: NDArray[Any]) -> str | None:
    """Return the mirroring, if any, that puts the label clearly better on the image's edges, else None."""
    as_it_is = edge_strength(image, label)
    mirrored = {name: edge_strength(image, np.flip(label, axes)) for name, axes in MIRRORED.items()}
    best = max(mirrored, key=lambda name: mirrored[name])
    return best if mirrored[best] > CLEARLY * as_it_is else None


def check_orientation(
    facts: ScanFacts, image: NDArray[Any], label: NDArray[Any], *, strict: bool
) -> list[str]:
    """Return a warning if the label does not fit its image; if `strict`, raise `UserError` instead.

    A label does not fit if its mirror image fits better, or if over a tenth of it lies outside the body.
    """
    found = []
    better = better_orientation(image, label)
    if better is not None:
        found.append(
            f"scan {facts.scan}: the label fits its image better {better}, expected as it is; "
            "make image and label lie alike"
        )
    elif facts.in_body is not None and facts.in_body < LEAST_IN_BODY:
        found.append(
            f"scan {facts.scan}: {100 * facts.in_body:.0f} % of the labelled voxels lie in the body, "
            f"expected {100 * LEAST_IN_BODY:.0f} % or more; is the label of another scan, or turned?"
        )
    if found and strict:
        raise UserError(found[0])
    return found
