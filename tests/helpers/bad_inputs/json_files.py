"""Bad JSON: records, plan files and specs of models; texts that are no JSON, and changes of sound values."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from seal_again import rename_model

from bad_inputs.case import Base, Case, own_work
from bad_inputs.files import few, writer
from fewshot.base.errors import UserError
from fewshot.files.seals import SEAL, add_seal, seal_of

Alter = Callable[[Any], Any]
NOT_JSON: dict[str, Callable[[Path], None]] = {
    name: writer(content)
    for name, content in {
        "cut": b'{"schema": 2, "protocol": {"na',
        "two-objects": b"{}{}",
        "trailing-comma": b'{"a": 1,}',
        "single-quotes": b"{'a': 1}",
        "comment": b'{"a": 1} // so',
        "nan": b'{"a": NaN}',
        "infinity": b'{"a": -Infinity}',
        "long-number": b'{"a": ' + b"9" * 5000 + b"}",
        "deep-lists": b"[" * 100_000,
        "deep-objects": b'{"a":' * 50_000,
        "deep-closed": b"[" * 50_000 + b"]" * 50_000,
        "latin-1": '{"a": "Größe"}'.encode("latin-1"),
        "utf-16": '{"a": 1}'.encode("utf-16"),
        "utf-32": '{"a": 1}'.encode("utf-32"),
        "bad-escape": b'{"a": "\\x"}',
        "control-character": b'{"a": "\x1b[31m"}',
        "nul": b'{"a": "\x00"}',
        "html": b"<!DOCTYPE html><html></html>",
        "only-bom": b"\xef\xbb\xbf",
        "two-boms": b"\xef\xbb\xbf\xef\xbb\xbf{}",
    }.items()
}


def with_value(value: Any, *place: str | int) -> Alter:
    """Return a change that puts `value` at a place of a JSON value."""

    def change(content: Any) -> Any:
        made = copy.deepcopy(content)
        inner = made
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        return made

    return change


def without(*place: str | int) -> Alter:
    """Return a change that removes the key at a place."""

    def change(content: Any) -> Any:
        made = copy.deepcopy(content)
        inner = made
        for key in place[:-1]:
            inner = inner[key]
        del inner[place[-1]]
        return made

    return change


def removals(keys: Sequence[str], *place: str | int) -> dict[str, Alter]:
    """Return name -> change for the removal of each key at a place."""
    where = "-".join(map(str, place))
    return {f"without-{where}-{key}".replace("--", "-"): without(*place, key) for key in keys}


def wrong_types(value: Mapping[str, Any]) -> dict[str, Alter]:
    """Return name -> change that gives every key of an object a value of another type."""
    changes = {}
    for key, inner in value.items():
        other: Any = {"an": "object"} if not isinstance(inner, dict) else [inner]
        changes[f"{key}-is-{type(other).__name__}"] = with_value(other, key)
    return changes


MARKUP = ("formula", "markup")  # harmless in a terminal
HOSTILE: dict[str, str] = {
    "escape": "evil\x1b[2J",
    "bidi": "evil\u202egnp",
    "formula": '=HYPERLINK("http://x")',
    "markup": "<script>alert(1)</script>",
    "newline": "a\nfewshot: error: fake",
    "c1-control": "evil\x9b2J",
    "zero-width": "pa\u200bnet",
    "surrogate": "a\ud800",
}


def table_with(put: Callable[[Path, Any], None], folder: Path, base: Base) -> Sequence[str]:
    """Put one bad record into a folder and print the table of the folder."""
    (folder / "records").mkdir()
    put(folder / "records" / base.record.name, json.loads(base.record.read_text()))
    return ["table", "--records", str(folder / "records"), "--work", str(folder / "work")]


def score_plan(put: Callable[[Path, Any], None], folder: Path, base: Base) -> Sequence[str]:
    """Score under a bad plan file."""
    plan = folder / "plan.json"
    put(plan, json.loads(base.plan.read_text()))
    more = ["--plan", str(plan), "--name", "theirs", "--labels-used", "none", "--work", str(base.work)]
    return ["score", str(base.masks), *more]


def evaluate_spec(put: Callable[[Path, Any], None], folder: Path, base: Base) -> Sequence[str]:
    """Evaluate a model whose spec.json is bad."""
    work = own_work(folder, base, "models")
    spec = work / "models" / base.model / "spec.json"
    content = json.loads(spec.read_text())
    spec.unlink()
    put(spec, content)
    key = base.model
    with contextlib.suppress(
        ValueError, KeyError, TypeError, AttributeError, UserError
    ):  # a spec without key
        key = rename_model(spec.parent).name
    return ["evaluate", key, "--folds", "0", "--groups", "upper", "--work", str(work)]


def _altered(alter: Alter) -> Callable[[Path, Any], None]:
    """Alter and seal again, so that the checks behind the seal are tried; a record has its name's seal."""

    def put(path: Path, content: Any) -> None:
        made = alter({key: value for key, value in content.items() if key != SEAL})
        if not isinstance(made, dict):
            path.write_text(json.dumps(made))
            return
        if path.parent.name == "records":
            path = path.with_name(f"{made.get('key')}-{seal_of(made)}.json")
        path.write_text(json.dumps(add_seal(made)))

    return put


def _alien(put: Callable[[Path], None]) -> Callable[[Path, Any], None]:
    return lambda path, _content: put(path)


def _text(change: Callable[[str], str]) -> Callable[[Path, Any], None]:
    return lambda path, content: path.write_text(change(json.dumps(content))) and None


def board_with(put: Callable[[Path, Any], None], folder: Path, base: Base) -> Sequence[str]:
    """Put one bad record into a folder and print the board of the folder."""
    *_table, records, work, path = table_with(put, folder, base)
    return ["leaderboard", "--dataset", "tiny", "--records", records, work, path]


RECORD_KEYS = (
    "schema", "protocol", "dataset", "grid", "setting", "fold", "group", "shots", "parts", "plan_hash",
    "method", "versions", "queries", "model", "training", "audits", "fallback_slices", "scores",
    "environment",
)  # fmt: skip
RECORD: dict[str, Alter] = {
    **removals(RECORD_KEYS),
    "a-list": lambda content: [content],
    "unknown-key": with_value(1, "more"),
    "schema-1": with_value(1, "schema"),
    "schema-3": with_value(3, "schema"),
    "schema-true": with_value(True, "schema"),
    "setting-3": with_value(3, "setting"),
    "fold-negative": with_value(-1, "fold"),
    "fold-beyond": with_value(99, "fold"),
    "fold-float": with_value(0.0, "fold"),
    "folds-huge": with_value(10**9, "grid", "folds"),
    "folds-0": with_value(0, "grid", "folds"),
    "groups-empty": with_value({}, "grid", "groups"),
    "group-unknown": with_value("nobody", "group"),
    "group-path": with_value("../../x", "group"),
    "dataset-path": with_value("../stores/tiny", "dataset", "name"),
    "dataset-hash-text": with_value("no hash", "dataset", "hash"),
    "shots-0": with_value(0, "shots"),
    "parts-text": with_value("3", "parts"),
    "plan-hash-upper": with_value("ABCDEF0123456789", "plan_hash"),
    "queries-other": with_value("both", "queries"),
    "fallback-negative": with_value(-5, "fallback_slices"),
    "scores-empty": with_value([], "scores"),
    "score-dice-2": with_value(2.0, "scores", 0, "dice"),
    "score-dice-other": with_value(0.123456, "scores", 0, "dice"),
    "score-dice-text": with_value("0.5", "scores", 0, "dice"),
    "score-tp-negative": with_value(-1, "scores", 0, "tp"),
    "score-tp-huge": with_value(10**30, "scores", 0, "tp"),
    "score-class-other": with_value("heart", "scores", 0, "class"),
    "score-twice": lambda content: {**content, "scores": [content["scores"][0], *content["scores"]]},
    "audits-a-text": with_value("marked", "audits"),
    "key-short": with_value("abc", "key"),
    "method-version-and-source": with_value("0" * 16, "method", "source"),
    "options-nested-list": with_value([[[]]], "method", "options"),
    **{
        f"method-{name}": with_value(text, "method", "name")
        for name, text in HOSTILE.items()
        if name not in MARKUP
    },
    **{f"audit-{name}": with_value([text], "audits") for name, text in HOSTILE.items() if name not in MARKUP},
}
PLAN: dict[str, Alter] = {
    "a-list": lambda content: [content],
    **removals(("protocol", "plans")),
    **removals(("plan_hash", "evaluation", "rules", "setting"), "plans", 0),
    "plans-empty": with_value([], "plans"),
    "plans-a-number": with_value(3, "plans"),
    "plans-of-null": with_value([None], "plans"),
    "fold-edited": with_value(1, "plans", 0, "evaluation", "fold"),
    "hash-edited": with_value("0" * 16, "plans", 0, "plan_hash"),
    "setting-text": with_value("one", "plans", 0, "setting"),
    "setting-of-two": with_value(2, "plans", 0, "setting"),
    "protocol-hash-edited": with_value("0" * 64, "protocol", "hash"),
    "protocol-unknown": with_value("nobody", "protocol", "name"),
    "protocol-a-list": with_value([], "protocol"),
    "shots-text": with_value("many", "plans", 0, "rules", "shots"),
    "shots-huge": lambda content: _everywhere(content, 10**12),
}


def _everywhere(content: Any, shots: int) -> Any:
    made = copy.deepcopy(content)
    for plan in made["plans"]:
        plan["rules"]["shots"] = shots
    return made


SPEC_KEYS = (
    "versions", "dataset", "store", "training_scans", "training_slices_hash", "normalisation",
    "pseudo_labels", "method", "encoder", "initial_weights", "recipe", "seed", "image_size", "precision",
)  # fmt: skip
SPEC: dict[str, Alter] = {
    "a-list": lambda content: [content],
    **removals(SPEC_KEYS),
    **removals(("name", "version", "options"), "method"),
    "method-unknown": with_value("nobody", "method", "name"),
    "method-file": with_value("/tmp/evil.py:Evil", "method", "name"),
    "method-dotted": with_value("os:path", "method", "name"),
    "options-unknown": with_value({"nothing": 1}, "method", "options"),
    "options-a-list": with_value([1], "method", "options"),
    "recipe-unknown": with_value({"nothing": 1}, "recipe"),
    "recipe-steps-text": with_value("many", "recipe", "steps"),
    "recipe-steps-negative": with_value(-1, "recipe", "steps"),
    "recipe-steps-more": with_value(1000, "recipe", "steps"),
    "encoder-unknown": with_value("vgg", "encoder"),
    "encoder-other": with_value("resnet50", "encoder"),
    "seed-text": with_value("zero", "seed"),
    "dataset-path": with_value("../../etc", "dataset"),
    "image-size-text": with_value("64", "image_size"),
    "version-other": with_value(99, "method", "version"),
}


def cases() -> Iterator[Case]:
    """Yield the bad records, plan files and specs."""
    for kind, make, statuses in (
        ("record", table_with, (1, 2)), ("plan", score_plan, (2,)), ("spec", evaluate_spec, (2,)),
    ):  # fmt: skip
        aliens = few() if kind != "spec" else {}
        for name, put in {**aliens, **NOT_JSON}.items():
            yield Case(
                f"{kind}/{name}", partial(make, _alien(put)), ".json" if kind != "spec" else "", statuses
            )
    for name, alter in RECORD.items():
        yield Case(f"record/{name}", partial(table_with, _altered(alter)), ".json", (1, 2))
    for name, alter in PLAN.items():
        yield Case(f"plan/{name}", partial(score_plan, _altered(alter)), "")
    for name, alter in SPEC.items():
        yield Case(f"spec/{name}", partial(evaluate_spec, _altered(alter)), "")
    for place in (("method", "name"), ("environment", "python")):
        alter = with_value(HOSTILE["markup"], *place)
        yield Case(f"record/{place[0]}-markup", partial(board_with, _altered(alter)), ".json", (1, 2))
    yield Case("record/nan-dice", partial(table_with, _text(_nan_dice)), ".json", (1, 2))
    yield Case(
        "record/half", partial(table_with, _text(lambda text: text[: len(text) // 2])), ".json", (1, 2)
    )
    yield Case("record/appended", partial(table_with, _text(lambda text: f"{text}\n{text}")), ".json", (1, 2))


def _nan_dice(text: str) -> str:
    start = text.index('"dice": ') + 8
    return f"{text[:start]}NaN{text[text.index(',', start) :]}"
