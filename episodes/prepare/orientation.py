"""Does a label lie on its image the right way round? The body outline and the organs' edges tell."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from episodes.prepare.audit import ScanFacts
from fewshot.base.errors import UserError

LEAST_IN_BODY = 0.9  # on the CHAOS volumes at least 0.98
EDGE_SIGMA = 1.0
CLEARLY = 1.1  # on the CHAOS volumes the right way has 1.6 times the edges of any other, or more
MIRRORED = {
    "flipped in its rows": (1,),
    "flipped in its columns": (2,),
    "turned by half in plane": (1, 2),
    "in reversed order of slices": (0,),
}


def edge_strength(image: NDArray[Any], label: NDArray[Any]) -> float:
    """Return the mean gradient of the image on the outline of the labelled voxels, both (Z,Y,X).

    High where organs' outlines lie on edges of the image. 0 where nothing is labelled.
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
    """Return how the label would have to be mirrored to lie clearly better on the image's edges, or None."""
    as_it_is = edge_strength(image, label)
    mirrored = {name: edge_strength(image, np.flip(label, axes)) for name, axes in MIRRORED.items()}
    best = max(mirrored, key=lambda name: mirrored[name])
    return best if mirrored[best] > CLEARLY * as_it_is else None


def check_orientation(
    facts: ScanFacts, image: NDArray[Any], label: NDArray[Any], *, strict: bool
) -> list[str]:
    """Return warnings on a label that does not fit its image; if `strict`, raise `UserError` instead.

    Either more than a tenth of the labelled voxels lie outside the body, or its mirror image fits better.
    """
    found = []
    better = better_orientation(image, label)
    if better is not None:
        found.append(
            f"scan {facts.scan}: the label fits its image better {better}, wanted as it is; "
            "make image and label lie alike"
        )
    elif facts.in_body is not None and facts.in_body < LEAST_IN_BODY:
        found.append(
            f"scan {facts.scan}: {100 * facts.in_body:.0f} % of the labelled voxels lie in the body, wanted "
            f"{100 * LEAST_IN_BODY:.0f} % or more; is the label of another scan, or turned?"
        )
    if found and strict:
        raise UserError(found[0])
    return found
