"""Contrast of tissues: grey values of fat-suppressed T2 MR, portal-venous CT and bright-blood cine MR.

MR has arbitrary units; CT is windowed to 1 .. 255 with air at 0. Some neighbouring organs have similar grey
values on purpose, so that intensity alone does not separate them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class TissueContrast:
    """Grey value and texture of every tissue, and the noise and gain of the scanner.

    `spread`: relative standard deviation of each grey value between subjects; `grain`: relative texture of
    each tissue; `noise`: standard deviation of the scanner's noise in stored units; `bias`: amplitude of the
    slowly varying gain; `top`: largest stored value.
    """

    grey: Mapping[str, float]
    spread: float
    noise: float
    bias: float
    top: int
    grain: Mapping[str, float] = field(default_factory=dict)


GRAIN = {
    "liver": 0.09, "spleen": 0.07, "cortex": 0.08, "medulla": 0.09, "muscle": 0.12, "mesentery": 0.22,
    "fat": 0.15, "bowel": 0.25, "bowel-bright": 0.25, "stomach": 0.22, "stomach-wall": 0.1, "pancreas": 0.15,
    "marrow": 0.15, "myocardium": 0.1, "blood": 0.07, "scar": 0.1, "edema": 0.1,
}  # fmt: skip

CONTRASTS = {
    "t2-spir": TissueContrast(
        grey={
            "fat": 210, "muscle": 260, "mesentery": 250, "air": 12, "bone": 120, "marrow": 290, "csf": 950,
            "aorta": 130, "vein": 330, "liver": 350, "liver-vessel": 480, "gallbladder": 900,
            "stomach": 640, "stomach-wall": 390, "bowel": 420, "bowel-bright": 660, "bowel-gas": 90,
            "pancreas": 400, "spleen": 620, "cortex": 660, "medulla": 760,
        },
        spread=0.12, noise=24, bias=0.22, top=4095, grain=GRAIN,
    ),
    "ct-portal": TissueContrast(
        grey={
            "fat": 62, "muscle": 138, "mesentery": 72, "air": 4, "bone": 235, "marrow": 190, "csf": 112,
            "aorta": 186, "vein": 172, "liver": 158, "liver-vessel": 178, "gallbladder": 112,
            "stomach": 128, "stomach-wall": 146, "bowel": 124, "bowel-bright": 160, "bowel-gas": 10,
            "pancreas": 144, "spleen": 164, "cortex": 188, "medulla": 176,
        },
        spread=0.04, noise=7, bias=0.0, top=255, grain={name: value / 2 for name, value in GRAIN.items()},
    ),
    "lge": TissueContrast(
        grey={
            "fat": 560, "muscle": 210, "air": 40, "liver": 300, "stomach": 330, "blood": 430,
            "myocardium": 190, "edema": 190, "scar": 880,
        },
        spread=0.1, noise=30, bias=0.25, top=4095, grain=GRAIN,
    ),
    "t2w": TissueContrast(
        grey={
            "fat": 520, "muscle": 240, "air": 45, "liver": 260, "stomach": 420, "blood": 150,
            "myocardium": 300, "scar": 300, "edema": 640,
        },
        spread=0.1, noise=30, bias=0.25, top=4095, grain=GRAIN,
    ),
    "bssfp": TissueContrast(
        grey={
            "fat": 620, "muscle": 250, "air": 45, "liver": 330, "stomach": 420, "blood": 760,
            "myocardium": 270,
        },
        spread=0.1, noise=26, bias=0.25, top=4095, grain=GRAIN,
    ),
}  # fmt: skip
CONTRASTS["bssfp-pathology"] = replace(
    CONTRASTS["bssfp"], grey={**CONTRASTS["bssfp"].grey, "scar": 270, "edema": 270}
)
