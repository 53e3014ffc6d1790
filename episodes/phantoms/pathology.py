"""Three registered sequences of one phantom heart: scar is bright in LGE alone, oedema in T2 alone.

Both lie as arcs in the ring of the myocardium and leave no trace in the other two sequences.
"""

from __future__ import annotations

import math

import numpy as np

from episodes.phantoms.heart import paint_heart
from episodes.phantoms.shapes import Canvas, Field

PATHOLOGY = "phantom-pathology"
# channel -> contrast, in the store's order
SEQUENCES = {"bSSFP": "bssfp-pathology", "LGE": "lge", "T2w": "t2w"}

SHOWN: dict[str, tuple[str, ...]] = {"bSSFP": (), "LGE": ("scar",), "T2w": ("edema",)}


def paint_pathology(canvas: Canvas, draw: np.random.Generator, sequence: str = "bSSFP") -> None:
    """Paint a heart, then an arc of scar and one of oedema in its ring, apart; one not shown has no grey."""
    paint_heart(canvas, draw)
    canvas.share["myocardium"] = canvas.share.pop("lv-myo")
    ring = (2 * canvas.share["myocardium"] - 1).astype(np.float32)
    angle = _angle_about(canvas.share["lv-bp"])
    first, scar, edema = draw.uniform(0, 2 * math.pi), draw.uniform(0.6, 1.0), draw.uniform(0.6, 1.0)
    gap = draw.uniform(0.2, 2 * (math.pi - scar - edema) - 0.2)
    second = first + scar + edema + gap
    for tissue, centre, half in (("scar", first, scar), ("edema", second, edema)):
        away = np.abs(np.angle(np.exp(1j * (angle.astype(np.float64) - centre))))
        arc = ((half - away) / half).astype(np.float32)
        before = canvas.image.copy()
        canvas.paint(tissue, np.minimum(ring, arc), 0.3, tissue)
        if tissue not in SHOWN[sequence]:
            canvas.image[...] = before


def _angle_about(share: Field) -> Field:
    """Return the angle (Z,Y,X) of each voxel about the centre of mass of a share."""
    total = float(share.sum())
    y, x = np.arange(share.shape[1]), np.arange(share.shape[2])
    centre_y = float((share.sum(axis=(0, 2)) * y).sum()) / total
    centre_x = float((share.sum(axis=(0, 1)) * x).sum()) / total
    angle: Field = np.arctan2(y[:, None] - centre_y, x[None] - centre_x).astype(np.float32)[None]
    return angle
