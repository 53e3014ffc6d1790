"""Boxes, all pairs, supports and folds of a board: the content by hand, one group, one method, one seed."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest
from making import changed, record, score

from fewshot.base.errors import UserError
from fewshot.commands.main import main
from results.figures.box_figures import draw_boxes
from results.figures.support_figures import draw_support_dice, draw_supports, support_dice
from results.leaderboard.board import leaderboard
from results.leaderboard.fold_sheet import fold_sheet, short_names
from results.records.files import write_record
from results.records.record import Record

CLASSES = {"lower": ["left-kidney"], "upper": ["liver", "spleen"]}
OPEN = {"protocol": {"name": "open-ep", "version": 1, "hash": "e" * 64}, "parts": 1}


def cells(
    name: str, percent: int, groups: tuple[str, ...] = ("lower", "upper"), **changes: object
) -> list[Record]:
    """Return a method's cells of two folds and two scans a fold; fold 1 is ten points better."""
    return [
        record(
            fold, group,
            [
                score(organ, f"{2 * fold + place}", percent + 10 * fold + 4 * place)
                for organ in CLASSES[group] for place in (0, 1)
            ],
            method={"name": name}, **changes,
        )
        for fold in (0, 1) for group in groups
    ]  # fmt: skip


def write(folder: Path, records: list[Record]) -> list[str]:
    for number, one in enumerate(records):
        write_record(folder / "records" / f"{number}.json", one)
    return ["--work", str(folder), "--dataset", "tiny", "--setting", "2"]


def in_turn(name: str, shift: int) -> list[Record]:
    """Return a method under open-ep: supports 8 and 9 in turn, Dice 60 and 40 (+ shift) in both folds."""
    return [
        record(
            fold, group,
            [
                score(organ, str(fold), percent + shift, support)
                for organ in CLASSES[group] for support, percent in (("8", 60), ("9", 40))
            ],
            method={"name": name}, **OPEN,
        )
        for fold in (0, 1) for group in ("lower", "upper")
    ]  # fmt: skip


def test_the_table_of_folds_by_hand() -> None:
    board = leaderboard([*cells("apple", 40), *cells("pear", 60)], "tiny", 2)
    sheet = fold_sheet(board)
    assert sheet.grid.header == (
        "method", "fold", "left-kidney", "liver", "spleen", "lower", "upper", "mean", "scans", "supports",
        "configuration",
    )  # fmt: skip
    rows = {row[:2]: row[2:] for row in sheet.grid.rows}
    assert rows["pear", "0"][:8] == (*["62.00"] * 6, "2", "9") and rows["apple", "1"][:6] == ("52.00",) * 6
    assert [row[:2] for row in sheet.grid.rows] == [
        ("pear", "0"),
        ("pear", "1"),
        ("apple", "0"),
        ("apple", "1"),
    ]


def test_the_table_of_folds_names_what_is_missing_and_counts_supports() -> None:
    board = leaderboard(cells("apple", 40, ("upper",)), "tiny", 2)
    row = fold_sheet(board).grid.rows[0]
    assert row[2:8] == ("incomplete", "42.00", "42.00", "incomplete", "42.00", "incomplete")
    turns = leaderboard(in_turn("apple", 0), "tiny", 2)
    assert fold_sheet(turns).grid.rows[0][9] == "8, 9"


def test_names_are_short_and_distinct() -> None:
    both = [*cells("apple", 40), *cells("apple", 50, model={"steps": 500}), *cells("pear", 60)]
    rows = [line.row for line in leaderboard(both, "tiny", 2).lines]
    names = short_names(rows)
    assert names[0] == "pear" and len(set(names)) == 3 and all(" #" in name for name in names[1:])


def test_dice_by_support_worked_by_hand(tmp_path: Path) -> None:
    board = leaderboard([*in_turn("apple", 0), *in_turn("pear", 10)], "tiny", 2)
    (pear, apple) = (support_dice(line.label, line.row) for line in board.lines)
    assert apple.dice["liver"].to_dict() == {"8": pytest.approx(0.6), "9": pytest.approx(0.4)}
    assert pear.dice["spleen"].to_dict() == {"8": pytest.approx(0.7), "9": pytest.approx(0.5)}
    # deviation (n-1) of 0.6 and 0.4; the worst support has 0.4
    assert apple.spread == pytest.approx(0.02**0.5) and apple.worst == pytest.approx(0.4)
    paths = draw_supports(board, tmp_path / "supports")
    assert [path.suffix for path in paths] == [".svg", ".png", ".pdf"] and is_drawn(paths[1])


def test_seeds_are_averaged_by_support() -> None:
    two = [*in_turn("apple", 0), *(changed(one, model={"seed": 1}) for one in in_turn("apple", 20))]
    (line,) = leaderboard(two, "tiny", 2).lines
    assert support_dice("x", line.row).dice["liver"].to_dict() == {
        "8": pytest.approx(0.7), "9": pytest.approx(0.5),
    }  # fmt: skip


def test_one_support_and_too_many_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one support per query"):
        draw_supports(leaderboard(cells("apple", 40), "tiny", 2), tmp_path / "x")
    with pytest.raises(ValueError, match="0 rows: expected 1 to 8"):
        draw_support_dice([], "title", tmp_path / "x")


def test_a_box_of_one_group_has_no_panel_of_the_other(tmp_path: Path) -> None:
    """Panels have one width, so the picture of one group with two classes is narrower than that of both."""
    widths = {}
    for name, groups in (("both", ("lower", "upper")), ("one", ("upper",))):
        board = leaderboard(cells("apple", 40, groups), "tiny", 2)
        svg = draw_boxes(board, tmp_path / name)[0].read_text()
        widths[name] = float(svg.split('width="')[1].split("pt")[0])
    assert widths["one"] == pytest.approx(widths["both"] - 2 * 2.2 * 72, abs=0.1)  # no left-kidney, no mean


@pytest.mark.parametrize("groups", [("upper",), ("lower",)])
def test_figures_and_report_of_one_group(groups: tuple[str, ...], tmp_path: Path) -> None:
    ask = write(tmp_path, [*cells("apple", 40, groups), *cells("pear", 61, groups)])
    assert main(["report", *ask]) == 0
    folder = tmp_path / "reports" / "tiny-setting-2"
    for stem in ("by-class", "boxes", "by-size", "critical-difference", "all-pairs"):
        assert is_drawn(folder / f"{stem}.png")
    text = folder.with_suffix(".html").read_text(encoding="utf-8")
    assert "incomplete" in text and text.count("data:image/png;base64,") == 5
    assert main(["leaderboard", *ask]) == 0 and main(["table", *ask]) == 0


def test_groups_that_differ_between_methods_leave_no_pair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unrendered: None
) -> None:
    ask = write(tmp_path, [*cells("apple", 40, ("upper",)), *cells("pear", 61, ("lower",))])
    assert main(["figures", *ask]) == 0
    told = capsys.readouterr()
    assert "not drawn: comparison of all pairs: 1 of 2 methods have every cell of the same groups" in told.err
    assert "by-class.png" in told.out and main(["report", *ask]) == 0


def test_one_fold_of_two_has_no_picture_and_still_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = write(tmp_path, [one for one in cells("apple", 40) if one.fold == 0])
    assert main(["figures", *ask]) == 2
    told = capsys.readouterr().err
    assert "not drawn: Dice by class: no row of the board has a number" in told
    assert "no picture can be drawn from these records" in told and "Traceback" not in told
    assert main(["report", *ask]) == 0
    text = (tmp_path / "reports" / "tiny-setting-2.html").read_text(encoding="utf-8")
    assert "<h2>Not drawn</h2>" in text and "<td>42.00</td>" in text  # fold 0 stands in the table of folds


def test_one_method_alone_has_no_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unrendered: None
) -> None:
    assert main(["figures", *write(tmp_path, cells("apple", 40))]) == 0
    assert "not drawn: comparison of all pairs: 1 of 1" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unrendered: None
) -> None:
    ask = write(tmp_path, [*cells("apple", 40), *cells("pear", 61)])
    out = tmp_path / "out"
    (out / "boxes.png").mkdir(parents=True)
    assert main(["figures", *ask, "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert "boxes.png" in told and "not drawn" not in told


def test_the_report_names_the_test_and_the_lone_seed(tmp_path: Path, unrendered: None) -> None:
    ask = write(tmp_path, [*cells("apple", 40), *cells("pear", 61)])
    assert main(["report", *ask]) == 0
    text = (tmp_path / "reports" / "tiny-setting-2.html").read_text(encoding="utf-8")
    assert "paired t-test on the means of the folds" in text and "one training seed" in text
    assert "Dice by support scan" not in text


def test_supports_are_drawn_by_the_command_under_open_ep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unrendered: None
) -> None:
    ask = write(tmp_path, [*in_turn("apple", 0), *in_turn("pear", 10)])
    assert main(["figures", *ask, "--protocol", "open-ep"]) == 0
    assert "supports.png" in capsys.readouterr().out


def is_drawn(path: Path) -> bool:
    """Say whether a picture has ink in more than a tenth of its rows and of its columns."""
    dark = matplotlib.image.imread(path)[..., :3].min(axis=2) < 0.9
    return bool(dark.any(axis=0).mean() > 0.1 and dark.any(axis=1).mean() > 0.1)
