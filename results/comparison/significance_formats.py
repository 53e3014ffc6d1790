"""A comparison of two methods as text, markdown or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

from fewshot.base.errors import unknown_name
from results.comparison.significance import Comparison, Difference
from results.leaderboard.board_tables import signed
from results.metrics.measures import MEASURES
from results.summary.select_records import question_text
from results.tables.text_table import FORMATS as LAYOUTS
from results.tables.text_table import Grid

HEADER = (
    "class", "scans", "A", "B", "A - B", "95 % interval", "Wilcoxon p", "Holm p", "rank-biserial", "d_z",
    "scans for 1 point",
)  # fmt: skip


def render_comparison(comparison: Comparison, format: str) -> str:
    """Return the comparison as "text", "md" or "json"; another name is a `UserError`."""
    if format not in COMPARISON_FORMATS:
        raise unknown_name("comparison format", format, COMPARISON_FORMATS)
    return COMPARISON_FORMATS[format](comparison)


def comparison_grid(comparison: Comparison) -> Grid:
    """Return a row per class and a last one for each scan's mean over classes; percent points."""
    *classes, whole = [_line(one) for one in comparison.differences]
    return Grid(HEADER, tuple(classes), whole)


def comparison_title(comparison: Comparison) -> str:
    """Return what is compared, on what."""
    return f"{MEASURES[comparison.measure]} on {question_text(comparison.record)}"


def comparison_notes(comparison: Comparison) -> list[str]:
    """Return who A and B are, and what the columns mean."""
    lines = [
        f"A: {comparison.a}",
        f"B: {comparison.b}",
        "A, B, A - B: percent, mean over folds of the mean over scans (last row: of the mean over classes); "
        "seeds are averaged per scan first; 95 % interval: bootstrap of the paired difference, scans "
        "resampled within folds, all classes together",
        "Wilcoxon p: exact, two-sided, over scans, pairs without difference dropped; Holm p: corrected over "
        "the classes; the last row is one test on each scan's mean over classes",
        "rank-biserial: (W+ - W-) / (W+ + W-); d_z: mean over standard deviation of the paired differences",
        "scans for 1 point: paired scans that would show a difference of one point with 80 % power at a "
        "two-sided 5 %, normal approximation times pi / 3 for the signed-rank test",
    ]
    for one in comparison.differences:
        if one.test.zeros:
            lines.append(f"{one.name}: {one.test.zeros} pairs without difference")
    if comparison.unpaired:
        lines.append(
            f"{comparison.unpaired} values of one method alone are left out: the other has none there"
        )
    return lines + [f"left out: {reason}" for reason in comparison.left_out]


def _laid_out(name: str) -> Callable[[Comparison], str]:
    def render(comparison: Comparison) -> str:
        title, notes = comparison_title(comparison), comparison_notes(comparison)
        return LAYOUTS[name](title, "", comparison_grid(comparison), notes)

    return render


def _json(comparison: Comparison) -> str:
    differences = [asdict(one) | {"rank_biserial": one.test.rank_biserial} for one in comparison.differences]
    value = {
        "a": comparison.a, "b": comparison.b, "measure": comparison.measure, "unpaired": comparison.unpaired,
        "question": question_text(comparison.record), "differences": differences,
        "left_out": list(comparison.left_out),
    }  # fmt: skip
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)


COMPARISON_FORMATS: dict[str, Callable[[Comparison], str]] = {
    "text": _laid_out("text"), "md": _laid_out("md"), "json": _json,
}  # fmt: skip


def _line(one: Difference) -> tuple[str, ...]:
    span = "-" if one.interval is None else " to ".join(signed(100 * end) for end in one.interval)
    return (
        one.name, str(one.scans), f"{100 * one.a:.2f}", f"{100 * one.b:.2f}", signed(100 * one.estimate),
        span,
        _p(one.test.p), "-" if one.corrected is None else _p(one.corrected), _two(one.test.rank_biserial),
        _two(one.standardised), "-" if one.needed is None else str(one.needed),
    )  # fmt: skip


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else f"{value:.1e}"


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
