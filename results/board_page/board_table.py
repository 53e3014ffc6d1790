"""The table of all configurations and the filters above it."""

from __future__ import annotations

from collections.abc import Sequence

from results.board_page.boards import PageBoard
from results.board_page.drawings import interval_svg
from results.board_page.elements import link, option
from results.leaderboard.board import MARKS, LeaderboardRow
from results.leaderboard.board_tables import deviation, percent, ranked, span
from results.leaderboard.html import escaped
from results.summary.notes import training_text

# heading -> the direction of the first click, or None for a column that is not sorted
COLUMNS: dict[str, str | None] = {
    "method": "up", "dataset": "up", "setting": "up", "protocol": "up", "regime": "up", "marks": None,
    "mean Dice, %": "down", "interval": None, "± folds": "up", "0 to 100 %": None, "rank": "up",
    "seeds": "down",
}  # fmt: skip
TEXTS = ("method", "dataset", "protocol", "regime", "marks", "0 to 100 %")  # aligned to the left
FILTERS = ("dataset", "setting", "protocol", "regime")


def filter_bar(boards: Sequence[PageBoard]) -> str:
    """Return the filters: a list per fact, words, the order, and a box per mark that some row has."""
    values: dict[str, dict[str, None]] = {name: {} for name in FILTERS}
    used = ""
    for entry in boards:
        for line in entry.board.lines:
            used += line.marks
            for name, value in row_facts(line).items():
                values[name][value] = None
    lists = "".join(
        f'<label>{name} <select data-key="{name}">{option("", "all")}'
        + "".join(option(value, value) for value in sorted(values[name]))
        + "</select></label>"
        for name in FILTERS
    )
    orders = option("", "board, then rank") + "".join(
        option(f"{place} {direction}", f"{heading}, {ORDER[direction]}")
        for place, (heading, first) in enumerate(COLUMNS.items())
        if first is not None
        for direction in ("up", "down")
    )
    boxes = "".join(
        f'<label><input type="checkbox" checked data-mark="{escaped(mark)}"> '
        f'<span class="marks">{escaped(mark)}</span> {escaped(text)}</label>'
        for mark, text in MARKS.items()
        if mark in used
    )
    return (
        f'<div class="filters" role="search">{lists}'
        '<label class="full">words <input type="search" id="text" autocomplete="off"></label>'
        f'<label class="full">order <select id="order">{orders}</select></label>'
        '<button type="button" id="reset" class="full">Show all</button></div>\n'
        '<details class="marks-filter"><summary>Marks: what they mean, and which rows to show</summary>'
        f"<fieldset><legend>show rows with</legend>{boxes}</fieldset></details>\n"
        '<p id="count" class="faint" role="status" aria-live="polite"></p>\n'
    )


ORDER = {"up": "ascending", "down": "descending"}


def row_facts(line: LeaderboardRow) -> dict[str, str]:
    """Return the facts of a row that filters select."""
    record = line.row.first.record
    return {
        "dataset": record.dataset.name, "setting": str(record.setting), "protocol": record.protocol.name,
        "regime": record.method.regime,
    }  # fmt: skip


def board_table(boards: Sequence[PageBoard]) -> str:
    """Return the table; without a script it stands in the order of boards and ranks."""
    heads = []
    for heading, first in COLUMNS.items():
        kind = ' class="text"' if heading in TEXTS else ""
        inner = f'<button type="button">{escaped(heading)}</button>' if first else escaped(heading)
        heads.append(f'<th scope="col"{kind} data-first="{first or ""}">{inner}</th>')
    rows = [
        _row(entry, name, line, is_first=number == 0)
        for entry in boards
        for number, (name, line) in enumerate(entry.named_lines())
    ]
    return (
        '<div class="wide"><table id="rows"><caption><span>Dice in percent, mean over folds. Compare only '
        "rows of the same dataset, setting and protocol: ranks count within them. Intervals cover 95 %; a "
        "dashed one is of one seed, covers folds alone and claims no level.</span></caption>"
        f"<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>"
    )


def _row(entry: PageBoard, name: str, line: LeaderboardRow, *, is_first: bool) -> str:
    identity = line.row.configuration_id
    facts = row_facts(line)
    data = "".join(f' data-{key}="{escaped(value)}"' for key, value in facts.items())
    mean = line.mean.mean
    marks = "".join(f'<abbr title="{escaped(MARKS[mark])}">{escaped(mark)}</abbr>' for mark in line.marks)
    cells = [
        ("method", name, f'{link(identity, name)}<br><small class="faint">{_model(line)}</small>'),
        ("dataset", entry.dataset, link(entry.identity, entry.dataset)),
        ("setting", facts["setting"], facts["setting"]),
        ("protocol", facts["protocol"], escaped(facts["protocol"])),
        ("regime", facts["regime"], escaped(facts["regime"])),
        ("marks", line.marks, f'<span class="marks">{marks or "-"}</span>'),
        ("mean", "" if mean is None else f"{mean:.6f}", escaped(percent(line.mean))),
        ("interval", "", escaped(span(line.mean))),
        ("± folds", "" if line.mean.std is None else f"{line.mean.std:.6f}", escaped(deviation(line.mean))),
        ("", "", interval_svg(line.mean)),
        ("rank", "" if line.rank is None else str(line.rank), escaped(ranked(line))),
        ("seeds", str(len(line.row.seeds)), str(len(line.row.seeds))),
    ]
    texts = []
    for place, (label, value, inner) in enumerate(cells):
        if place == 0:
            texts.append(f'<th scope="row" data-value="{escaped(value)}">{inner}</th>')
            continue
        kind = "text" if label in TEXTS else "number"
        kind += " long" if label == "regime" else ""
        kind += " best" if label == "mean" and line.rank == 1 else ""
        kind += " drawing" if not label else ""
        named = f' data-label="{escaped(label)}"' if label else ""
        texts.append(f'<td class="{kind}"{named} data-value="{escaped(value)}">{inner}</td>')
    first = ' class="first-of-board"' if is_first else ""
    return (
        f'<tr{first} data-board="{entry.identity}" data-marks="{escaped(line.marks)}"{data}>'
        f"{''.join(texts)}</tr>"
    )


def _model(line: LeaderboardRow) -> str:
    return escaped(training_text(line.row.first.record))
