"""Protocols are data: a TOML file of rules with a version, parsed strictly, checked and hashed."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn
from typing import Protocol as Shape

from episodes.plan_rules import EXCLUSIONS, PART_RULES, SCORED, SUPPORT_SCANS, EvaluationRules
from fewshot.errors import UserError, unknown_name
from fewshot.files import hash_of
from fewshot.types import checked_name

HOME = Path(__file__).resolve().parent
MODALITIES = ("ct", "mr")
NORMALISATIONS = ("per-scan", "training-scans")
PSEUDO_LABELS = ("felzenszwalb",)
PROSE = ("summary", "sources", "changes")
TOP = ("name", "version", "summary", "sources", "changes", "evaluation", "training", "groups")
EVALUATION = ("support_scan", "support_fractions", "part_rule", "scored", "shots")
TRAINING = ("exclusion", "pseudo_labels", "steps", "normalisation")


@dataclass(frozen=True)
class TrainingRules:
    """What a protocol asks of training; a model fits a protocol only if these are equal.

    `normalisation`: modality -> "per-scan" or "training-scans"; `steps`: the published number.
    """

    exclusion: str
    pseudo_labels: str
    steps: int
    normalisation: Mapping[str, str]


class Dataset(Shape):
    """What a protocol needs of a dataset; `episodes.dataset.DatasetSpec` has it."""

    @property
    def name(self) -> str: ...
    @property
    def tested(self) -> tuple[str, ...]: ...
    @property
    def fold_borders(self) -> tuple[int, ...]: ...
    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]: ...


@dataclass(frozen=True)
class Protocol:
    """A checked protocol file. `hash` covers the rules, name and version, not the prose around them."""

    name: str
    version: int
    summary: str
    sources: tuple[str, ...]
    changes: tuple[str, ...]
    evaluation: EvaluationRules
    training: TrainingRules
    groups: Mapping[str, tuple[str, ...]]
    hash: str

    def groups_for(self, dataset: Dataset) -> dict[str, tuple[str, ...]]:
        """Return the groups whose classes the dataset lets protocols test, then those it brings itself.

        Both in their file's order. Raises `UserError` where the two give one name to different classes.
        """
        own = {name: classes for name, classes in self.groups.items() if set(classes) <= set(dataset.tested)}
        for name, classes in dataset.groups.items():
            if set(own.get(name, classes)) != set(classes):
                raise UserError(
                    f"group {name!r} is {', '.join(classes)} in dataset {dataset.name} but "
                    f"{', '.join(own[name])} in protocol {self.name}; give the dataset's group another name"
                )
        return own | {name: classes for name, classes in dataset.groups.items() if name not in own}

    def fold_borders_for(self, dataset: Dataset) -> tuple[int, ...]:
        """Return the protocol's own fold borders for the dataset where it has some, else the dataset's."""
        return dict(self.evaluation.fold_borders).get(dataset.name, dataset.fold_borders)


def known_protocols() -> tuple[str, ...]:
    """Return the names of the protocols that come with the project."""
    return tuple(sorted(path.stem for path in HOME.glob("*.toml")))


def load_protocol(name_or_path: str | Path) -> Protocol:
    """Return the protocol of a shipped name or of a `.toml` file.

    Raises `UserError` with near names for an unknown name, and with file, key and reason for a bad file.
    """
    text = str(name_or_path)
    if text in known_protocols():
        return _parsed(HOME / f"{text}.toml")
    path = Path(text)
    if not text.endswith(".toml"):
        raise unknown_name("protocol", text, known_protocols())
    if not path.is_file():
        raise UserError(
            f"protocol file {text!r} does not exist; give a file or one of: {', '.join(known_protocols())}"
        )
    return _parsed(path)


def chosen_folds(text: str, borders: Sequence[int]) -> tuple[int, ...]:
    """Return the folds named by `all` or by numbers with commas, checked against the fold borders."""
    count = len(borders) - 1
    if text == "all":
        return tuple(range(count))
    try:
        folds = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UserError(f"--folds {text!r}: wanted `all` or numbers with commas such as 0,1") from None
    for fold in folds:
        if not 0 <= fold < count:
            raise UserError(f"--folds {text!r}: no fold {fold}; this dataset has folds 0 to {count - 1}")
    return folds


def _parsed(path: Path) -> Protocol:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a TOML file ({error}); mend it there") from None
    table = _Table(path, "", content)
    table.only(*TOP, optional=("folds",))
    evaluation, training = table.table("evaluation"), table.table("training")
    evaluation.only(*EVALUATION)
    training.only(*TRAINING)
    name = table.name("name")
    if path.stem != name:
        table.fail("name", f"is {name!r}, wanted the file's name {path.stem!r}")
    exclusion = training.choice("exclusion", EXCLUSIONS)
    return Protocol(
        name=name,
        version=table.integer("version"),
        summary=table.text("summary"),
        sources=table.texts("sources"),
        changes=table.texts("changes"),
        evaluation=EvaluationRules(
            support_scan=evaluation.choice("support_scan", SUPPORT_SCANS),
            support_fractions=_fractions(evaluation),
            part_rule=evaluation.choice("part_rule", PART_RULES),
            scored=evaluation.choice("scored", SCORED),
            exclusion=exclusion,
            shots=evaluation.integer("shots"),
            fold_borders=_folds(table.table("folds")) if "folds" in content else (),
        ),
        training=TrainingRules(
            exclusion=exclusion,
            pseudo_labels=training.choice("pseudo_labels", PSEUDO_LABELS),
            steps=training.integer("steps"),
            normalisation=_normalisation(training.table("normalisation")),
        ),
        groups=_groups(table.table("groups")),
        hash=hash_of({key: value for key, value in content.items() if key not in PROSE}),
    )


class _Table:
    """One table of a protocol file; every reader says file, key and reason where a value is wrong."""

    def __init__(self, path: Path, prefix: str, content: dict[str, Any]) -> None:
        self.path, self.prefix, self.content = path, prefix, content

    def fail(self, key: str, reason: str) -> NoReturn:
        """Raise the `UserError` of a key."""
        raise UserError(f"{self.path}: key {self.prefix}{key} {reason}")

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
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            self.fail(key, f"is {value!r}, wanted an integer of at least 1")
        return value

    def text(self, key: str) -> str:
        """Return a text that is not empty."""
        value = self.content[key]
        if not isinstance(value, str) or not value:
            self.fail(key, f"is {value!r}, wanted a text")
        return value

    def name(self, key: str) -> str:
        """Return a text that may stand in a file name."""
        return checked_name(f"{self.path}: key {self.prefix}{key}", self.text(key))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of at least one text, none twice."""
        value = self.content[key]
        if not isinstance(value, list) or not value or not all(isinstance(one, str) and one for one in value):
            self.fail(key, f"is {value!r}, wanted a list of texts")
        if len(set(value)) != len(value):
            self.fail(key, f"is {value!r}, wanted every entry once")
        return tuple(value)

    def choice(self, key: str, known: Sequence[str] | Mapping[str, Any]) -> str:
        """Return one of the known rule names."""
        value = self.text(key)
        if value not in known:
            raise UserError(f"{self.path}: key {self.prefix}{key}: {unknown_name('rule', value, known)}")
        return value

    def table(self, key: str) -> _Table:
        """Return a table that is not empty."""
        value = self.content[key]
        if not isinstance(value, dict) or not value:
            self.fail(key, f"is {value!r}, wanted a table [{self.prefix}{key}] with entries")
        return _Table(self.path, f"{self.prefix}{key}.", value)

    def _full(self, *keys: Sequence[str]) -> list[str]:
        return [self.prefix + key for some in keys for key in some]


def _fractions(table: _Table) -> tuple[float, ...]:
    """Return fractions written as texts such as "1/6", ascending in 0..1: one part each."""
    found = []
    for text in table.texts("support_fractions"):
        try:
            fraction = Fraction(text)
        except (ValueError, ZeroDivisionError):
            table.fail("support_fractions", f'holds {text!r}, wanted fractions such as "1/6"')
        if not 0 <= fraction < 1:
            table.fail("support_fractions", f"holds {text!r}, wanted fractions from 0 to below 1")
        found.append(fraction.numerator / fraction.denominator)
    if found != sorted(set(found)):
        table.fail(
            "support_fractions", f"is {table.content['support_fractions']!r}, wanted ascending fractions"
        )
    return tuple(found)


def _normalisation(table: _Table) -> dict[str, str]:
    table.only(*MODALITIES)
    return {modality: table.choice(modality, NORMALISATIONS) for modality in MODALITIES}


def _groups(table: _Table) -> dict[str, tuple[str, ...]]:
    for name in table.content:
        checked_name(f"{table.path}: group", name)
    groups = {name: table.texts(name) for name in table.content}
    for name, classes in groups.items():
        for class_name in classes:
            checked_name(f"{table.path}: class of group {name}", class_name)
    return groups


def _folds(table: _Table) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return (dataset, fold borders) of lists of [start, stop) positions, which must join without overlap."""
    found = []
    for dataset, folds in table.content.items():
        pairs = isinstance(folds, list) and all(
            isinstance(pair, list) and len(pair) == 2 and all(type(end) is int for end in pair)
            for pair in folds
        )
        if not pairs or not folds:
            table.fail(
                dataset, f"is {folds!r}, wanted [start, stop] positions of each fold, stop not included"
            )
        for number, (start, stop) in enumerate(folds):
            if not 0 <= start < stop:
                table.fail(dataset, f"holds fold {number} {[start, stop]}, wanted 0 <= start < stop")
        for number, (before, after) in enumerate(pairwise(folds), start=1):
            if after[0] < before[1]:
                table.fail(dataset, f"holds fold {number} {after}, which overlaps fold {number - 1} {before}")
            if after[0] > before[1]:
                table.fail(
                    dataset,
                    f"holds fold {number} {after}, which leaves a gap after fold {number - 1} {before}",
                )
        if folds[0][0] != 0:
            table.fail(dataset, f"begins with fold {folds[0]}, wanted position 0 first")
        found.append((dataset, (0, *(stop for _start, stop in folds))))
    return tuple(found)
