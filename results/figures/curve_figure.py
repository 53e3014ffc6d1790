"""Figure of learning curves: Dice of validation scans over training steps, with yardsticks as lines."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from results.figures.board_figures import MOST, save, strokes, style, wrapped
from results.leaderboard.learning_curve import LearningCurves

GREY = "#555555"
DASHES = ("--", ":", "-.", (0, (1, 3)))  # of yardsticks


def draw_curves(made: LearningCurves, stem: Path) -> list[Path]:
    """Draw the best eight curves; return the files.

    A thin line is a seed, the thick line with marks the mean over seeds. A grey horizontal line is a
    yardstick on the same scans.
    """
    curves = made.curves[:MOST]
    with style():
        entries = len(curves) + len(made.yardsticks)
        figure = Figure(figsize=(7.6, 4.4 + 0.24 * entries), layout="constrained")
        axis = figure.subplots()
        for curve, (colour, marker, stroke) in zip(curves, strokes(len(curves)), strict=True):
            seeds = sorted(set(curve.seeds.index.get_level_values("seed")))
            if len(seeds) > 1:
                for seed in seeds:
                    own = curve.seeds.xs(seed, level="seed")
                    axis.plot(own.index, 100 * own.to_numpy(), color=colour, linestyle=stroke, linewidth=0.7)
            axis.plot(
                curve.mean.index, 100 * curve.mean.to_numpy(), color=colour, linestyle=stroke, marker=marker,
                markersize=5, linewidth=2.4, label=wrapped(curve.label, 100),
            )  # fmt: skip
        for place, (name, dice) in enumerate(made.yardsticks):
            axis.axhline(
                100 * dice, color=GREY, linewidth=1.1, linestyle=DASHES[place % len(DASHES)],
                label=f"{name}: {100 * dice:.1f}",
            )  # fmt: skip
        axis.set_xlim(left=0)
        axis.set_ylim(0, None)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("training steps")
        axis.set_ylabel("Dice of validation scans in percent")
        axis.grid(color="#e2e2e2", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        figure.suptitle(wrapped(f"Learning curves: {made.title}", 90), fontsize=10.5)
        axis.set_title(wrapped(caption(made), 118), fontsize=7.5, loc="left")
        figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=8)
        return save(figure, stem)


def caption(made: LearningCurves) -> str:
    """Return what the Dice of the curves is of."""
    scans = ", ".join(f"{scan} (fold {fold})" for fold, scan in sorted(made.scans.items()))
    text = (
        f"Dice of validation scans held out of training, never of a test fold: scan {scans}. Mean over the "
        f"groups {', '.join(made.groups)}, then over folds. Thin lines: seeds; thick: their mean."
    )
    if made.yardsticks:
        text += " Yardsticks: the same scans, from the supports of the folds that test them."
    if len(made.curves) > MOST:
        text += f" The best {MOST} of {len(made.curves)} curves are drawn."
    return text
