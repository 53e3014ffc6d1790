"""The layout of a paper's tables as data: their settings, datasets, classes and methods, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fewshot.base.errors import UserError

SELF = "self"  # in `PaperLayout.methods`: the method that defines the layout


@dataclass(frozen=True)
class PaperTable:
    """One table of a paper: its setting (1 or 2), its datasets from left to right, the classes under each."""

    setting: int
    datasets: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class PaperLayout:
    """A paper's tables.

    Attributes:
        paper: the paper's name in titles.
        tables: the tables in order.
        methods: the printed name of a method -> its name in records; None for a method that the project does
            not have, SELF for the method that defines the layout.
        baseline: the printed name of the method that the others are compared with; None prints no
            differences.
        source: the prefix of the paper's source in `published.csv`; None for a paper without rows there.
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
