"""Grey pictures of slices in figures."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

WINDOW = (1, 99.5)  # percentiles of the slice that become black and white


def draw_grey(axis: Axes, image: NDArray[Any], **options: Any) -> None:
    """Draw a slice (H,W), first row at the bottom; `options` go to `Axes.imshow`."""
    low, high = np.percentile(image, WINDOW)
    axis.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="lower", **options)
