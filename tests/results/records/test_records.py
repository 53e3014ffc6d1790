"""Records: what is written is what is read, byte for byte, and every bad record is named."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from making import changed, record, score

from fewshot.base.errors import UserError
from fewshot.base.types import ScanScore
from fewshot.files.atomic_io import canonical_json
from fewshot.files.seals import add_seal
from results.records.files import cell_key, read_record, read_records, write_record
from results.records.record import Record, checked_record
from results.records.record_parts import MachinePart

GOOD = record(0, "upper", [score("liver", "3", 80), score("spleen", "3", 50)])


def test_a_record_reads_back_equal_and_writes_equal_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    write_record(one, GOOD)
    write_record(two, Record.from_json(json.loads(json.dumps(GOOD.to_json(), sort_keys=False))))
    assert read_record(one) == GOOD and one.read_bytes() == two.read_bytes()
    assert read_records(tmp_path) == [GOOD, GOOD]
    keys = list(json.loads(one.read_text()))
    assert keys == sorted([*GOOD.to_json(), "seal"]) and "checks" not in keys


def test_optional_parts_are_absent_from_json_and_typed_where_they_are_there() -> None:
    assert GOOD.model.recipe is GOOD.model.stages is GOOD.training.excluded_seen is None
    assert {"recipe", "precision", "stages", "labels", "selected"}.isdisjoint(GOOD.to_json()["model"])
    machine = {"device": "cpu", "processor": None, "threads": 8, "torch": "2.6"}
    chosen = {"step": 3, "candidates": [3, 6], "on": "scan 9", "dice": 0.5}
    full = changed(GOOD, checks=["folds disjoint"], model={"selected": chosen, "trained_on": [machine]})
    assert full.model.selected is not None and full.model.selected.candidates == (3, 6)
    assert full.model.trained_on == (MachinePart("cpu", None, 8, "2.6"),)
    assert Record.from_json(full.to_json()) == full and full.to_json()["model"]["selected"] == chosen


def test_a_line_of_a_jsonl_file_is_a_record(tmp_path: Path) -> None:
    other = changed(GOOD, fold=1)
    lines = [canonical_json(add_seal(one.to_json())) for one in (GOOD, other)]
    (tmp_path / "several.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_record(tmp_path / "alone.json", GOOD)
    (tmp_path / "notes.txt").write_text("no record")
    assert read_records(tmp_path) == [GOOD, GOOD, other]
    (tmp_path / "several.jsonl").write_text(f"{lines[0]}\n\n{lines[1][:90]}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"several\.jsonl:3: not JSON"):
        read_records(tmp_path)


def test_a_record_of_schema_1_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(json.dumps({**GOOD.to_json(), "schema": 1}))
    with pytest.raises(UserError, match=r"old\.json: schema is 1, expected 2") as caught:
        read_record(tmp_path / "old.json")
    assert "\n" not in str(caught.value)


def test_dice_is_that_of_the_counts() -> None:
    assert GOOD.scores[0].dice == 0.8 and GOOD.scores[0].tp == 80


def test_an_undefined_score_keeps_its_reason() -> None:
    gone = ScanScore("liver", "4", ("9",), 0, 0, 0, 0, "class absent from the query scan")
    found = record(0, "upper", [score("liver", "3", 80), gone, score("spleen", "3", 50)])
    assert found.scores[1].dice is None and "absent" in found.scores[1].undefined


def test_cell_key_is_16_hex_of_the_identity() -> None:
    one = cell_key({"fold": 0, "model": "x"})
    assert len(one) == 16 and one == cell_key({"model": "x", "fold": 0}) != cell_key(
        {"fold": 1, "model": "x"}
    )


def _change(*path: Any, to: Any) -> Callable[[Any], None]:
    def change(found: Any) -> None:
        for key in path[:-1]:
            found = found[key]
        found[path[-1]] = to

    return change


BAD: list[tuple[Callable[[Any], Any], str]] = [
    (_change("scores", 0, "dice", to=0.81), r"scores\[0\].dice is 0.81, expected 0.8 = 2 tp"),
    (_change("scores", 0, "dice", to=float("nan")), r"scores\[0\].dice is nan, expected a number in 0..1"),
    (_change("scores", 0, "dice", to=None), r"scores\[0\].dice is None, expected 0.8"),
    (_change("scores", 0, "tp", to=-1), r"scores\[0\].tp is -1, expected an integer of at least 0"),
    (_change("scores", 0, "tp", to=True), r"scores\[0\].tp is True, expected an integer"),
    (_change("scores", 0, "undefined", to="why"), r"scores\[0\].dice is 0.8 .* expected null and zeros"),
    (_change("scores", 0, "class", to="left-kidney"), r"expected a class of group 'upper'"),
    (_change("scores", 0, "class", to="spleen"), r"scores\[1\] repeats class 'spleen' of scan '3'"),
    (_change("scores", to=[]), r"scores hold none of class 'liver'"),
    (_change("fold", to=2), r"fold is 2, expected less than grid.folds 2"),
    (_change("group", to="heart"), r"group is 'heart', expected one of grid.groups"),
    (_change("setting", to=3), r"setting is 3, expected one of 1, 2"),
    (_change("setting", to=1), r"slices_excluded is 7, expected 0 in setting 1"),
    (_change("schema", to=3), r"schema is 3, expected 2"),
    (_change("schema", to="2"), r"schema is '2', expected 2"),
    (lambda found: found.pop("schema"), r"key schema is missing"),
    (_change("protocol", "hash", to="xyz"), r"protocol.hash is 'xyz', expected 16 to 64 hex digits"),
    (
        _change("model", "checkpoint", to="best"),
        r"model.checkpoint is 'best', expected one of last, validation",
    ),
    (_change("model", "steps", to="300"), r"model.steps is '300'"),
    (_change("method", "labels_used", to="some"), r"method.labels_used is 'some'"),
    (_change("method", "options", to={"rate": float("inf")}), r"method.options is .* expected a plain JSON"),
    (_change("dataset", "name", to="../x"), r"dataset.name is '../x', expected a name"),
    (_change("training", "scans", to="1 2"), r"training.scans is '1 2', expected a list"),
    (
        _change("method", "source", to="e" * 16),
        r"and method.source are 1 and e+, expected exactly",
    ),
    (_change("method", "version", to=None), r"are None and None, expected exactly one"),
    (_change("method", "files", to={"a": "b"}), r"method.files.a is 'b', expected 16 to 64 hex digits"),
    (_change("versions", to={"encoder": 0}), r"versions.encoder is 0, expected an integer of at least 1"),
    (_change("queries", to="both"), r"queries is 'both', expected one of alone, together"),
    (_change("model", "finite", to=1), r"model.finite is 1, expected true or false"),
    (
        _change("model", "trained_on", to=[{"device": "cpu"}]),
        r"trained_on\[0\].processor is missing",
    ),
    (_change("model", "stages", to=[{"name": "a", "speed": 1}]), r"key model.stages\[0\].speed is unknown"),
    (_change("dataset", "prepared_by", to="me"), r"dataset.prepared_by is 'me', expected one of fewshot"),
    (_change("dataset", to="tiny"), r"dataset is 'tiny', expected an object"),
    (_change("environment", "threads", to=0), r"environment.threads is 0, expected an integer of at least 1"),
    (_change("speed", to=1), r"key speed is unknown"),
    (lambda found: found["environment"].pop("torch"), r"key environment.torch is missing"),
]


@pytest.mark.parametrize(("change", "reason"), BAD, ids=[reason for _change, reason in BAD])
def test_a_bad_record_is_named(change: Callable[[Any], Any], reason: str) -> None:
    bad = copy.deepcopy(GOOD.to_json())
    change(bad)
    with pytest.raises(UserError, match=reason) as caught:
        Record.from_json(bad, "some.json")
    assert str(caught.value).startswith("some.json: ") and "\n" not in str(caught.value)


def test_a_value_that_json_cannot_hold_is_named() -> None:
    bad = dataclasses.replace(GOOD, method=dataclasses.replace(GOOD.method, options={"rate": float("nan")}))
    with pytest.raises(UserError, match="record: a value is not finite"):
        checked_record(bad)


def test_a_bad_record_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        write_record(tmp_path / "bad.json", dataclasses.replace(GOOD, fold=9))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{", "NaN", "[]", '{"schema": NaN}', "null"])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"broken\.json"):
        read_record(path)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_record(tmp_path / "none.json")
    with pytest.raises(UserError, match="no folder of records at"):
        read_records(tmp_path / "none")
