"""A comparison of two methods as text, markdown or JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from fewshot.base.errors import unknown_name
from results.comparison.significance import Comparison
from results.inference.components import MOST_VALUES, Components
from results.inference.interval import Interval
from results.inference.paired import PairedDifference
from results.leaderboard.board_tables import signed
from results.metrics.measures import MEASURES
from results.summary.select_records import question_text
from results.tables.table_formats import FORMATS as LAYOUTS
from results.tables.text_table import Grid

HEADER = (
    "class", "A", "B", "A - B", "interval", "t p", "sign-flip p", "Holm p", "scans", "A better", "median",
    "rank-biserial",
)  # fmt: skip
NO_TEST = "-"


def render_comparison(comparison: Comparison, format: str) -> str:
    """Return the comparison as "text", "md" or "json"; another format raises `UserError`."""
    if format not in COMPARISON_FORMATS:
        raise unknown_name("comparison format", format, COMPARISON_FORMATS)
    return COMPARISON_FORMATS[format](comparison)


def comparison_grid(comparison: Comparison) -> Grid:
    """Return one row per class and a last row of all classes, the primary one; in percentage points."""
    *classes, last = [_line(difference) for difference in comparison.differences]
    return Grid(HEADER, tuple(classes), last)


def comparison_title(comparison: Comparison) -> str:
    """Return the measure and the question of a comparison."""
    return f"{MEASURES[comparison.measure]} on {question_text(comparison.record)}"


def verdict(comparison: Comparison) -> str:
    """Return the result of the primary test, all classes, in words."""
    overall = comparison.rows.overall
    if overall.interval is None:
        return "no test: an interval needs two folds"
    if overall.is_significant is None:
        return (
            "1 seed: no significance is claimed, since nothing shows how far a seed moves the difference; "
            "the interval is over folds alone"
        )
    says = "excludes 0: A and B differ" if overall.is_significant else "holds 0: no difference is shown"
    return f"the 95 % interval of all classes {says}"


def comparison_notes(comparison: Comparison) -> list[str]:
    """Return the notes: the rows A and B, the verdict, the meaning of the columns, and the omissions."""
    overall = comparison.rows.overall
    folds = ", ".join(signed(100 * value) for value in overall.fold_differences)
    lines = [
        f"A: {comparison.a}; {_seeds(comparison.seeds_a)}",
        f"B: {comparison.b}; {_seeds(comparison.seeds_b)}",
        f"primary test, all classes: {verdict(comparison)}",
        f"A - B of each fold, all classes: {folds}",
    ]
    if overall.sign_flip is not None:
        flip = overall.sign_flip
        how = "all signs" if flip.is_exact else "drawn signs"
        lines.append(
            f"sign-flip p: {how} of {flip.folds} fold differences; the smallest p they can reach is "
            f"{_p(flip.smallest)} (2 / 2^{flip.folds})"
        )
    lines += [
        "A, B, A - B: percent, mean over folds; seeds are averaged in each fold first; interval: 95 %, t "
        "over fold differences, with the seeds' own variance (docs/statistics.md); t p: of that statistic",
        "Holm p: t p of a class, corrected over the classes; secondary",
        "scans, A better, median, rank-biserial: description of single scans, no test, since the scans of a "
        "fold share support and model; rank-biserial: (W+ - W-) / (W+ + W-) of Wilcoxon's signed ranks",
        *component_notes(comparison.components),
    ]
    if comparison.rows.unpaired:
        lines.append(
            f"{comparison.rows.unpaired} values of one method alone are left out: the other has none there"
        )
    return lines + [f"left out: {reason}" for reason in comparison.left_out]


def component_notes(components: Components | None) -> list[str]:
    """Return the variance components in points, and what would narrow the interval, with numbers."""
    if components is None:
        return [
            "variance components: not estimated; they need two folds of two scans, the same seeds, at most "
            f"{MOST_VALUES} values"
        ]
    design = components.design
    names = {
        "fold (support, training set)": components.fold, "seed": components.seed,
        "fold and seed (one training)": components.model, "scan": components.scan, "rest": components.rest,
    }  # fmt: skip
    parts = ", ".join(f"{name} {100 * value:.2f}" for name, value in names.items() if value is not None)
    lines = [f"variance components of A - B, all classes, standard deviations in points: {parts}"]
    if components.seed is None:
        return [*lines, "with 1 seed, fold holds the part of one training, and seeds have no component"]
    wider = {
        f"{design.folds} folds, {design.seeds} seeds, {design.scans:g} scans a fold": design,
        "twice the seeds": replace(design, seeds=2 * design.seeds),
        "twice the scans in each fold": replace(design, scans=2 * design.scans),
        "twice the folds": replace(design, folds=2 * design.folds),
    }
    widths = "; ".join(f"{name} ± {100 * components.half_width(of):.2f}" for name, of in wider.items())
    return [*lines, f"expected half width of the interval, in points: {widths}"]


def _laid_out(name: str) -> Callable[[Comparison], str]:
    def render(comparison: Comparison) -> str:
        title, notes = comparison_title(comparison), comparison_notes(comparison)
        return LAYOUTS[name](title, "", comparison_grid(comparison), notes)

    return render


def _json(comparison: Comparison) -> str:
    components = comparison.components
    value = {
        "a": comparison.a, "b": comparison.b, "seeds_a": list(comparison.seeds_a),
        "seeds_b": list(comparison.seeds_b), "measure": comparison.measure,
        "unpaired": comparison.rows.unpaired, "question": question_text(comparison.record),
        "primary": _json_difference(comparison.rows.overall), "verdict": verdict(comparison),
        "classes": [_json_difference(one) for one in comparison.rows.classes],
        "components": None if components is None else asdict(components),
        "left_out": list(comparison.left_out),
    }  # fmt: skip
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)


def _json_difference(difference: PairedDifference) -> dict[str, Any]:
    value = asdict(difference) | {"is_significant": difference.is_significant}
    folds = difference.fold_differences
    value["fold_differences"] = [None if math.isnan(one) else one for one in folds]
    if difference.interval is not None and not difference.interval.covers_seeds:
        value["interval"]["level"] = None
    return value


COMPARISON_FORMATS: dict[str, Callable[[Comparison], str]] = {
    "text": _laid_out("text"), "md": _laid_out("md"), "tex": _laid_out("tex"), "json": _json,
}  # fmt: skip


def _line(difference: PairedDifference) -> tuple[str, ...]:
    scans = difference.scans
    return (
        difference.name,
        f"{100 * difference.a:.2f}",
        f"{100 * difference.b:.2f}",
        signed(100 * difference.estimate),
        signed_interval(difference.interval),
        _p(difference.p),
        NO_TEST if difference.sign_flip is None else _p(difference.sign_flip.p),
        _p(difference.corrected),
        str(scans.scans),
        f"{100 * scans.better:.0f} %",
        signed(100 * scans.median),
        "-" if scans.rank_biserial is None else f"{scans.rank_biserial:.2f}",
    )


def signed_interval(interval: Interval | None, decimals: int = 2) -> str:
    """Return an interval of a difference in percentage points, with a mark of one seed; "-" without one."""
    if interval is None:
        return "-"
    ends = " to ".join(f"{100 * end:+.{decimals}f}" for end in (interval.low, interval.high))
    return ends if interval.covers_seeds else f"{ends}, 1 seed"


def _seeds(seeds: tuple[int, ...]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"


def _p(value: float | None) -> str:
    if value is None:
        return NO_TEST
    return f"{value:.4f}" if value >= 0.0001 else f"{value:.1e}"
