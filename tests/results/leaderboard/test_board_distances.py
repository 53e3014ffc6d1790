"""Distance columns of boards: shares of cells, undefined ones, formats, masks that are missing or broken."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path

import pytest
from making import record, score

from fewshot.commands.main import main
from results.leaderboard.board import Board, leaderboard
from results.leaderboard.board_distances import BoardDistances, row_distances
from results.leaderboard.board_formats import render_board
from results.records.record import Record
from results.tables.distance_tables import render_distances, score_key

CLASSES = {"lower": ["left-kidney"], "upper": ["liver", "spleen"]}
ASK = ["--dataset", "tiny", "--setting", "1"]


def records() -> list[Record]:
    return [
        record(fold, group, [score(organ, f"{fold}", 50) for organ in CLASSES[group]])
        for fold in (0, 1) for group in CLASSES
    ]  # fmt: skip


def measured(made: list[Record], *, undefined: str = "") -> dict:
    """Return distances of records: HD95 4 mm in fold 0 and 8 mm in fold 1, surface Dice 0.5 and 0.7."""
    return {
        score_key(cell, one): {"hd95_mm": None, "asd_mm": None, "nsd": None, "undefined": "no mask"}
        if one.class_name == undefined
        else {"hd95_mm": 4.0 + 4 * cell.fold, "asd_mm": 1.0, "nsd": 0.5 + 0.2 * cell.fold, "undefined": None}
        for cell in made for one in cell.scores
    }  # fmt: skip


def board_with(scores: dict) -> Board:
    made = leaderboard(records(), "tiny", 2)
    (line,) = made.lines
    rows = {line.row.configuration_id: row_distances(line, scores)}
    return dataclasses.replace(made, distances=BoardDistances(rows, 2.0, ("cell 5: gone",)))


def row(text: str) -> dict[str, str]:
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return dict(zip(lines[0], lines[2], strict=True))


def test_the_columns_by_hand() -> None:
    text = render_board(board_with(measured(records())), "md")
    found = row(text)
    assert (found["HD95, mm"], found["surface Dice"]) == ("6.00", "60.00")
    assert (found["cells with distances"], found["undefined distances"]) == ("4/4", "0/6")
    for words in (
        "MONAI's convention",
        "at a tolerance of 2 mm",
        "docs/distances.md",
        "no distances: cell 5",
    ):
        assert words in text


def test_an_undefined_distance_stays_undefined_and_is_counted() -> None:
    found = row(render_board(board_with(measured(records(), undefined="liver")), "md"))
    assert found["HD95, mm"] == "6.00" and found["undefined distances"] == "2/6"
    every = measured(records())
    for value in every.values():
        value.update(hd95_mm=None, nsd=None, undefined="the truth is empty")
    found = row(render_board(board_with(every), "md"))
    assert found["HD95, mm"] == found["surface Dice"] == "undefined"


def test_a_share_of_the_cells_makes_no_mean() -> None:
    part = [cell for cell in records() if cell.fold == 0]
    found = row(render_board(board_with(measured(part)), "md"))
    assert found["HD95, mm"] == found["surface Dice"] == "incomplete"
    assert found["cells with distances"] == "2/4" and found["undefined distances"] == "0/3"
    found = row(render_board(board_with({}), "md"))
    assert (found["HD95, mm"], found["cells with distances"]) == ("-", "0/4")


def test_csv_and_json_hold_them_and_a_board_without_has_no_column() -> None:
    made = board_with(measured(records()))
    lines = {line["column"]: line for line in csv.DictReader(io.StringIO(render_board(made, "csv")))}
    assert (lines["hd95_mm"]["mm"], lines["hd95_mm"]["percent"]) == ("6.0000", "")
    assert (lines["surface_dice"]["percent"], lines["surface_dice"]["cells"]) == ("60.0000", "4/4")
    (found,) = json.loads(render_board(made, "json"))["rows"]
    assert found["distances"]["hd95_mm"] == pytest.approx(6) and found["distances"]["cells"] == 4
    plain = leaderboard(records(), "tiny", 2)
    assert "HD95" not in render_board(plain, "md")
    assert json.loads(render_board(plain, "json"))["rows"][0]["distances"] is None


def test_every_table_of_distances_names_its_convention() -> None:
    (line,) = leaderboard(records(), "tiny", 2).lines
    text = render_distances(records()[0], [(line.label, line.row, measured(records()))], 2.0, [], "md")
    tables = text.split("### ")[1:]
    assert len(tables) == 3 and all("docs/distances.md" in table for table in tables)
    assert "larger of the two directed 95 % quantiles" in tables[0] and "DeepMind's convention" in tables[2]


def test_boards_measure_what_is_saved_and_name_what_is_not(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--work", str(work)]
    run = ["run", *at, *ASK, "--device", "cpu", "--method"]
    assert main([*run, "copy-support", "--save-predictions"]) == 0
    assert main([*run, "all-foreground"]) == 0
    capsys.readouterr()
    board = ["leaderboard", *at, *ASK, "--no-published", "--format", "json"]

    def rows() -> dict[str, dict]:
        assert main(board) == 0
        return {row["method"]: row for row in json.loads(capsys.readouterr().out)["rows"]}

    found = rows()
    own = found["copy-support"]["distances"]
    assert own["cells"] == own["cells_of_row"] == 10 and own["hd95_mm"] > 0 and 0 < own["surface_dice"] < 1
    assert found["all-foreground"]["distances"]["cells"] == 0
    assert len(list((work / "distances").glob("*.json"))) == 10
    assert main([*board, "--no-distances"]) == 0
    assert all(row["distances"] is None for row in json.loads(capsys.readouterr().out)["rows"])
    assert main(["distances", *at, *ASK, "--format", "md"]) == 0  # the same mean in the command's own table
    assert f"| {own['hd95_mm']:.2f} |" in capsys.readouterr().out
    mask = min((work / "predictions").glob("*/counted/*.nii.gz"))
    mask.unlink()
    (work / "distances" / f"{mask.parent.parent.name}.json").unlink()
    lost = rows()["copy-support"]["distances"]
    assert lost["cells"] == 9 and lost["hd95_mm"] is None and lost["state"] == "incomplete"
    assert main([*board[:-2], "--format", "md"]) == 0
    assert f"{mask} is missing" in capsys.readouterr().out
    shutil.rmtree(work / "stores")
    assert main([*board[:-2], "--format", "md"]) == 0
    out = capsys.readouterr().out
    assert "no distances: the dataset is not prepared in" in out and "0/10" in out
    assert main([*board, "--tolerance-mm", "-1"]) == 2


def test_a_board_is_printed_where_distances_cannot_be_written(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--work", str(work), *ASK]
    assert main(["run", *at, "--device", "cpu", "--method", "copy-support", "--save-predictions"]) == 0
    (work / "distances").write_text("a file where the folder should be")
    capsys.readouterr()
    assert main(["leaderboard", *at, "--no-published", "--format", "md"]) == 0
    out = capsys.readouterr().out
    assert "no distances: cannot write" in out and row(out)["cells with distances"] == "0/10"
    assert main(["distances", *at]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_every_support_of_open_ep_has_its_mask(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--work", str(work), *ASK, "--protocol", "open-ep"]
    run = ["run", *at, "--device", "cpu", "--method", "copy-support", "--save-predictions"]
    assert main([*run, "--folds", "0", "--groups", "upper"]) == 0
    capsys.readouterr()
    assert main(["leaderboard", *at, "--format", "json", "--no-published"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["rows"]
    assert found["distances"]["cells"] == 1 and found["distances"]["state"] == "incomplete"
    (file,) = (work / "distances").glob("*.json")
    scores = json.loads(file.read_text())["scores"]
    assert len(scores) == 2 * 2 * 8 and len({tuple(one["supports"]) for one in scores}) == 8
    of_liver = {one["asd_mm"] for one in scores if (one["class"], one["scan"]) == ("liver", "0")}
    assert len(of_liver) > 4  # every support has a mask of its own
