"""A small dataset's facts and class slices for rules of protocols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from episodes.store.index import ClassSliceIndex

ORGANS = ("liver", "right-kidney", "left-kidney", "spleen")


@dataclass(frozen=True)
class Facts:
    name: str = "tiny"
    classes: Mapping[str, int] = field(default_factory=lambda: {"liver": 1, "spleen": 4})
    tested: tuple[str, ...] = ORGANS
    fold_borders: tuple[int, ...] = (0, 3, 6)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


INDEX = ClassSliceIndex(
    ("10", "1", "12", "2", "3", "11"),
    dict.fromkeys(("1", "2", "3", "10", "11", "12"), 8),
    {
        "liver": {
            "1": (1, 2, 4, 5, 6), "2": (2, 3, 4), "3": (3, 4), "10": (1, 2, 3, 4, 5, 6),
            "11": (2, 3, 4, 5), "12": (4,),
        },
        "spleen": {"1": (4, 5), "2": (4,), "3": (0,), "10": (5, 6, 7), "11": (5,)},
    },
    dict.fromkeys(("1", "2", "3", "10", "11", "12"), tuple(range(8))),
)  # fmt: skip
