"""The record of one cell as frozen dataclasses: its inputs, its scores and the machine that computed them.

`Record.from_json` and `checked_record` make records. They check the types of all fields and that the fields
agree with each other. Ratios are in [0, 1], counts in pixels.
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
HYBRID = "hybrid"  # prefix of the mark of a model that was trained under other rules than it is tested under


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
    """A prepared dataset; `prepared_by`: this program, or files that a paper's authors released."""

    name: Name
    hash: Hex
    prepared_by: Literal["fewshot", "published-layout", "unknown"]


@dataclass(frozen=True)
class GridPart:
    """All cells of the complete table: the number of folds, and the classes of each group."""

    folds: Positive
    groups: Mapping[str, tuple[Name, ...]]


@dataclass(frozen=True)
class MethodPart:
    """The method as configured.

    Attributes:
        version: number of a built-in method; None for a user's own method.
        source: digest of a user's own file or of masks from another program; None for a built-in method.
        files: option -> sha256 of the file that it names.
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
    """Initial weights; `sha256` of their file if all cells share one file, else None."""

    name: Text
    sha256: Hex | None


@dataclass(frozen=True)
class MachinePart:
    """A machine that ran training; None for an unknown fact."""

    device: Text
    processor: Text | None
    threads: Positive | None
    torch: Text


@dataclass(frozen=True)
class StagePart:
    """One stage of a training in stages; a backbone stage was trained on `images` images of `source`.

    `skipped_episodes` is None for a backbone stage and in older records.
    """

    name: Text
    key: Text | None = None
    steps: Count | None = None
    source: Text | None = None
    images: Count | None = None
    skipped_episodes: Count | None = None


@dataclass(frozen=True)
class LabelsPart:
    """The labels of the training group that training used.

    `in_place_of`: supports of the fold that could not be used; `support_scans` replaced them.
    """

    classes: tuple[Name, ...]
    support_scans: tuple[Name, ...]
    slices: Count
    hash: Hex
    in_place_of: tuple[Name, ...] | None = None


@dataclass(frozen=True)
class SelectedPart:
    """The checkpoint that a policy chose: `step` among `candidates`, by its mean `dice` on the scans `on`."""

    step: Count
    candidates: tuple[Count, ...]
    on: Text
    dice: Ratio


@dataclass(frozen=True, kw_only=True)
class ModelPart:
    """The model that was evaluated. JSON leaves out a field with a default if it does not apply.

    Attributes:
        finite: whether all weights were finite when loaded; None without weights.
        trained_on: every machine that ran the training; empty without training here or if unknown.
        name: the user's name for an external checkpoint.
        precision: precision of training.
        answer_precision: encoder precision during evaluation, unless it is float32.
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
    """The training scans and slices; `excluded_seen`: excluded slices that pre-training saw anyway."""

    scans: tuple[Name, ...]
    slices: Count
    slices_excluded: Count
    excluded_seen: Positive | None = None


@dataclass(frozen=True)
class Score:
    """Counts of one class in one query scan from one support set; `undefined`: why there is no Dice."""

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
    """The program and the machine that ran the evaluation; None for an unknown fact."""

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
    """One cell: one fold and group of tested classes, one configured method, one seed.

    Attributes:
        grid: all cells of the complete table, so that a table can name the missing ones.
        versions: version of each shared part of the program that can change numbers.
        queries: whether the learner saw one query slice per call ("alone") or all of a part ("together").
        fallback_slices: query slices segmented by the method's fallback.
        audits: marks that a reader must see.
        checks: audits that passed.
        key: name of the cell and of its file in a work folder; None in records converted from schema 1.
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
            value: the result of `json.loads`.
            source: prefix of error messages: a file, or a file and a line.

        Raises:
            UserError: another schema; a missing, unknown or wrong key; a ratio that contradicts its counts;
                a class of another group; a repeated score. The line names the source, the key, its value
                and the expected value.
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
    """Return the record as read back from its JSON; raise the `UserError` of `Record.from_json`."""
    try:
        text = canonical_json(record.to_json())
    except ValueError as error:
        raise _refusal(source, f"a value is not finite ({error})") from None
    return Record.from_json(json.loads(text), source)


def _refusal(source: str, fault: str) -> UserError:
    return UserError(f"{source}: {fault}; delete it and run the cell again")


def _contradiction(record: Record) -> str | None:
    """Return the first contradiction between the fields of a well-formed record, or None."""
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
