"""The published table: read strictly, and checked against rows made to be wrong."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from fewshot.base.errors import UserError
from fewshot.commands.main import main
from results.tables.published import KEYS, PublishedRow, marked, name_of, read_published


def lines(**changes: str) -> list[dict[str, str]]:
    """Return two organs and their mean: 60, 70, mean 65."""
    base = {
        "method": "M", "dataset": "CMR", "setting": "1", "kind": "own", "reported_by": "a paper",
        "source_url": "https://example.org", "caveat": "", "protocol": "", "learner": "",
    }  # fmt: skip
    dices = {"RV": "60", "LV-BP": "70", "mean": "65"}
    return [base | {"organ": organ, "dice": dice} | changes for organ, dice in dices.items()]


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, KEYS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def row(method: str, rv: float, bp: float, mean: float, kind: str = "own", by: str = "x") -> PublishedRow:
    return PublishedRow(
        method, "cmr", 1, {"rv": rv, "lv-bp": bp}, mean, kind, by, "https://example.org", "", None, None
    )


def test_a_mean_that_is_none_is_marked_and_rounding_is_not() -> None:
    sound, rounded, wrong = marked(
        [row("A", 60, 70, 65), row("B", 60.01, 70.02, 65.02), row("C", 1, 2, 1.52)]
    )
    assert sound.marks == () and rounded.marks == ()
    assert wrong.marks == ("printed mean 1.52 is not the mean of its classes, 1.50",)


def test_a_repeated_row_is_marked_and_a_quotation_is_not() -> None:
    first, quoted, other, turned = marked(
        [
            row("A", 60, 70, 65),
            row("A", 60, 70, 65, "quoted", "y"),
            row("B", 60.01, 70, 65),
            row("C", 70, 60, 65),
        ]
    )
    assert "same numbers as A on cmr, setting 1 (x)" in other.marks
    assert first.marks == quoted.marks
    assert "same numbers in another order as A on cmr, setting 1 (y)" in turned.marks
    (_own, rerun) = marked([row("A", 60, 70, 65), row("A", 60, 70, 65, "rerun", "z")])
    assert rerun.marks == ("same numbers as A on cmr, setting 1 (x)",)


def test_the_rows_of_our_table_are_read_and_the_known_faults_are_found() -> None:
    rows = read_published()
    assert len(rows) == 97 and sum(len(one.dice) + 1 for one in rows) == 479
    by_name = {name_of(one): one for one in rows}
    suspects = [one for one in rows if "SUSPECT" in one.caveat]
    assert len(suspects) == 4 and any(one.marks for one in suspects)
    repeated = by_name["PANet on sabs, setting 1 (DSPNet Tables 1-2 (MedIA 2025 / arXiv:2406.18074))"]
    assert any(mark.startswith("same numbers as SSL-PANet on sabs, setting 1") for mark in repeated.marks)
    shifted = by_name["PANet on chaost2, setting 1 (DSPNet Tables 1-2 (MedIA 2025 / arXiv:2406.18074))"]
    assert any("ALPNet (manual labels) on sabs, setting 2" in mark for mark in shifted.marks)
    means = {
        (one.method, one.dataset, one.setting)
        for one in rows
        if any("printed mean" in mark for mark in one.marks)
    }
    assert means == {
        ("PANet (vanilla)", "chaost2", 2), ("SSL-PANet", "sabs", 1), ("PANet", "sabs", 1),
        ("PANet", "chaost2", 2),
        ("DSPNet", "sabs", 2), ("PANet", "cmr", 1), ("GMRD (third-party reproduction)", "chaost2", 1),
    }  # fmt: skip
    assert {one.protocol for one in rows if one.method == "DenseMP"} == {"alpnet-ep1"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dataset": "Abd"}, r"csv:2: dataset is 'Abd', expected one of Abd-MRI"),
        ({"setting": "3"}, r"setting is '3', expected one of 1, 2"),
        ({"kind": "guess"}, r"kind is 'guess', expected one of own"),
        ({"dice": "160"}, r"dice is '160', expected percent in 0..100"),
        ({"dice": "nan"}, r"dice is 'nan', expected percent"),
        ({"organ": "heart"}, r"organ is 'heart'"),
        ({"organ": "RV"}, r"an organ is there twice"),
        ({"source_url": ""}, r"source_url is empty"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        read_published(write(tmp_path / "p.csv", lines(**change)))


def test_rows_without_a_mean_or_with_other_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected organs and the printed mean"):
        read_published(write(tmp_path / "p.csv", lines()[:2]))
    mixed = lines()
    mixed[1]["caveat"] = "another"
    with pytest.raises(UserError, match="lines differ in caveat"):
        read_published(write(tmp_path / "p.csv", mixed))
    (tmp_path / "q.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"columns are \['a', 'b'\], expected method"):
        read_published(tmp_path / "q.csv")
    with pytest.raises(UserError, match="cannot read"):
        read_published(tmp_path / "none.csv")


def test_the_command_lists_marked_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["published", "--dataset", "cmr", "--setting", "1"]) == 0
    assert "DSPNet on cmr, setting 1" in capsys.readouterr().out
    assert main(["published", "--marked"]) == 0
    out = capsys.readouterr().out
    assert out.count("MARKED") >= 6 and "protocol not known" in out
    assert main(["published", "--dataset", "cmt"]) == 2
    assert "did you mean 'cmr'" in capsys.readouterr().err
