"""One line of `fewshot verify`: a quantity that a reference vector fixes, and how far ours is from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """The largest error of one quantity and the error that is tolerated."""

    name: str
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """True if the error is within tolerance; an error that is not a number is not."""
        return self.error <= self.tolerance
