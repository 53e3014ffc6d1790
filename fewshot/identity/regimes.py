"""Regimes of learning: what a method may see of the tested classes. Boards and tests never mix them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from fewshot.base.errors import UserError

FEW_SHOT = "few-shot"
SUPERVISED = "supervised"
TEXT_SUPERVISED = "text-supervised"
YARDSTICK = "yardstick"
# regime -> what its methods see, for headings
REGIMES = {
    FEW_SHOT: "a support set at test time, and no label of a tested class in training",
    SUPERVISED: "labels of the tested classes in the training scans, and no support",
    TEXT_SUPERVISED: "labels of the tested classes in the training scans, and a sentence for each slice",
    "multi-sequence": "labels of the tested classes in the training scans, and several registered channels",
    "landmark": "points in the training scans",
}


@dataclass(frozen=True)
class Needs:
    """What a learner needs besides the image of a slice; the harness gives this and nothing more.

    Attributes:
        labels: "target": masks of the tested classes in the training scans.
        channels: number of registered channels of an image; 1: one grey channel, 0: any number.
        sentence: whether a sentence belongs to every slice.
        points: whether points belong to every training slice.
    """

    labels: Literal["none", "target"] = "none"
    channels: int = 1
    sentence: bool = False
    points: bool = False

    def texts(self) -> tuple[str, ...]:
        """Return the needs in words, for records and tables."""
        number = "all channels" if self.channels == 0 else f"{self.channels} channels"
        parts = (
            ("labels of the tested classes in training scans", self.labels == "target"),
            (number, self.channels != 1),
            ("a sentence for each slice", self.sentence),
            ("points in training scans", self.points),
        )
        return tuple(text for text, holds in parts if holds)


# regime -> the least that its methods declare; few-shot methods declare nothing
_LEAST = {
    SUPERVISED: ("labels",),
    TEXT_SUPERVISED: ("labels", "sentence"),
    "multi-sequence": ("labels", "channels"),
    "landmark": ("points",),
}


def regime_block(text: str, labels_used: str = "none") -> str:
    """Return the regime of a record's `method.regime`: one of `REGIMES`, or "yardstick".

    Few-shot methods name their kind of training there (self-supervised, in-context and so on), so every other
    text is few-shot. Masks of another program whose training saw the tested classes are supervised.
    """
    if text == "external" and labels_used == "target":
        return SUPERVISED
    return text if text in REGIMES or text == YARDSTICK else FEW_SHOT


def needs_of(learner: type[Any]) -> Needs:
    """Return the declared needs of a learner class; `UserError` if they do not fit its regime."""
    regime = regime_block(getattr(learner, "regime", FEW_SHOT))
    needs: Needs = getattr(learner, "needs", Needs())
    given = {
        "labels": needs.labels == "target",
        "channels": needs.channels != 1,
        "sentence": needs.sentence,
        "points": needs.points,
    }
    least = _LEAST.get(regime, ())
    lacking = [name for name in least if not given[name]]
    if lacking:
        raise UserError(
            f"{learner.__name__}: regime {regime} without needs {', '.join(lacking)}, expected them; declare "
            "needs = Needs(...) or another regime"
        )
    if regime in (FEW_SHOT, YARDSTICK) and any(given.values()):
        raise UserError(
            f"{learner.__name__}: regime {regime} has no needs, found {', '.join(needs.texts())}; declare "
            f"one of {', '.join(_LEAST)}"
        )
    return needs


def trains_on_labels(learner: type[Any]) -> bool:
    """Return whether a learner class trains on labels of the tested classes."""
    return needs_of(learner).labels == "target"


def check_one_regime(blocks: Collection[str], purpose: str) -> None:
    """Raise `UserError` if there are several regimes; yardsticks fit every regime.

    Args:
        blocks: `regime_block` of each row, in their order.
        purpose: the start of the message, such as "significance".
    """
    regimes = [block for block in dict.fromkeys(blocks) if block != YARDSTICK]
    if len(regimes) > 1:
        raise UserError(
            f"{purpose}: rows of the regimes {' and '.join(regimes)}, expected one regime, since they see "
            "other labels; choose rows of one block of the board"
        )
