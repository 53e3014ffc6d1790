"""Table of the regions of myocardial pathology: Dice and HD95, honest and by the published rule."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from results.metrics.regions import RegionScore

NOTES = (
    "Dice in percent, HD95 in voxels without the spacing; means over scans of all folds and seeds.",
    "honest: two empty masks have no Dice, an empty mask has no HD95; n: scans that have one.",
    "published: the release's rule. With an empty mask, fewer than 200 predicted and at most 200 true voxels "
    "are Dice 100, else 0; HD95 is 0 in both cases.",
)


def region_table(rows: Sequence[tuple[str, Mapping[str, Sequence[RegionScore]]]]) -> str:
    """Return the table of rows: label, and region -> a score for each scan."""
    lines = []
    for label, regions in rows:
        lines.append(label)
        head = f"  {'region':20}{'Dice':>8}{'n':>5}{'HD95':>8}{'n':>5}"
        lines.append(f"{head}{'published Dice':>16}{'published HD95':>16}")
        for region, scores in regions.items():
            dices = [score.dice for score in scores if score.dice is not None]
            distances = [score.hd95 for score in scores if score.hd95 is not None]
            lines.append(
                f"  {region:20}{_mean(dices, 100):>8}{len(dices):>5}{_mean(distances):>8}{len(distances):>5}"
                f"{_mean([score.published_dice for score in scores], 100):>16}"
                f"{_mean([score.published_hd95 for score in scores]):>16}"
            )
    return "\n".join([*lines, *(f"  {note}" for note in NOTES)]) + "\n"


def _mean(values: Sequence[float], scale: float = 1) -> str:
    return f"{scale * statistics.fmean(values):.2f}" if values else "-"
