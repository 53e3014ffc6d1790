"""Bad records are named and left out, sound ones go on; a command says so by its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from making import changed, record, score

from fewshot.base.errors import UserError
from fewshot.commands.main import main
from fewshot.files.seals import add_seal
from results.records.files import write_record
from results.records.record import Record
from results.summary.screening import screen_records

SOUND = [
    record(0, "upper", [score("liver", "3", 80), score("spleen", "3", 50)]),
    record(0, "lower", [score("left-kidney", "3", 60)]),
]


def folder(path: Path, records: list[Record]) -> Path:
    for number, one in enumerate(records):
        write_record(path / f"{number}.json", one)
    return path


def text(one: Record) -> str:
    return json.dumps(add_seal(one.to_json()))


def text_with(name: str, value: object) -> str:
    return json.dumps(add_seal({**SOUND[0].to_json(), name: value}))


BAD = {
    "truncated": (text(SOUND[0])[:200], "not JSON"),
    "contradiction": (text(SOUND[0]).replace("0.8,", "0.81,"), r"dice is 0.81, expected 0.8"),
    "schema": (text_with("schema", 7), "schema is 7, expected 2"),
    "bytes": ("\udcff", "cannot be read as text"),
    "markup": (
        text(record(1, "lower", [score("left-kidney", "3", 1)], method={"name": "x<script>"})),
        "method.name holds markup",
    ),
    "audit": (text_with("audits", ["one\nline"]), r"audits\[0\] is .*expected one line of text"),
    "option": (
        text(record(1, "lower", [score("left-kidney", "3", 1)], method={"options": {"<b>": 1}})),
        "a key of method.options holds markup",
    ),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_file_is_named_and_the_sound_ones_stay(tmp_path: Path, name: str) -> None:
    content, reason = BAD[name]
    folder(tmp_path, SOUND)
    (tmp_path / f"bad-{name}.json").write_text(content, errors="surrogateescape")
    screened = screen_records([tmp_path])
    assert list(screened.records) == SOUND and len(screened.faults) == 1
    assert f"bad-{name}.json" in screened.faults[0]
    with pytest.raises(UserError, match=reason):
        raise UserError(screened.faults[0])


def test_a_cell_twice_with_other_scores_is_left_out_whole(tmp_path: Path) -> None:
    twice = record(0, "lower", [score("left-kidney", "3", 61)])
    screened = screen_records([folder(tmp_path, [*SOUND, twice])])
    assert list(screened.records) == SOUND[:1]
    assert "1.json and" in screened.faults[0] and "fold 0, group lower" in screened.faults[0]


def test_a_cell_twice_with_the_same_scores_counts_once(tmp_path: Path) -> None:
    again = changed(SOUND[1], environment={"torch": "3"})
    screened = screen_records([folder(tmp_path / "one", SOUND), folder(tmp_path / "two", [again])])
    assert list(screened.records) == SOUND and screened.faults == ()


def test_no_folder_and_no_records_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder of records at"):
        screen_records([tmp_path / "none"])
    with pytest.raises(UserError, match="no records in"):
        screen_records([tmp_path])


def test_the_exit_status_is_1_unless_told_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(tmp_path, SOUND)
    (tmp_path / "cut.json").write_text("{")
    ask = ["leaderboard", "--records", str(tmp_path), "--dataset", "tiny", "--setting", "2"]
    assert main(ask) == 1
    told = capsys.readouterr()
    assert "left out: " in told.err and "cut.json" in told.err and "ssl-alpnet" in told.out
    out = tmp_path / "b" / "board.json"
    assert main([*ask, "--skip-invalid", "--format", "json", "--out", str(out)]) == 0
    assert "cut.json" in capsys.readouterr().err
    assert json.loads(out.read_text())["measure"] == "dice"
