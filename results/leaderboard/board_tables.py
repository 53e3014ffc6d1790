"""A board as grids of texts and their notes, for all printed formats; ratios become percent here."""

from __future__ import annotations

from fewshot.identity.regimes import FEW_SHOT, REGIMES
from results.leaderboard.board import MARKS, Board, LeaderboardRow, Number, PublishedComparison
from results.leaderboard.board_distances import distance_header, distance_notes, distance_texts
from results.metrics.measures import MEASURES
from results.summary.comparability import prepared_by_text
from results.summary.machines import machine_notes
from results.summary.notes import stand_in_notes
from results.tables.published import KINDS
from results.tables.text_table import Grid


def board_grid(board: Board, regime: str) -> Grid:
    """Return one row per configuration of a regime: rank, label, marks, means, deviations, interval, id."""
    header = ("rank", "method", "marks", *(name for _kind, name in board.columns))
    header += ("± folds", "interval", "± scans", "undefined", *distance_header(board), "configuration")
    return Grid(header, tuple(_line(board, line) for line in board.lines if line.regime == regime), None)


def regime_title(board: Board, regime: str) -> str:
    """Return the title of a regime's block, with what its methods see; the board's own with one regime."""
    if board.regimes == (FEW_SHOT,):
        return board.title
    return f"{board.title}: {regime} methods, which see {REGIMES[regime]}"


def published_grid(board: Board) -> Grid:
    """Return the published rows of the board's dataset and setting, with differences or reasons."""
    classes = tuple(name for kind, name in board.columns if kind == "class")
    header = ("published", *classes, "mean", "how", "protocol", "measured here minus published", "source")
    rows, sources = [], _sources(board)
    for one in board.published:
        row = one.row
        dices = (f"{row.dice[name]:.2f}" if name in row.dice else "-" for name in classes)
        name = row.method + (" *" if row.marks or row.caveat else "")
        last = (row.kind, row.protocol or "not known", difference(one), f"[{sources[row.reported_by]}]")
        rows.append((name, *dices, f"{row.mean:.2f}", *last))
    return Grid(header, tuple(rows), None)


def board_notes(board: Board) -> list[str]:
    """Return the notes on the measured rows: units, marks, audits, omissions."""
    unit = MEASURES[board.measure]
    lines = [
        f"{unit} in percent: mean over folds of the mean over classes of the mean over scans; seeds are "
        "averaged per scan first; ± is the standard deviation over folds (n-1)",
        *interval_notes(board),
    ]
    used = "".join(line.marks for line in board.lines)
    lines += [f"{mark}: {text}" for mark, text in MARKS.items() if mark in used]
    lines.append(prepared_by_text(record for line in board.lines for record in line.row.cells))
    if any(line.undefined for line in board.lines):
        lines.append("undefined: scores without a value, left out of their means and counted, of all scores")
    lines += distance_notes(board)
    for line in board.lines:
        if line.row.missing:
            cells = len(line.row.first.folds) * len(line.row.first.groups)
            lines.append(f"INCOMPLETE: {line.label}: {len(line.row.missing)} of {cells} cells are missing")
    lines += [f"{line.label}: {note}" for line in board.lines for note in stand_in_notes(line.row.first)]
    for line in board.lines:
        lines += [f"{line.label}: {note}" for note in machine_notes(line.row.cells)]
    lines += [f"MARKED: {audit}" for audit in board.audits]
    lines += [f"left out: {reason}" for reason in board.left_out]
    return lines


def interval_notes(board: Board) -> list[str]:
    """Return the notes on intervals, ranks and the spread over scans."""
    lines = [
        "interval: 95 %, t over the means of folds, seeds averaged in each fold first; a variance that seeds "
        "show in all folds alike is added (docs/statistics.md)",
        "± scans: standard deviation (n-1) over query scans: how scans differ, not how sure the mean is",
    ]
    if any(len(line.row.seeds) > 1 for line in board.lines):
        seeds = ", ".join(map(str, sorted({seed for line in board.lines for seed in line.row.seeds})))
        lines.append(f"seeds: {seeds}")
    if any(line.ranks is not None for line in board.lines):
        lines.append(
            "in brackets the 95 % interval of the rank, from draws of the same fold means for every row"
        )
    if any("1" in line.marks for line in board.lines):
        lines.append(
            '"1 seed" behind an interval: over folds alone; no level is claimed. The rank of such a row has '
            "no interval, and the row may stand on either side of the others"
        )
    return lines


def published_notes(board: Board) -> list[str]:
    """Return the notes on the published rows: kinds, sources, caveats, findings of the check."""
    kinds = dict.fromkeys(one.row.kind for one in board.published)
    lines = [
        "reported by papers, never mixed with what is measured here; a difference is made only where "
        "protocol and setting agree, the training is the published recipe, and this program prepared the "
        "dataset from the download",
    ]
    lines += [f"{kind}: {KINDS[kind]}" for kind in kinds]
    sources = _sources(board)
    urls = {one.row.reported_by: one.row.source_url for one in board.published}
    lines += [f"[{number}] {source}, {urls[source]}" for source, number in sources.items()]
    for one in board.published:
        for text in (*((one.row.caveat,) if one.row.caveat else ()), *one.row.marks):
            lines.append(f"* {one.row.method} [{sources[one.row.reported_by]}]: {text}")
    return lines


def difference(comparison: PublishedComparison) -> str:
    """Return the differences to a published row in words, or the reasons why there is no difference."""
    if comparison.reason:
        return f"none: {comparison.reason}"
    names: dict[str, list[str]] = {}
    for name, reason in comparison.refused:
        names.setdefault(reason, []).append(f"#{name}")
    texts = [f"{signed(value)} (#{name})" for name, value in comparison.differences]
    texts += [f"none for {', '.join(refused)}: {reason}" for reason, refused in names.items()]
    return "; ".join(texts)


def signed(value: float) -> str:
    """Return a difference in percentage points with its sign."""
    text = f"{value:.2f}"
    return f"+{text}" if value > 0 else text


def percent(number: Number) -> str:
    """Return a mean in percent, or the state of a number without a mean."""
    return number.state if number.mean is None else f"{100 * number.mean:.2f}"


def deviation(number: Number) -> str:
    """Return the deviation over folds in percent; "-" without one."""
    return "-" if number.std is None else f"{100 * number.std:.2f}"


def span(number: Number) -> str:
    """Return the interval in percent, with a mark of one seed; "-" without one."""
    if number.interval is None:
        return "-"
    ends = f"{100 * number.interval.low:.2f} to {100 * number.interval.high:.2f}"
    return ends if number.interval.covers_seeds else f"{ends}, 1 seed"


def scan_deviation(number: Number) -> str:
    """Return the deviation over query scans in percent; "-" without one."""
    return "-" if number.scan_std is None else f"{100 * number.scan_std:.2f}"


def ranked(line: LeaderboardRow) -> str:
    """Return the rank with its interval in brackets; "-" without a mean."""
    if line.rank is None:
        return "-"
    return str(line.rank) if line.ranks is None else f"{line.rank} ({line.ranks[0]}-{line.ranks[1]})"


def _line(board: Board, line: LeaderboardRow) -> tuple[str, ...]:
    numbers = (percent(number) for number in line.numbers)
    last = (
        f"{line.undefined}/{line.scores}", *distance_texts(board, line), f"#{line.row.configuration_id}",
    )  # fmt: skip
    return (
        ranked(line), line.label, line.marks, *numbers, deviation(line.mean), span(line.mean),
        scan_deviation(line.mean), *last,
    )  # fmt: skip


def _sources(board: Board) -> dict[str, int]:
    """Return the number of each source, counted from 1 in the order of the rows."""
    names = dict.fromkeys(one.row.reported_by for one in board.published)
    return {name: number for number, name in enumerate(names, start=1)}
