"""Split of the difference between two numbers A and B into a protocol effect and a method effect.

A and B differ in method and protocol: they are opposite corners of a square. A third corner splits the
difference. The corner of A's method under B's protocol changes the protocol first, then the method. The
corner of B's method under A's protocol changes the method first. With both corners the result is the mean of
the two splits and their disagreement (the interaction). Without any third corner there is no split.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fewshot.base.errors import UserError
from fewshot.files.atomic_io import canonical_json
from fewshot.identity.regimes import check_one_regime, regime_block
from results.inference.interval import t_interval
from results.inference.row_values import align_scans, row_values, sample_of_difference
from results.records.configuration import configuration_without_seed, is_configuration_named, question
from results.summary.frame import spread_of_folds
from results.summary.seed_average import SeedAverage, label, values_of

Json = dict[str, Any]
RULES = ("protocol", "shots", "parts")  # protocol side of a configuration; the other fields are the method's
SHARED = ("dataset", "setting")


def find_row(rows: Sequence[SeedAverage], text: str) -> SeedAverage:
    """Return the row whose configuration a text names, as `is_configuration_named` reads it.

    Raises `UserError`, with the candidates, unless exactly one row fits.
    """
    fitting = [row for row in rows if is_configuration_named(text, row.first.record)]
    if len(fitting) != 1:
        listed = "; ".join(
            f"#{row.configuration_id} {_named(row)} on {row.first.record.dataset.name} setting "
            f"{row.first.record.setting}"
            for row in fitting or rows
        )
        raise UserError(
            f"{text!r} fits {len(fitting)} configurations, expected one: give METHOD@PROTOCOL or the "
            f"beginning of a configuration's id, which tables print; known: {listed or 'none'}"
        )
    return fitting[0]


def compare(a: SeedAverage, b: SeedAverage, rows: Sequence[SeedAverage]) -> Json:
    """Return the numbers of A and B, their difference and its split, as plain JSON values.

    Args:
        a, b: the two rows.
        rows: all rows, among which to look for the third corners.

    Returns:
        Dice in percent, differences in percentage points. `missing` names the missing corners. `interval` is
        the 95 % t interval of B - A over folds; its level is None with one seed.

    Raises:
        UserError: A and B differ in dataset, setting, classes or regime, or a row is incomplete.
    """
    methods = [row.first.record.method for row in (a, b)]
    check_one_regime([regime_block(m.regime, m.labels_used) for m in methods], "compare")
    for key in SHARED:
        mine, its = (question(row.first.record)[key] for row in (a, b))
        if mine != its:
            raise UserError(
                f"A and B differ in {key} ({_plain(mine)} and {_plain(its)}): their difference means "
                "nothing; compare numbers of one dataset and setting"
            )
    if _classes(a) != _classes(b):
        raise UserError(
            f"A scores {', '.join(sorted(_classes(a)))}, B {', '.join(sorted(_classes(b)))}; compare numbers "
            "of the same classes"
        )
    first, last = (_number(row, side) for row, side in ((a, "A"), (b, "B")))
    corners = [_corner(a, b, rows), _corner(b, a, rows)]
    result: Json = {
        "a": _about(a, first), "b": _about(b, last), "difference": last - first, "interval": _interval(a, b),
        "protocol": None,
        "method": None, "interaction": None, "corners": [], "missing": [],
    }  # fmt: skip
    if _rules(a) == _rules(b) or _method(a) == _method(b):
        same_rules = _rules(a) == _rules(b)
        result["protocol"] = 0.0 if same_rules else last - first
        result["method"] = last - first if same_rules else 0.0
        return result
    ways = []
    for number, (corner, row, other) in enumerate(zip(corners, (a, b), (b, a), strict=True)):
        if corner is None:
            missing = f"{row.first.record.method.name} under {other.first.record.protocol.name}"
            result["missing"].append(missing)
            continue
        middle = _number(corner, "the corner")
        result["corners"].append(_about(corner, middle))
        steps = (middle - first, last - middle)  # A's method under B's protocol: protocol first
        ways.append(steps if number == 0 else steps[::-1])
    if ways:
        result["protocol"] = sum(protocol for protocol, _method in ways) / len(ways)
        result["method"] = sum(method for _protocol, method in ways) / len(ways)
    if len(ways) == 2:
        result["interaction"] = ways[0][1] - ways[1][1]
    return result


def comparison_text(result: Json) -> str:
    """Return the result of `compare` as text."""
    lines = [f"{side}  {_line(result[side.lower()])}" for side in ("A", "B")]
    lines += [f"corner  {_line(corner)}" for corner in result["corners"]]
    lines.append(f"B - A = {result['difference']:+.2f} percentage points of Dice{_interval_text(result)}")
    if result["protocol"] is None:
        lines.append(f"  no split: it needs records of {' or of '.join(result['missing'])}")
        return "\n".join(lines)
    lines += [f"  protocol {result['protocol']:+.2f}", f"  method   {result['method']:+.2f}"]
    if result["interaction"] is not None:
        lines.append(
            "  mean of two splits; the method effect is "
            f"{result['interaction']:+.2f} larger under B's protocol"
        )
    elif result["corners"]:
        lines.append(f"  one split only; the other needs records of {result['missing'][0]}")
    return "\n".join(lines)


def _interval(a: SeedAverage, b: SeedAverage) -> Json | None:
    """Return the interval of B - A over folds, in points; None for rows of other folds or of a single one."""
    if a.first.folds != b.first.folds:
        return None
    second, first = align_scans(row_values(b), row_values(a))
    interval = t_interval(sample_of_difference(second, first))
    if interval is None:
        return None
    level = interval.level if interval.covers_seeds else None
    return {"low": 100 * interval.low, "high": 100 * interval.high, "level": level}


def _interval_text(result: Json) -> str:
    interval = result["interval"]
    if interval is None:
        return ""
    ends = f"{interval['low']:+.2f} to {interval['high']:+.2f}"
    if interval["level"] is None:
        return f"; t over folds {ends}, 1 seed: no level is claimed"
    return f"; 95 % interval, t over folds and seeds: {ends}"


def _corner(method_of: SeedAverage, rules_of: SeedAverage, rows: Sequence[SeedAverage]) -> SeedAverage | None:
    """Return the complete row with the method and seeds of one row and the rules of the other, or None.

    The corner may carry only marks of these two rows. A recipe mark of the method is in all of its rows and
    is allowed. A mark of the corner alone, such as that of a hybrid, is not.
    """
    marks = {*method_of.first.record.audits, *rules_of.first.record.audits}
    for row in rows:
        fits = _method(row) == _method(method_of) and _rules(row) == _rules(rules_of)
        allowed = marks.issuperset(row.first.record.audits)
        if fits and allowed and row.seeds == method_of.seeds and _mean(row) is not None:
            return row
    return None


def _rules(row: SeedAverage) -> str:
    shared = question(row.first.record)
    return canonical_json({key: shared[key] for key in RULES})


def _method(row: SeedAverage) -> str:
    protocol_fields = (*RULES, "grid", "audits")
    every = configuration_without_seed(row.first.record)
    return canonical_json({key: value for key, value in every.items() if key not in protocol_fields})


def _classes(row: SeedAverage) -> set[str]:
    return {name for _group, name in row.first.columns}


def _number(row: SeedAverage, side: str) -> float:
    mean, every = _mean(row), len(row.first.folds) * len(row.first.groups)
    if mean is None:
        raise UserError(
            f"{side}, {_named(row)}, has {len(row.first.cells)} of {every} cells, "
            "so no mean; run the missing folds and groups first"
        )
    return 100 * mean


def _mean(row: SeedAverage) -> float | None:
    """Return the headline in [0, 1]; None if a cell is missing or no score is defined."""
    if row.missing:
        return None
    spread = spread_of_folds(values_of(row, "dice").means.of_all(row.first.folds))
    return None if spread is None else spread.mean


def _about(row: SeedAverage, dice: float) -> Json:
    return {
        "method": row.first.record.method.name,
        "protocol": row.first.record.protocol.name,
        "configuration": row.configuration_id,
        "label": label(row),
        "marks": list(row.first.record.audits),
        "dice_percent": dice,
    }


def _line(about: Json) -> str:
    marks = "".join(f"; MARKED: {mark}" for mark in about["marks"])
    return (
        f"{about['label']} under {about['protocol']} (#{about['configuration']}): "
        f"{about['dice_percent']:.2f}{marks}"
    )


def _named(row: SeedAverage) -> str:
    return f"{row.first.record.method.name}@{row.first.record.protocol.name}"


def _plain(value: Any) -> str:
    return f"{value['name']} {value['hash'][:8]}" if isinstance(value, dict) else str(value)
