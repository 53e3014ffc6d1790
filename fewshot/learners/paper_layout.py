"""The layout of a paper's tables, as data: which settings, datasets, classes and methods stand where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fewshot.base.errors import UserError

SELF = "self"  # among `PaperLayout.methods`: the method that has the layout, under its name in records


@dataclass(frozen=True)
class PaperTable:
    """One table of a paper: its setting (1 or 2), its datasets from left to right, the classes under each."""

    setting: int
    datasets: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class PaperLayout:
    """A paper's tables.

    `paper`: what titles call it. `methods`: its name of a method -> the method's name in records, None for
    one that is not here, SELF for the method that has the layout. `baseline`: the printed name of the method
    that the others are compared with; None prints no differences. `source`: how `published.csv` begins to
    name the paper; None for a paper without rows there.
    """

    paper: str
    tables: tuple[PaperTable, ...]
    methods: Mapping[str, str | None]
    baseline: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        if self.baseline is not None and self.baseline not in self.methods:
            known = ", ".join(self.methods) or "none"
            raise UserError(f"layout of {self.paper}: baseline {self.baseline!r}, expected one of {known}")

    def named(self, name: str) -> PaperLayout:
        """Return the layout with `name` in place of SELF."""
        methods = {printed: name if here == SELF else here for printed, here in self.methods.items()}
        return replace(self, methods=methods)
