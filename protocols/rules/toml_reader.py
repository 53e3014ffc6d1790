"""Tables of a protocol file, read key by key; a wrong value raises `UserError` with file, key and reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from fewshot.base.errors import UserError, short, unknown_name
from fewshot.files.names import checked_name

MODALITIES = ("ct", "mr")
PICTURE = "picture"  # the modality of picture sets, which no protocol file names
FRACTION = re.compile(r"\d{1,9}([./]\d{1,9})?")  # Fraction computes 10**N of "1eN"
MOST = 1_000_000_000  # of an integer in a protocol file
NORMALISATIONS = ("per-scan", "training-scans")


class RuleTable:
    """A table of a protocol file; `prefix` is its name and a dot."""

    def __init__(self, path: Path, prefix: str, content: dict[str, Any]) -> None:
        self.path, self.prefix, self.content = path, prefix, content

    def fail(self, key: str, reason: str) -> NoReturn:
        """Raise the `UserError` of a key."""
        raise UserError(f"{self.path}: key {self.prefix}{key} {short(reason, 1000)}")

    def only(self, *keys: str, optional: Sequence[str] = ()) -> None:
        """Refuse unknown and missing keys."""
        for key in self.content:
            if key not in (*keys, *optional):
                raise UserError(
                    f"{self.path}: {unknown_name('key', self.prefix + key, self._full(keys, optional))}"
                )
        for key in keys:
            if key not in self.content:
                self.fail(key, "is missing")

    def integer(self, key: str) -> int:
        """Return an integer of at least 1."""
        value = self.content[key]
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST:
            self.fail(key, f"is {short(repr(value))}, expected an integer of at least 1, up to {MOST}")
        return value

    def flag(self, key: str, usual: bool) -> bool:
        """Return true or false; `usual` if the key is missing."""
        value = self.content.get(key, usual)
        if not isinstance(value, bool):
            self.fail(key, f"is {value!r}, expected true or false")
        return value

    def text(self, key: str) -> str:
        """Return a text that is not empty."""
        value = self.content[key]
        if not isinstance(value, str) or not value:
            self.fail(key, f"is {value!r}, expected a text")
        return value

    def name(self, key: str) -> str:
        """Return a text that may stand in a file name."""
        return checked_name(f"{self.path}: key {self.prefix}{key}", self.text(key))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of one or more different texts."""
        value = self.content[key]
        if (
            not isinstance(value, list)
            or not value
            or not all(isinstance(text, str) and text for text in value)
        ):
            self.fail(key, f"is {value!r}, expected a list of texts")
        if len(set(value)) != len(value):
            self.fail(key, f"is {value!r}, expected every entry once")
        return tuple(value)

    def choice(self, key: str, known: Sequence[str] | Mapping[str, Any]) -> str:
        """Return one of the known rule names."""
        value = self.text(key)
        if value not in known:
            raise UserError(f"{self.path}: key {self.prefix}{key}: {unknown_name('rule', value, known)}")
        return value

    def table(self, key: str) -> RuleTable:
        """Return a table that is not empty."""
        value = self.content[key]
        if not isinstance(value, dict) or not value:
            self.fail(key, f"is {value!r}, expected a table [{self.prefix}{key}] with entries")
        return RuleTable(self.path, f"{self.prefix}{key}.", value)

    def _full(self, *keys: Sequence[str]) -> list[str]:
        return [self.prefix + key for names in keys for key in names]


def read_fractions(table: RuleTable) -> tuple[float, ...]:
    """Return one fraction per part, ascending in [0,1), from texts such as "1/6"."""
    found = []
    for text in table.texts("support_fractions"):
        try:
            fraction = Fraction(text if FRACTION.fullmatch(text) else "none")
        except (ValueError, ZeroDivisionError):
            table.fail("support_fractions", f'holds {text!r}, expected fractions such as "1/6"')
        if not 0 <= fraction < 1:
            table.fail("support_fractions", f"holds {text!r}, expected fractions from 0 to below 1")
        found.append(fraction.numerator / fraction.denominator)
    if found != sorted(set(found)):
        table.fail(
            "support_fractions", f"is {table.content['support_fractions']!r}, expected ascending fractions"
        )
    return tuple(found)


def read_normalisation(table: RuleTable) -> dict[str, str]:
    """Return modality -> the rule of its intensities; grey pictures are normalised each by their own."""
    table.only(*MODALITIES)
    rules = {modality: table.choice(modality, NORMALISATIONS) for modality in MODALITIES}
    return rules | {PICTURE: "per-scan"}


def read_groups(table: RuleTable) -> dict[str, tuple[str, ...]]:
    """Return group name -> its classes; check all names."""
    for name in table.content:
        checked_name(f"{table.path}: group", name)
    groups = {name: table.texts(name) for name in table.content}
    for name, classes in groups.items():
        for class_name in classes:
            checked_name(f"{table.path}: class of group {name}", class_name)
    return groups


def read_published(table: RuleTable) -> dict[str, tuple[int, ...]]:
    """Return group -> the settings in which papers report it."""
    for group, settings in table.content.items():
        if not isinstance(settings, list) or any(
            type(setting) is not int or setting not in (1, 2) for setting in settings
        ):
            table.fail(group, f"is {settings!r}, expected a list of settings such as [1]")
    return {group: tuple(settings) for group, settings in table.content.items()}


def read_supports(table: RuleTable) -> tuple[tuple[str, tuple[tuple[int, ...], ...]], ...]:
    """Return (dataset, positions of every fold's support scans); the file has one list per fold."""
    for dataset, folds in table.content.items():
        if not isinstance(folds, list) or not all(
            isinstance(positions, list) and positions and len(set(map(repr, positions))) == len(positions)
            and all(type(place) is int and 0 <= place <= MOST for place in positions)
            for positions in folds
        ):  # fmt: skip
            table.fail(dataset, f"is {folds!r}, expected for every fold a list of positions, each once")
    return tuple((name, tuple(map(tuple, folds))) for name, folds in table.content.items())


def read_folds(table: RuleTable) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return (dataset, fold borders); the file has [start, stop) positions, without gap or overlap."""
    found = []
    for dataset, folds in table.content.items():
        pairs = isinstance(folds, list) and all(
            isinstance(pair, list)
            and len(pair) == 2
            and all(type(end) is int and end <= MOST for end in pair)
            for pair in folds
        )
        if not pairs or not folds:
            table.fail(
                dataset, f"is {folds!r}, expected [start, stop] positions of each fold, stop not included"
            )
        for number, (start, stop) in enumerate(folds):
            if not 0 <= start < stop:
                table.fail(dataset, f"holds fold {number} {[start, stop]}, expected 0 <= start < stop")
        for number, (before, after) in enumerate(pairwise(folds), start=1):
            if after[0] < before[1]:
                table.fail(dataset, f"holds fold {number} {after}, which overlaps fold {number - 1} {before}")
            if after[0] > before[1]:
                table.fail(
                    dataset,
                    f"holds fold {number} {after}, which leaves a gap after fold {number - 1} {before}",
                )
        if folds[0][0] != 0:
            table.fail(dataset, f"begins with fold {folds[0]}, expected position 0 first")
        found.append((dataset, (0, *(stop for _start, stop in folds))))
    return tuple(found)
