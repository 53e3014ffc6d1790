"""One id names a configuration wherever one is printed or chosen, and seeds share it."""

from __future__ import annotations

from pathlib import Path

import pytest
from making import changed, record, score

from fewshot.commands.main import main
from results.records.configuration import configuration_id, has_same_result, is_configuration_named, question
from results.records.files import write_record
from results.records.record import Record

FOUND = record(0, "upper", [score("liver", "3", 80), score("spleen", "3", 50)])
AT = ["--dataset", "tiny", "--setting", "2"]


def cells(percent: int, **changes: object) -> list[Record]:
    upper = [score("liver", "3", percent), score("spleen", "3", percent)]
    return [
        record(0, "upper", upper, 1, **changes),
        record(0, "lower", [score("left-kidney", "3", percent)], 1, **changes),
    ]


def test_the_id_is_that_of_every_seed_and_of_one_configuration() -> None:
    assert len(configuration_id(FOUND)) == 8
    for same in ({"model": {"seed": 3}}, {"fold": 1}, {"environment": {"torch": "3"}}, {"checks": ["x"]}):
        assert configuration_id(changed(FOUND, **same)) == configuration_id(FOUND)
    for other in ({"model": {"steps": 1}}, {"shots": 2}, {"versions": {"training": 2}}, {"audits": ["x"]}):
        assert configuration_id(changed(FOUND, **other)) != configuration_id(FOUND)


def test_who_prepared_a_dataset_and_what_trained_part_no_result() -> None:
    machine = {"device": "cpu", "processor": "x", "threads": 2, "torch": "2"}
    told = changed(FOUND, dataset={"prepared_by": "fewshot"}, model={"trained_on": [machine]})
    assert question(told) == question(FOUND) and configuration_id(told) == configuration_id(FOUND)
    assert has_same_result(told, FOUND)
    assert not has_same_result(changed(FOUND, model={"key": "f" * 16}), FOUND)


def test_a_text_names_a_method_a_protocol_or_an_id() -> None:
    name = configuration_id(FOUND)
    for text in ("ssl-alpnet", "ssl-alpnet@alpnet-ep1", name, f"#{name}", name[:4]):
        assert is_configuration_named(text, FOUND)
    for text in ("ssl", "ssl-alpnet@qnet-ep1", name[:3], "", "#", f"{name}0"):
        assert not is_configuration_named(text, FOUND)


def test_what_the_leaderboard_prints_every_command_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two methods, one of them under two seeds."""
    every = [*cells(50), *cells(60, model={"seed": 1}), *cells(80, method={"name": "panet"})]
    for number, one in enumerate(every):
        write_record(tmp_path / f"{number}.json", one)
    records = ["--records", str(tmp_path)]
    assert main(["leaderboard", *records, *AT]) == 0
    board = capsys.readouterr().out
    first, second = configuration_id(every[0]), configuration_id(every[-1])
    assert f"#{first}" in board and f"#{second}" in board
    assert main(["table", *records]) == 0
    table = capsys.readouterr().out
    assert table.count(f"configuration {first}") == 2 and "seed 0; " in table and "seed 1; " in table
    assert main(["compare", f"#{first}", second[:6], *records]) == 0
    compared = capsys.readouterr().out
    assert f"(#{first})" in compared and "2 seeds" in compared and "B - A = +25.00" in compared
    assert main(["compare", first, second, *records, "--seed", "0"]) == 0
    assert "B - A = +30.00" in capsys.readouterr().out
    assert main(["significance", f"#{first}", second, *records, *AT]) == 0
    assert "-25.00" in capsys.readouterr().out
    assert main(["table", *records, "--configuration", f"#{second}"]) == 0
    alone = capsys.readouterr().out
    assert f"configuration {second}" in alone and first not in alone
