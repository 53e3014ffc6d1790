"""The record of one cell, as frozen parts: what its inputs determine, and on what it was computed.

A record is made by `Record.from_json` or `checked_record`, which hold it to the form of its annotations and
to what its parts must agree in. Ratios are in [0, 1], counts in pixels.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fewshot.base.atomic_io import canonical_json
from fewshot.base.errors import UserError
from results.metrics.counts import dice
from results.records.record_json import FormError, Rule, part_json, read_part

SCHEMA: Literal[2] = 2
HYBRID = "hybrid"  # how the mark of a model begins that was trained under other rules than it is tested by


def _is_integer(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _is_plain(value: Any) -> bool:
    """Say whether a value is JSON without NaN or infinity."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | str) or _is_finite(value)


def _matches(pattern: str) -> Callable[[Any], bool]:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


Text = Annotated[str, Rule("a text", lambda value: isinstance(value, str) and value != "")]
Name = Annotated[str, Rule("a name", _matches(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"))]
Hex = Annotated[str, Rule("16 to 64 hex digits", _matches(r"[0-9a-f]{16,64}"))]
Count = Annotated[int, Rule("an integer of at least 0", lambda value: _is_integer(value, 0))]
Positive = Annotated[int, Rule("an integer of at least 1", lambda value: _is_integer(value, 1))]
Ratio = Annotated[float, Rule("a number in 0..1", lambda value: _is_finite(value) and 0 <= value <= 1)]
Plain = Annotated[
    Mapping[str, Any],
    Rule("a plain JSON object", lambda value: isinstance(value, dict) and _is_plain(value)),
]


@dataclass(frozen=True)
class ProtocolPart:
    """The rules of evaluation, by name, version and hash of their content."""

    name: Name
    version: Positive
    hash: Hex


@dataclass(frozen=True)
class DatasetPart:
    """A prepared dataset; `prepared_by`: this program, or the files of a paper's authors."""

    name: Name
    hash: Hex
    prepared_by: Literal["fewshot", "published-layout", "unknown"]


@dataclass(frozen=True)
class GridPart:
    """All cells of the complete table: the number of folds, and group -> its classes."""

    folds: Positive
    groups: Mapping[str, tuple[Name, ...]]


@dataclass(frozen=True)
class MethodPart:
    """The method as configured.

    `version`: number of a built-in method, None for a user's own; `source`: digest of a user's own file, or
    of masks that another program wrote, None for a built-in method; `files`: option -> sha256 of the file it
    names.
    """

    name: Text
    version: Positive | None
    source: Hex | None
    options: Plain
    files: Mapping[str, Hex]
    regime: Text
    labels_used: Literal["none", "training-group", "target", "external"]


@dataclass(frozen=True)
class WeightsPart:
    """Initial weights; `sha256` of their file where there is one for all cells."""

    name: Text
    sha256: Hex | None


@dataclass(frozen=True)
class MachinePart:
    """A machine that trained; None where a fact is not known."""

    device: Text
    processor: Text | None
    threads: Positive | None
    torch: Text


@dataclass(frozen=True)
class StagePart:
    """One stage of a training in stages, in their order; a backbone's saw `images` of `source`.

    `skipped_episodes` is None for a backbone's stage, and where an older record does not know it.
    """

    name: Text
    key: Text | None = None
    steps: Count | None = None
    source: Text | None = None
    images: Count | None = None
    skipped_episodes: Count | None = None


@dataclass(frozen=True)
class LabelsPart:
    """The labels of the training group that a training saw.

    `in_place_of`: scans of the fold's supports that could not be used, where others stood in for them.
    """

    classes: tuple[Name, ...]
    support_scans: tuple[Name, ...]
    slices: Count
    hash: Hex
    in_place_of: tuple[Name, ...] | None = None


@dataclass(frozen=True)
class SelectedPart:
    """The checkpoint that a policy chose: `step` of `candidates`, by its mean Dice `on` what."""

    step: Count
    candidates: tuple[Count, ...]
    on: Text
    dice: Ratio


@dataclass(frozen=True, kw_only=True)
class ModelPart:
    """The model that was evaluated.

    `finite`: whether all weights were finite when loaded, None without weights. `trained_on`: every machine
    that the training ran on, empty where nothing was trained here or that is not known. `name`: what the user
    calls an external checkpoint. `recipe`, `precision`, `answer_precision`, `compiled`, `stages`, `labels`
    and `selected` are absent from JSON where they do not apply.
    """

    key: Text | None
    encoder: Text | None
    initial_weights: WeightsPart | None
    steps: Count | None
    seed: int
    checkpoint: Literal["last", "validation", "oracle", "external", "none"]
    skipped_episodes: Count | None
    finite: bool | None
    trained_on: tuple[MachinePart, ...]
    name: Text | None
    recipe: Plain | None = None
    precision: Text | None = None
    answer_precision: Text | None = None
    compiled: bool | None = None
    stages: tuple[StagePart, ...] | None = None
    labels: LabelsPart | None = None
    selected: SelectedPart | None = None


@dataclass(frozen=True)
class TrainingPart:
    """The scans and slices trained on; `excluded_seen`: excluded slices that pre-training saw anyway."""

    scans: tuple[Name, ...]
    slices: Count
    slices_excluded: Count
    excluded_seen: Positive | None = None


@dataclass(frozen=True)
class Score:
    """Counts of one class in one query scan from one set of supports; `undefined`: why there is no Dice."""

    class_name: Name = field(metadata={"key": "class"})
    scan: Name
    supports: tuple[Name, ...]
    slices: Count
    tp: Count
    fp: Count
    fn: Count
    dice: Ratio | None
    undefined: Text | None


@dataclass(frozen=True)
class EnvironmentPart:
    """The program and the machine that evaluated; None where a fact is not known."""

    fewshot: Text
    commit: Text | None
    dirty: bool | None
    python: Text
    torch: Text
    device: Text
    threads: Positive | None
    processor: Text | None


@dataclass(frozen=True, kw_only=True)
class Record:
    """One cell: one fold and group of tested classes, one method as configured, one seed.

    `grid` tells a table made of records alone which cells are missing. `versions`: shared part of the program
    -> its number, for those parts that move numbers. `queries`: whether the learner saw one query slice a
    call, or all of a part together. `fallback_slices`: query slices segmented by the method's fallback.
    `audits`: marks that a reader must see; `checks`: audits that passed. `key` names the cell and its file in
    a work folder; records of schema 1 had other keys, so those carried over have none.
    """

    schema: Literal[2]
    protocol: ProtocolPart
    dataset: DatasetPart
    train_dataset: DatasetPart | None
    grid: GridPart
    setting: Literal[1, 2]
    fold: Count
    group: Name
    shots: Positive
    parts: Positive
    plan_hash: Hex
    method: MethodPart
    versions: Mapping[str, Positive]
    queries: Literal["alone", "together"]
    model: ModelPart
    training: TrainingPart
    audits: tuple[Text, ...]
    fallback_slices: Count
    scores: tuple[Score, ...]
    environment: EnvironmentPart
    checks: tuple[Text, ...] = ()
    key: Hex | None = None

    @classmethod
    def from_json(cls, value: Any, source: str = "record") -> Record:
        """Return the record that a JSON value holds.

        Args:
            value: what `json.loads` returned.
            source: file, or file and line, that messages begin with.

        Raises:
            UserError: one line with the source, the key, its value and what was expected: for another schema,
                a missing, unknown or wrong key, a ratio that contradicts its counts, a class of another
                group, a score that stands twice.
        """
        schema = value.get("schema") if isinstance(value, dict) else None
        if type(schema) is int and schema != SCHEMA:
            raise UserError(
                f"{source}: schema is {schema}, wanted {SCHEMA}: another version of this program wrote it; "
                "run the cell again"
            )
        try:
            record = read_part(cls, value)
        except FormError as error:
            raise _refusal(source, str(error)) from None
        fault = _contradiction(record)
        if fault is not None:
            raise _refusal(source, fault)
        return record

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values."""
        plain: dict[str, Any] = part_json(self)
        return plain


def checked_record(record: Record, source: str = "record") -> Record:
    """Return the record as it reads back from its JSON; `UserError` as `Record.from_json` raises it."""
    try:
        text = canonical_json(record.to_json())
    except ValueError as error:
        raise _refusal(source, f"a value is not finite ({error})") from None
    return Record.from_json(json.loads(text), source)


def _refusal(source: str, fault: str) -> UserError:
    return UserError(f"{source}: {fault}; delete it and run the cell again")


def _contradiction(record: Record) -> str | None:
    """Return what contradicts itself in a record of the right form, or None."""
    grid, group = record.grid, record.group
    if (record.method.version is None) == (record.method.source is None):
        given = f"{record.method.version} and {record.method.source}"
        return f"method.version and method.source are {given}, wanted exactly one of them"
    if record.fold >= grid.folds:
        return f"fold is {record.fold}, wanted less than grid.folds {grid.folds}"
    if group not in grid.groups:
        return f"group is {group!r}, wanted one of grid.groups: {', '.join(sorted(grid.groups))}"
    hybrid = any(mark.startswith(HYBRID) for mark in record.audits)
    if record.setting == 1 and record.training.slices_excluded and not hybrid:
        return f"training.slices_excluded is {record.training.slices_excluded}, wanted 0 in setting 1"
    seen = set()
    for number, score in enumerate(record.scores):
        where = f"scores[{number}]"
        if score.class_name not in grid.groups[group]:
            return f"{where}.class is {score.class_name!r}, wanted a class of group {group!r}"
        key = (score.class_name, score.scan, score.supports)
        if key in seen:
            return f"{where} repeats class {key[0]!r} of scan {key[1]!r}, wanted one score each"
        seen.add(key)
        fault = _score_fault(score)
        if fault is not None:
            return f"{where}{fault}"
    unscored = sorted(set(grid.groups[group]) - {score.class_name for score in record.scores})
    return f"scores hold none of class {unscored[0]!r} of group {group!r}" if unscored else None


def _score_fault(score: Score) -> str | None:
    counts = score.tp, score.fp, score.fn
    if score.undefined is not None:
        if score.dice is not None or any(counts):
            return f".dice is {score.dice} of counts {counts}, wanted null and zeros where undefined"
        return None
    expected = dice(*counts)
    if expected is None:
        return ".undefined is null, wanted a reason where no pixel was counted"
    if score.dice != expected:
        return f".dice is {score.dice}, wanted {expected} = 2 tp / (2 tp + fp + fn) of its counts"
    return None
