"""One line of `fewshot verify`: a quantity of the reference vectors, and the error of ours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """The largest error of one quantity and its tolerance."""

    name: str
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the error is at most the tolerance; False for NaN."""
        return self.error <= self.tolerance
