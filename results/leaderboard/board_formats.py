"""A board as text, markdown, CSV, LaTeX, JSON or one HTML page."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from fewshot.base.errors import unknown_name
from results.inference.interval import Interval
from results.leaderboard.board import UNDEFINED, Board, LeaderboardRow
from results.leaderboard.board_distances import distances_json
from results.leaderboard.board_landmarks import (
    LENGTHS,
    SHARES,
    LandmarkRow,
    landmark_grid,
    landmark_notes,
    landmark_rows,
    landmark_title,
    landmarks_json,
)
from results.leaderboard.board_tables import (
    board_grid,
    board_notes,
    published_grid,
    published_notes,
    regime_title,
)
from results.leaderboard.html import Sheet, page
from results.leaderboard.paper_board import paper_caption, paper_grid
from results.records.configuration import question
from results.summary.comparability import prepared_by
from results.tables.spreadsheet import SheetWriter
from results.tables.table_formats import FORMATS as LAYOUTS

CSV_KEYS = (
    "what", "method", "configuration", "seeds", "marks", "rank", "rank_low", "rank_high", "kind", "column",
    "percent", "std_folds", "low", "high", "interval_over", "std_scans", "state", "source", "note",
    "mm", "cells", "undefined",
)  # fmt: skip


def render_board(board: Board, format: str) -> str:
    """Return the board in one of `BOARD_FORMATS`; another format raises `UserError`."""
    if format not in BOARD_FORMATS:
        raise unknown_name("board format", format, BOARD_FORMATS)
    return BOARD_FORMATS[format](board)


def board_sheets(board: Board) -> list[Sheet]:
    """Return a sheet of measured rows for each regime and, if there are any, of points and published rows.

    The notes of all measured rows stand under the last sheet of a regime.
    """
    sheets = [
        Sheet(
            regime_title(board, regime),
            board_grid(board, regime),
            tuple(board_notes(board)) if regime == board.regimes[-1] else (),
        )
        for regime in board.regimes
    ]
    points = landmark_rows(board)
    if points:
        notes = tuple(landmark_notes(points))
        sheets.append(Sheet(landmark_title(board), landmark_grid(points), notes))
    if board.published:
        title = f"published Dice on {board.record.dataset.name}, setting {board.record.setting}"
        sheets.append(Sheet(title, published_grid(board), tuple(published_notes(board))))
    return sheets


def _laid_out(name: str) -> Callable[[Board], str]:
    def render(board: Board) -> str:
        sheets = board_sheets(board)
        return "\n\n".join(LAYOUTS[name](sheet.title, "", sheet.grid, sheet.notes) for sheet in sheets)

    return render


def _html(board: Board) -> str:
    return page(board.title, board_sheets(board))


def _tex(board: Board) -> str:
    """Return the board in the layout of a paper, then points and published rows, each as a LaTeX table."""
    return render_paper_board(board, "tex")


def render_paper_board(board: Board, format: str) -> str:
    """Return the board in the layout of a paper, then points and published rows, as "text", "md" or "tex".

    The table of the paper has the rows of all regimes.
    """
    if format not in LAYOUTS:
        raise unknown_name("format of a paper's layout", format, LAYOUTS)
    notes = tuple(board_notes(board))
    parts = [LAYOUTS[format](board.title, paper_caption(board), paper_grid(board), notes)]
    others = board_sheets(board)[len(board.regimes) :]
    parts += [LAYOUTS[format](sheet.title, "", sheet.grid, sheet.notes) for sheet in others]
    return "\n\n".join(parts)


def _csv(board: Board) -> str:
    """Return one line per number, measured rows first; in percent, lengths and their interval in mm."""
    stream = io.StringIO()
    writer = SheetWriter(stream)
    points = landmark_rows(board)
    writer.writerow(CSV_KEYS)
    for line in board.lines:
        head = ["measured", line.label, line.row.configuration_id, len(line.row.seeds), line.marks]
        head += [_text(line.rank), *(map(_text, line.ranks or (None, None)))]
        for (kind, name), number in zip(board.columns, line.numbers, strict=True):
            ends: tuple[float | None, float | None] = (None, None)
            over = ""
            if number.interval is not None:
                ends = (number.interval.low, number.interval.high)
                over = _covered(number.interval)
            values = [_percent(value) for value in (number.mean, number.std, *ends)]
            scans = _percent(number.scan_std)
            writer.writerow([*head, kind, name, *values, over, scans, number.state, "", "", "", "", ""])
        for cells in _distance_cells(board, line):
            writer.writerow([*head, *cells])
        for own in (row for row in points if row.line is line):
            for cells in _landmark_cells(own):
                writer.writerow([*head, *cells])
    for one in board.published:
        row = one.row
        note = "; ".join([*([row.caveat] if row.caveat else []), *row.marks])
        for name, dice in {**row.dice, "mean": row.mean}.items():
            kind = "all" if name == "mean" else "class"
            head = ["published", row.method, *[""] * 6, kind, name, f"{dice:.2f}", *[""] * 5, row.kind]
            writer.writerow([*head, row.source_url, note, "", "", ""])
    return stream.getvalue().rstrip("\n")


def _distance_cells(board: Board, line: LeaderboardRow) -> list[list[str]]:
    """Return the cells of a row's two distances after its first ones; [] for a board without distances."""
    distances = distances_json(board, line)
    if distances is None:
        return []
    hd95 = distances["hd95_mm"]
    mm = "" if hd95 is None else f"{hd95:.4f}"
    cells = f"{distances['cells']}/{distances['cells_of_row']}"
    undefined = f"{distances['undefined']}/{distances['scores']}"
    return [
        ["distance", name, percent, *[""] * 5, distances["state"], "", "", value, cells, undefined]
        for name, percent, value in (
            ("hd95_mm", "", mm),
            ("surface_dice", _percent(distances["surface_dice"]), ""),
        )
    ]


def _landmark_cells(row: LandmarkRow) -> list[list[str]]:
    """Return the cells of the measures of points of a row after its first ones."""
    made = landmarks_json(row.line, [row])[row.class_name]
    lines = []
    for name in (*LENGTHS, *SHARES):
        value, interval = made.get(name), row.intervals.get(name)
        scale = 1 if name in LENGTHS else 100
        ends = (
            ["", ""] if interval is None else [f"{scale * end:.4f}" for end in (interval.low, interval.high)]
        )
        over = "" if interval is None else _covered(interval)
        number = "" if value is None else f"{scale * value:.4f}"
        percent, mm = ("", number) if name in LENGTHS else (number, "")
        state = made["state"] or ("" if number else UNDEFINED)
        column = f"{row.class_name} {name}"
        lines.append(["landmark", column, percent, "", *ends, over, "", state, "", "", mm, "", ""])
    return lines


def _json(board: Board) -> str:
    """Return all fields of the board as JSON; ratios in [0, 1], published numbers in percent."""
    points = landmark_rows(board)
    value = {
        "question": question(board.record),
        "measure": board.measure,
        "prepared_by": sorted({prepared_by(record) for line in board.lines for record in line.row.cells}),
        "columns": [{"kind": kind, "name": name} for kind, name in board.columns],
        "rows": [_json_line(board, line, points) for line in board.lines],
        "published": [
            {
                "method": one.row.method, "learner": one.row.learner, "protocol": one.row.protocol,
                "dice_percent": {**one.row.dice, "mean": one.row.mean}, "kind": one.row.kind,
                "reported_by": one.row.reported_by, "source_url": one.row.source_url,
                "caveat": one.row.caveat, "marks": list(one.row.marks), "reason": one.reason,
                "measured_minus_published": dict(one.differences), "not_comparable": dict(one.refused),
            }
            for one in board.published
        ],
        "audits": list(board.audits),
        "left_out": list(board.left_out),
    }  # fmt: skip
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)


def _json_line(board: Board, line: LeaderboardRow, points: Sequence[LandmarkRow]) -> dict[str, Any]:
    numbers = [
        {
            "kind": kind, "column": name, "mean": number.mean, "std_folds": number.std,
            "interval": _json_interval(number.interval), "std_scans": number.scan_std,
            "state": number.state,
        }
        for (kind, name), number in zip(board.columns, line.numbers, strict=True)
    ]  # fmt: skip
    return {
        "method": line.row.method, "label": line.label, "configuration": line.row.configuration_id,
        "regime": line.regime,
        "seeds": list(line.row.seeds), "marks": list(line.marks), "rank": line.rank,
        "rank_interval": list(line.ranks) if line.ranks else None, "numbers": numbers,
        "undefined": line.undefined, "scores": line.scores, "distances": distances_json(board, line),
        **({"landmarks": landmarks_json(line, points)} if points else {}),
        "missing": [{"fold": fold, "group": group} for fold, group in line.row.missing],
    }  # fmt: skip


def _covered(interval: Interval) -> str:
    """Return what an interval covers: folds alone for a row with one seed."""
    return "folds and seeds" if interval.covers_seeds else "folds"


def _json_interval(interval: Interval | None) -> dict[str, Any] | None:
    """Return an interval as JSON; its level is null for a row with one seed."""
    if interval is None:
        return None
    level = interval.level if interval.covers_seeds else None
    return {
        "low": interval.low, "high": interval.high, "level": level,
        "degrees_of_freedom": interval.degrees, "over": _covered(interval),
    }  # fmt: skip


def _text(value: int | None) -> str:
    return "" if value is None else str(value)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.4f}"


BOARD_FORMATS: dict[str, Callable[[Board], str]] = {
    "text": _laid_out("text"), "md": _laid_out("md"), "csv": _csv, "tex": _tex, "html": _html, "json": _json,
}  # fmt: skip
