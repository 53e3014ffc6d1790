"""DSPNet's published constants of each setting, and the layout of its paper's tables.

Tang et al., "DSPNet: Dual Semantic Prototypes Network for Few-shot Medical Image Segmentation", Medical
Image Analysis 2025, arXiv 2406.18074.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from fewshot.learners.paper_layout import PaperLayout, PaperTable

Preset = Literal["auto", "setting1-abdomen", "setting1-cmr", "setting2-abdomen", "released"]


class Constants(NamedTuple):
    """The constants that the authors change by setting: alpha of each class, the matrix's initial weights."""

    alpha_foreground: float
    alpha_background: float
    w: tuple[float, ...]


PRESETS: dict[str, Constants] = {
    "setting1-abdomen": Constants(0.3, 0.2, (0.2, 0.8, 0.2)),
    "setting1-cmr": Constants(0.3, 0.2, (0.1, 0.9, 0.1)),
    "setting2-abdomen": Constants(0.2, 0.2, (0.3, 0.6, 0.3)),
    "released": Constants(0.2, 0.2, (0.3, 0.8, 0.3)),
}
# The authors' row of each region and setting; they give none for the heart in setting 2.
ROWS: dict[tuple[str, int], Preset] = {
    ("abdomen", 1): "setting1-abdomen",
    ("abdomen", 2): "setting2-abdomen",
    ("heart", 1): "setting1-cmr",
}
STAND_IN: Preset = "setting2-abdomen"

LIVER_FIRST = ("liver", "right-kidney", "left-kidney", "spleen")
PAPER = PaperLayout(
    paper="DSPNet (Tang et al. 2025, arXiv 2406.18074)",
    source="DSPNet Tables",
    tables=(
        *(PaperTable(setting, ("chaost2", "sabs"), LIVER_FIRST) for setting in (1, 2)),
        PaperTable(1, ("cmr",), ("rv", "lv-myo", "lv-bp")),
    ),
    methods={
        "SE-Net": None,
        "PANet": "panet",
        "SSL-ALPNet": "ssl-alpnet",
        "Q-Net": "qnet",
        "CAT-Net": "catnet",
        "DSPNet": "dspnet",
    },
)
