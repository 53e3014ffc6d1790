"""A row whose cells come from different machines says so, under its table and on the board."""

from __future__ import annotations

from making import changed, record, score

from results.leaderboard.board import leaderboard
from results.leaderboard.board_tables import board_notes
from results.records.record import Record
from results.summary.machines import machine_notes
from results.tables.fold_tables import render

MACHINE = {"device": "cpu", "processor": "x", "threads": 2, "torch": "2"}


def cells() -> list[Record]:
    return [
        record(0, "upper", [score("liver", "3", 80), score("spleen", "3", 50)], 1),
        record(0, "lower", [score("left-kidney", "3", 60)], 1),
    ]


def test_one_machine_needs_no_note() -> None:
    assert machine_notes(cells()) == []
    known = [changed(one, model={"trained_on": [MACHINE]}) for one in cells()]
    assert machine_notes(known) == []
    assert "MIXED" not in render(cells())


def test_other_threads_devices_processors_and_versions_are_named() -> None:
    first, second = cells()
    for part, text in (
        ({"threads": 8}, "cpu (processor not known, 8 threads, torch 2)"),
        ({"threads": None}, "cpu (processor not known, threads not known, torch 2)"),
        ({"device": "H100"}, "H100 (processor not known, 1 threads, torch 2)"),
        ({"processor": "x"}, "cpu (x, 1 threads, torch 2)"),
        ({"torch": "3"}, "cpu (processor not known, 1 threads, torch 3)"),
    ):
        (note,) = machine_notes([first, changed(second, environment=part)])
        assert note.startswith("MIXED machines: cells were evaluated on ") and text in note
        assert "cpu (processor not known, 1 threads, torch 2)" in note


def test_a_training_on_two_machines_and_one_not_known_are_named() -> None:
    first, second = cells()
    here = changed(first, model={"trained_on": [MACHINE, {**MACHINE, "threads": 4}]})
    (note,) = machine_notes([here])
    assert (
        note
        == "MIXED machines: cells were trained on cpu (x, 2 threads, torch 2); cpu (x, 4 threads, torch 2)"
    )
    (note,) = machine_notes([changed(first, model={"trained_on": [MACHINE]}), second])
    assert note.endswith("cpu (x, 2 threads, torch 2); not known")
    untrained = changed(second, model={"steps": 0})
    assert machine_notes([changed(first, model={"trained_on": [MACHINE]}), untrained]) == []


def test_the_note_stands_under_the_table_and_on_the_board() -> None:
    first, second = cells()
    mixed = [first, changed(second, environment={"threads": 8})]
    assert "MIXED machines: cells were evaluated on" in render(mixed)
    notes = board_notes(leaderboard(mixed, "tiny", 2))
    assert any("MIXED machines" in note and "ssl-alpnet" in note for note in notes)
