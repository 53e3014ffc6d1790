"""The block of points of a board: pooled counts, intervals, incomplete rows, and every format."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from making import record, score
from places import ROOT

from results.board_page.boards import page_boards
from results.board_page.document import board_page
from results.leaderboard.board import Board, leaderboard
from results.leaderboard.board_formats import render_board, render_paper_board
from results.leaderboard.board_landmarks import landmark_grid, landmark_notes, landmark_rows
from results.records.files import read_records
from results.records.record import Record

GRID = {"folds": 2, "groups": {"disc": ["disc"]}}


def points(scan: str, true: int, found: int, distances: list[float], supports: str = "9") -> dict[str, Any]:
    """Return the points of a scan as JSON; where they lie has no effect."""
    return {
        "class": "disc", "scan": scan, "supports": [supports], "slices": 1, "true": true,
        "points_mm": [[0.0, 1.0, float(place)] for place in range(found)], "distances_mm": distances,
    }  # fmt: skip


def cell(fold: int, landmarks: list[dict[str, Any]], name: str = "hourglass", **changes: Any) -> Record:
    scores = [score("disc", str(each["scan"]), 50, each["supports"][0]) for each in landmarks]
    method = {"name": name, "regime": changes.pop("regime", "few-shot")}
    return record(fold, "disc", scores, grid=GRID, method=method, landmarks=landmarks, **changes)  # fmt: skip


def two_folds(**changes: Any) -> list[Record]:
    """Return two folds of unequal size: 2 of 8 true points found in the first, 1 of 2 in the second."""
    return [
        cell(0, [points("0", 8, 4, [1.0, 6.0])], **changes),
        cell(1, [points("1", 2, 1, [2.0])], **changes),
    ]


def board_of(records: list[Record]) -> Board:
    return leaderboard(records, "tiny", 2)


def test_counts_are_summed_before_they_are_divided() -> None:
    (row,) = landmark_rows(board_of(two_folds()))
    made = row.measures
    assert made is not None
    assert (made.true, made.predicted, made.pairs) == (10, 5, 3)
    assert (made.median_mm, made.mean_mm) == (2.0, 3.0)
    # means of the folds would be 0.3125, 0.25 and 0.625
    assert (made.within, made.false_positives, made.false_negatives) == (0.2, 0.4, 0.7)


def test_an_interval_covers_folds_by_leaving_one_out_and_ends_at_the_possible_values() -> None:
    (row,) = landmark_rows(board_of(two_folds()))
    interval = row.intervals["within"]
    # without a fold the share is that of the other: 1/8 and 1/2, so t(1) = 12.7 passes both ends
    assert interval is not None and (interval.low, interval.high) == (0.0, 1.0)
    assert not interval.covers_seeds  # one seed
    same = [cell(fold, [points(str(fold), 4, 4, [1.0, 2.0, 3.0])]) for fold in (0, 1)]
    (row,) = landmark_rows(board_of(same))
    interval = row.intervals["mean_mm"]
    assert interval is not None and (interval.low, interval.high) == (2.0, 2.0)


def test_a_row_without_a_cell_has_no_numbers_and_stands_last() -> None:
    records = [*two_folds(), cell(0, [points("0", 1, 1, [0.1])], "apple")]
    grid = landmark_grid(landmark_rows(board_of(records)))
    assert [row[0].split()[0] for row in grid.rows] == ["hourglass", "apple"]
    assert grid.rows[1][2:9] == ("-", "-", *["incomplete"] * 5)
    assert grid.header[2:9] == (
        "true", "found", "median, mm", "mean, mm", "within 5 mm, %", "false positives, %",
        "false negatives, %",
    )  # fmt: skip


def test_what_cannot_be_divided_is_undefined() -> None:
    records = [cell(fold, [points(str(fold), 3, 0, [])]) for fold in (0, 1)]
    grid = landmark_grid(landmark_rows(board_of(records)))
    (texts,) = [row[2:9] for row in grid.rows]
    assert texts == (
        "6", "0", "undefined", "undefined", "0.0 (0.0 to 0.0)", "undefined", "100.0 (100.0 to 100.0)",
    )  # fmt: skip


def test_folds_that_share_a_scan_have_no_interval() -> None:
    records = [cell(fold, [points("0", 4, 4, [1.0, 2.0])]) for fold in (0, 1)]
    rows = landmark_rows(board_of(records))
    assert set(rows[0].intervals.values()) == {None}
    assert any(note.startswith("no interval: folds share") for note in landmark_notes(rows))


def test_seeds_are_pooled_and_their_variance_counts() -> None:
    again = [
        cell(0, [points("0", 8, 8, [4.0] * 8)], model={"seed": 1}),
        cell(1, [points("1", 2, 2, [4.0] * 2)], model={"seed": 1}),
    ]
    (row,) = landmark_rows(board_of([*two_folds(), *again]))
    assert row.measures is not None and row.measures.true == 20 and row.measures.pairs == 13
    interval = row.intervals["mean_mm"]
    assert interval is not None and interval.covers_seeds


def test_a_board_without_points_has_no_block() -> None:
    records = [record(fold, "disc", [score("disc", str(fold), 50)], grid=GRID) for fold in (0, 1)]
    board = board_of(records)
    assert landmark_rows(board) == []
    assert "Landmarks" not in render_board(board, "text") and "landmarks" not in render_board(board, "json")


@pytest.mark.parametrize("format", ["text", "md", "html"])
def test_the_block_stands_under_the_board_of_masks(format: str) -> None:
    text = render_board(board_of(two_folds()), format)
    assert text.index("Dice on tiny") < text.index("Landmarks on tiny")
    for number in ("10", "5", "2.00", "3.00", "20.0", "40.0", "70.0"):
        assert number in text[text.index("Landmarks on tiny") :]
    assert "counts are summed before they are divided" in text


def test_a_paper_board_shows_a_row_once_and_then_the_points() -> None:
    board = board_of([*two_folds(), *two_folds(name="apple", regime="supervised")])
    assert len(board.regimes) == 2
    text = render_paper_board(board, "md")
    tables = [part for part in text.split("### ") if part]
    assert [table.split(",")[0] for table in tables] == ["Dice on tiny", "Landmarks on tiny"]
    assert tables[0].count("| apple") == 1 and "± is the standard deviation" in tables[0]


def test_json_and_csv_hold_the_measures() -> None:
    board = board_of(two_folds())
    (row,) = json.loads(render_board(board, "json"))["rows"]
    made = row["landmarks"]["disc"]
    assert (made["true"], made["found"], made["pairs"], made["within"]) == (10, 5, 3, 0.2)
    assert made["within_interval"] == [0.0, 1.0] and made["median_mm"] == 2.0
    lines = list(csv.DictReader(io.StringIO(render_board(board, "csv"))))
    found = {line["column"]: (line["percent"], line["mm"]) for line in lines if line["kind"] == "landmark"}
    assert found["disc within"] == ("20.0000", "") and found["disc mean_mm"] == ("", "3.0000")


def test_the_committed_records_have_a_block_on_the_page_and_escape_names() -> None:
    records = list(read_records(ROOT / "results" / "data" / "landmarks"))
    boards, _notes = page_boards(records)
    page = board_page(boards, cards={}, facts={}, pictures={}, notes=())
    assert page.count('<section class="landmarks"') == 1
    assert page.count('<th scope="row">copy-support</th>') == 1
    block = page[page.index('<section class="landmarks"') :]
    assert "<td>595</td>" in block and "What is counted" in block
    evil = [cell(fold, [points(str(fold), 2, 2, [1.0])], "a<b>&") for fold in (0, 1)]
    page = board_page(page_boards(evil)[0], cards={}, facts={}, pictures={}, notes=())
    assert "a<b>" not in page and "a&lt;b&gt;&amp;" in page
