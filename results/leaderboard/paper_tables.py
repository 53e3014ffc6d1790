"""Tables in the layout of a paper, filled with numbers measured here or with the paper's own numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fewshot.base.errors import UserError, unknown_name
from fewshot.learners.paper_layout import PaperLayout, PaperTable
from results.leaderboard.board import Board, LeaderboardRow, leaderboard
from results.leaderboard.board_tables import percent, signed
from results.records.record import Record
from results.summary.comparability import reason_of_cells
from results.tables.published import PublishedRow
from results.tables.table_formats import FORMATS
from results.tables.text_table import Grid

NOT_MEASURED = "not measured"
NOT_PRINTED = "not printed"
TITLES = {"sabs": "Abd-CT", "chaost2": "Abd-MRI", "cmr": "CMR"}
SHORT = {
    "right-kidney": "RK", "left-kidney": "LK", "liver": "Liver", "spleen": "Spleen", "rv": "RV",
    "lv-myo": "LV-MYO", "lv-bp": "LV-BP", "mean": "Mean",
}  # fmt: skip
Cells = Mapping[
    tuple[str, str, int], Mapping[str, float | str]
]  # method, dataset, setting -> column -> percent


def measured_cells(
    layout: PaperLayout, records: Sequence[Record], protocol: str | None = None
) -> tuple[Cells, list[str]]:
    """Return the measured cells of a layout, and notes that name the chosen rows and the omissions.

    If a method has several rows on a board, the row with the longest training is chosen, and among equally
    long ones the row with the most stages.

    Args:
        layout: the paper's tables and methods.
        records: records of any question.
        protocol: a protocol's name; None chooses one for each board.

    Raises:
        UserError: two rows of a method have equally long trainings and equally many stages.
    """
    cells: dict[tuple[str, str, int], dict[str, float | str]] = {}
    notes = []
    boards = dict.fromkeys((dataset, table.setting) for table in layout.tables for dataset in table.datasets)
    available = {(record.dataset.name, record.setting) for record in records}
    for dataset, setting in boards:
        if (dataset, setting) not in available:
            continue
        board = leaderboard(records, dataset, setting, protocol)
        notes += [f"left out: {reason}" for reason in board.left_out]
        for printed, name in layout.methods.items():
            line = _line(board, name)
            if line is not None:
                cells[printed, dataset, setting] = _numbers(board, line)
                where = f"{printed}, {title_of(dataset)}, setting {setting}"
                notes.append(f"{where}: {_label(line)} [{line.marks}]{_not_comparable(line)}")
    return cells, notes


def published_cells(layout: PaperLayout, rows: Sequence[PublishedRow]) -> Cells:
    """Return the cells that the paper itself prints; raise `UserError` if no published row is from it."""
    cells = {
        (row.method, row.dataset, row.setting): {**row.dice, "mean": row.mean}
        for row in rows
        if layout.source is not None and row.reported_by.startswith(layout.source)
    }
    if not cells:
        raise UserError(f"no published number of {layout.paper} is known here; leave --published out")
    return cells


def title_of(dataset: str) -> str:
    """Return the papers' name of a dataset, or its own name if papers have none."""
    return TITLES.get(dataset, dataset)


def render_paper(
    layout: PaperLayout, cells: Cells, missing: str, notes: Sequence[str], format: str,
    names: Mapping[str, str] | None = None,
) -> str:  # fmt: skip
    """Return the tables of a paper as "text", "md" or "tex"; an empty cell prints `missing`.

    The highest number of a column is bold in markdown and LaTeX.

    Args:
        layout: the paper's tables and methods.
        cells: the numbers, from `measured_cells` or `published_cells`.
        missing: text of a cell without a number.
        notes: lines under the last table.
        format: a key of `FORMATS`.
        names: a printed name of a method -> the name to print in its place.

    Raises:
        UserError: another format, or a name that the layout does not print.
    """
    for old in names or {}:
        if old not in layout.methods:
            raise unknown_name(f"method of the layout of {layout.paper}", old, layout.methods)
    if format not in FORMATS:
        raise unknown_name("table format", format, FORMATS)
    parts = []
    for number, table in enumerate(layout.tables):
        datasets = " and ".join(title_of(dataset) for dataset in table.datasets)
        last = [*notes] if number == len(layout.tables) - 1 else []
        unit = "Dice in percent, mean over folds"
        against = f"; in brackets the difference to {layout.baseline}" if layout.baseline else ""
        title = f"{datasets}, setting {table.setting}, in the layout of {layout.paper}"
        parts.append(
            FORMATS[format](
                title, "", _grid(layout, table, cells, missing, names or {}), [unit + against, *last]
            )
        )
    return "\n\n".join(parts)


def _grid(
    layout: PaperLayout, table: PaperTable, cells: Cells, missing: str, names: Mapping[str, str]
) -> Grid:
    columns = [(dataset, name) for dataset in table.datasets for name in (*table.classes, "mean")]
    header = ("method", *(f"{title_of(dataset)} {SHORT.get(name, name)}" for dataset, name in columns))
    rows = []
    for method in layout.methods:
        texts = []
        for dataset, name in columns:
            value = cells.get((method, dataset, table.setting), {}).get(name, missing)
            base = cells.get((layout.baseline or "", dataset, table.setting), {}).get(name)
            text = value if isinstance(value, str) else f"{value:.2f}"
            if method != layout.baseline and isinstance(value, float) and isinstance(base, float):
                text += f" ({signed(value - base)})"
            texts.append(text)
        rows.append((names.get(method, method), *texts))
    best = set()
    for place, (dataset, name) in enumerate(columns, start=1):
        values = [cells.get((method, dataset, table.setting), {}).get(name) for method in layout.methods]
        known = [round(value, 2) for value in values if isinstance(value, float)]
        best |= {
            (number, place)
            for number, value in enumerate(values)
            if isinstance(value, float) and len(known) > 1 and round(value, 2) == max(known)
        }
    return Grid(header, tuple(rows), None, frozenset(best))


def _line(board: Board, name: str | None) -> LeaderboardRow | None:
    """Return the method's row with the longest training, then the most stages; None without a row."""

    def size(line: LeaderboardRow) -> tuple[int, int]:
        return line.row.first.record.model.steps or 0, len(_stages(line))

    same = [line for line in board.lines if line.row.method == name]
    longest = [line for line in same if size(line) == max(map(size, same))]
    if len(longest) > 1:
        known = "; ".join(f"#{line.row.configuration_id} {_label(line)}" for line in longest)
        raise UserError(f"{name} has several rows of the longest training: {known}; leave all but one out")
    return longest[0] if longest else None


def _stages(line: LeaderboardRow) -> list[str]:
    """Return the names of the stages that trained a model; [] for a training without stages."""
    return [stage.name for stage in line.row.first.record.model.stages or () if stage.steps]


def _label(line: LeaderboardRow) -> str:
    """Return the row's label, followed by its stages if it has any."""
    stages = _stages(line)
    return f"{line.label}, stages {', '.join(stages)}" if stages else line.label


def _not_comparable(line: LeaderboardRow) -> str:
    """Return the end of a row's note: why it is not comparable with the paper's numbers, or ""."""
    reason = reason_of_cells(line.row.cells)
    return "" if reason is None else f"; not comparable with the paper's numbers: {reason}"


def _numbers(board: Board, line: LeaderboardRow) -> dict[str, float | str]:
    return {
        name: percent(number) if number.mean is None else 100 * number.mean
        for (kind, name), number in zip(board.columns, line.numbers, strict=True)
        if kind != "group"
    }
