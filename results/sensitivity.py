"""How much a result hangs on which scan is the support, where a protocol asks every one in turn (open-ep).

Of one class in one fold every support has the mean over query scans; worst is the least of these, spread
their standard deviation (n-1). A fold's number is the mean over its classes, as the headline's is.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

from results.blocks import Block, Column

COLUMNS = ("worst support", "spread of supports")


def several_supports(block: Block) -> bool:
    """Say whether some class of some scan was answered from more than one set of supports."""
    seen: dict[tuple[int, str, str], set[tuple[str, ...]]] = {}
    for (fold, _group), record in block.cells.items():
        for score in record.scores:
            if score.undefined is None:
                key = (fold, score.class_name, score.scan)
                seen.setdefault(key, set()).add(tuple(score.supports))
    return any(len(supports) > 1 for supports in seen.values())


def by_support(block: Block, fold: int, column: Column) -> dict[tuple[str, ...], float]:
    """Return support scans -> mean Dice over query scans of a class in a fold, in [0, 1]."""
    group, name = column
    found: dict[tuple[str, ...], list[float]] = {}
    for score in block.cells[fold, group].scores if (fold, group) in block.cells else ():
        if score.class_name == name and score.dice is not None:
            found.setdefault(tuple(score.supports), []).append(score.dice)
    return {supports: statistics.fmean(dices) for supports, dices in found.items()}


def worst_support(block: Block, fold: int) -> float | None:
    """Return the mean over classes of the worst support's Dice; None where a cell of the fold is missing."""
    return _over_classes(block, fold, lambda dices: min(dices.values()))


def spread_of_supports(block: Block, fold: int) -> float | None:
    """Return the mean over classes of the deviation (n-1) over supports; None where a cell is missing."""
    return _over_classes(
        block, fold, lambda dices: statistics.stdev(dices.values()) if len(dices) > 1 else 0.0
    )


def over_folds(block: Block, measure: Callable[[Block, int], float | None]) -> float | None:
    """Return the mean of one of the two over folds; None where a cell is missing."""
    found = [measure(block, fold) for fold in block.folds]
    defined = [value for value in found if value is not None]
    return statistics.fmean(defined) if defined and not block.missing else None


def _over_classes(
    block: Block, fold: int, measure: Callable[[Mapping[tuple[str, ...], float]], float]
) -> float | None:
    if any(missing == fold for missing, _group in block.missing):
        return None
    dices = [by_support(block, fold, column) for column in block.columns]
    found = [measure(one) for one in dices if one]
    return statistics.fmean(found) if found else None
