"""The form of a record, as data: every key, its type and its range, and how a fault in it is found."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Check = Callable[[Any], bool]


@dataclass(frozen=True)
class Is:
    """One value: `wanted` in words, `check` in code."""

    wanted: str
    check: Check


@dataclass(frozen=True)
class Keys:
    """An object with exactly these keys; those in `optional` may be absent."""

    keys: dict[str, Form]
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Each:
    """A list (`kind` list) or an object of free keys (`kind` dict) whose values all have one form."""

    kind: type[list[Any]] | type[dict[str, Any]]
    form: Form


@dataclass(frozen=True)
class OrNull:
    """A form, or null."""

    form: Form


Form = Is | Keys | Each | OrNull


def fault(value: Any, form: Form, where: str) -> str | None:
    """Return the first place where `value` is not of the form, as "key is X, wanted Y", or None."""
    if isinstance(form, OrNull):
        return None if value is None else fault(value, form.form, where)
    if isinstance(form, Is):
        return None if form.check(value) else f"{where} is {value!r}, wanted {form.wanted}"
    if isinstance(form, Keys):
        return _keys_fault(value, form, where)
    if not isinstance(value, form.kind):
        wanted = "a list" if form.kind is list else "an object"
        return f"{where} is {value!r}, wanted {wanted}"
    if isinstance(value, dict):
        items = [(f"{where}.{key}", item) for key, item in value.items()]
    else:
        items = [(f"{where}[{number}]", item) for number, item in enumerate(value)]
    return next((found for name, item in items if (found := fault(item, form.form, name))), None)


def _keys_fault(value: Any, form: Keys, where: str) -> str | None:
    name = where or "the record"
    if not isinstance(value, dict):
        return f"{name} is {value!r}, wanted an object"
    prefix = f"{where}." if where else ""
    for key in sorted(form.keys.keys() - value.keys() - form.optional):
        return f"key {prefix}{key} is missing"
    for key in sorted(value.keys() - form.keys.keys()):
        return f"key {prefix}{key} is unknown, wanted {', '.join(sorted(form.keys))}"
    found = (fault(item, form.keys[key], f"{prefix}{key}") for key, item in sorted(value.items()))
    return next((one for one in found if one), None)


def _is_integer(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_plain(value: Any) -> bool:
    """Tell whether a value is JSON without NaN or infinity."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | str) or _is_finite(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _matches(pattern: str) -> Check:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _one_of(*values: str) -> Is:
    return Is(f"one of {', '.join(values)}", lambda value: isinstance(value, str) and value in values)


TEXT = Is("a text", lambda value: isinstance(value, str) and value != "")
NAME = Is("a name", _matches(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"))
HEX = Is("16 to 64 hex digits", _matches(r"[0-9a-f]{16,64}"))
COUNT = Is("an integer of at least 0", _is_integer)
POSITIVE = Is("an integer of at least 1", lambda value: _is_integer(value, 1))
BOOL = Is("true or false", lambda value: isinstance(value, bool))
PLAIN = Is("a plain JSON object", lambda value: isinstance(value, dict) and _is_plain(value))
RATIO = Is("a number in 0..1", lambda value: _is_finite(value) and 0 <= value <= 1)
CHECKPOINTS = ("last", "validation", "oracle", "external", "none")
LABELS_USED = ("none", "training-group", "target")
DATASET = Keys({"name": NAME, "hash": HEX})

RECORD = Keys(
    {
        "schema": Is("1", lambda value: _is_integer(value) and value == 1),
        "protocol": Keys({"name": NAME, "version": POSITIVE, "hash": HEX}),
        "dataset": DATASET,
        "train_dataset": OrNull(DATASET),
        "grid": Keys({"folds": POSITIVE, "groups": Each(dict, Each(list, NAME))}),
        "setting": Is("1 or 2", lambda value: _is_integer(value, 1) and value <= 2),
        "fold": COUNT,
        "group": NAME,
        "shots": POSITIVE,
        "parts": POSITIVE,
        "plan_hash": HEX,
        "method": Keys(
            {
                "name": TEXT,
                "options": PLAIN,
                "source_hash": HEX,
                "regime": TEXT,
                "labels_used": _one_of(*LABELS_USED),
            }
        ),
        "model": Keys(
            {
                "key": OrNull(TEXT),
                "name": OrNull(NAME),
                "encoder": OrNull(TEXT),
                "initial_weights": OrNull(Keys({"name": TEXT, "sha256": OrNull(HEX)})),
                "steps": OrNull(COUNT),
                "seed": Is(
                    "an integer", lambda value: isinstance(value, int) and not isinstance(value, bool)
                ),
                "checkpoint": _one_of(*CHECKPOINTS),
                "skipped_episodes": OrNull(COUNT),
                "recipe": OrNull(PLAIN),
                "precision": TEXT,
                "answer_precision": TEXT,
                "compiled": BOOL,
                "stages": Each(dict, PLAIN),
                "labels": PLAIN,
                "selected": Keys({"step": COUNT, "candidates": Each(list, COUNT), "on": TEXT, "dice": RATIO}),
            },
            optional=frozenset(
                {"recipe", "precision", "answer_precision", "compiled", "selected", "stages", "labels"}
                | {"name"}
            ),
        ),
        "training": Keys(
            {
                "scans": Each(list, NAME),
                "slices": COUNT,
                "slices_excluded": COUNT,
                "excluded_seen": POSITIVE,
            },
            optional=frozenset({"excluded_seen"}),
        ),
        "audits": Each(list, TEXT),
        "checks": Each(list, TEXT),
        "fallback_slices": COUNT,
        "scores": Each(
            list,
            Keys(
                {
                    "class": NAME,
                    "scan": NAME,
                    "supports": Each(list, NAME),
                    "slices": COUNT,
                    "tp": COUNT,
                    "fp": COUNT,
                    "fn": COUNT,
                    "dice": OrNull(RATIO),
                    "undefined": OrNull(TEXT),
                }
            ),
        ),
        "environment": Keys(
            {
                "fewshot": TEXT,
                "commit": OrNull(TEXT),
                "dirty": OrNull(BOOL),
                "python": TEXT,
                "torch": TEXT,
                "device": TEXT,
            }
        ),
    },
    optional=frozenset({"checks"}),
)
