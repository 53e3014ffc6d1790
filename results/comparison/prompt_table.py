"""The table of prompt gains: mean Dice under each sentence, and its difference to the true one."""

from __future__ import annotations

import math
from collections.abc import Sequence

TITLES = {
    "true": "true", "shuffled": "shuffled over the fold", "other": "another picture's", "empty": "empty"
}  # fmt: skip


def prompt_table(title: str, rows: Sequence[tuple[str, float, tuple[float, float, float] | None]]) -> str:
    """Return the lines of a table.

    Args:
        title: method, dataset and recipe.
        rows: prompt, mean Dice in [0,1], and the gain of the true sentence over it with its interval.
    """
    lines = [title, f"{'sentence':26}{'Dice':>8}{'true minus it':>16}{'95 % interval':>20}"]
    for prompt, dice, gain in rows:
        line = f"{TITLES[prompt]:26}{100 * dice:8.2f}"
        if gain is not None:
            low, high = 100 * gain[1], 100 * gain[2]
            bounds = "one fold" if math.isnan(low) else f"{low:+.2f} to {high:+.2f}"
            line += f"{100 * gain[0]:+16.2f}{bounds:>20}"
        lines.append(line)
    lines.append("Dice in percent: mean over the scans and classes of a fold, then over folds; t over folds.")
    return "\n".join(lines)
