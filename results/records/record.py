"""The record of one cell as frozen dataclasses: its inputs, its scores and the machine that computed them.

`Record.from_json` and `checked_record` make records. They check the types of all fields and that the fields
agree with each other. Ratios are in [0, 1], counts in pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fewshot.base.errors import UserError
from fewshot.files.atomic_io import canonical_json
from results.metrics.counts import dice
from results.records.record_json import FormError, part_json, read_part
from results.records.record_parts import (
    Count,
    DatasetPart,
    EnvironmentPart,
    GridPart,
    Hex,
    LandmarkScore,
    MethodPart,
    ModelPart,
    Name,
    Positive,
    ProtocolPart,
    Score,
    Text,
    TrainingPart,
)

SCHEMA: Literal[2] = 2
HYBRID = "hybrid"  # prefix of the mark of a model that was trained under other rules than it is tested under


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
        landmarks: points beside the masks, on a dataset that has points.
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
    landmarks: tuple[LandmarkScore, ...] = ()
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
                f"{source}: schema is {schema}, expected {SCHEMA}: another version of this program wrote it; "
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
        return f"method.version and method.source are {given}, expected exactly one of them"
    if record.fold >= grid.folds:
        return f"fold is {record.fold}, expected less than grid.folds {grid.folds}"
    if group not in grid.groups:
        return f"group is {group!r}, expected one of grid.groups: {', '.join(sorted(grid.groups))}"
    hybrid = any(mark.startswith(HYBRID) for mark in record.audits)
    if record.setting == 1 and record.training.slices_excluded and not hybrid:
        return f"training.slices_excluded is {record.training.slices_excluded}, expected 0 in setting 1"
    seen = set()
    for number, score in enumerate(record.scores):
        where = f"scores[{number}]"
        if score.class_name not in grid.groups[group]:
            return f"{where}.class is {score.class_name!r}, expected a class of group {group!r}"
        key = (score.class_name, score.scan, score.supports)
        if key in seen:
            return f"{where} repeats class {key[0]!r} of scan {key[1]!r}, expected one score each"
        seen.add(key)
        fault = _score_fault(score) or _seen_fault(score, record)
        if fault is not None:
            return f"{where}{fault}"
    fault = _landmark_fault(record)
    if fault is not None:
        return fault
    unscored = sorted(set(grid.groups[group]) - {score.class_name for score in record.scores})
    return f"scores hold none of class {unscored[0]!r} of group {group!r}" if unscored else None


def _landmark_fault(record: Record) -> str | None:
    """Return why landmarks contradict the scores or their own counts, or None."""
    scored = {(score.class_name, score.scan, score.supports) for score in record.scores}
    for number, each in enumerate(record.landmarks):
        if (each.class_name, each.scan, each.supports) not in scored:
            return f"landmarks[{number}].scan is {each.scan!r}, expected one that scores hold"
        pairs, most = len(each.distances_mm), min(each.true, len(each.points_mm))
        if pairs > most:
            return f"landmarks[{number}].distances_mm holds {pairs} pairs, expected at most {most}"
        if any(len(point) != 3 for point in each.points_mm):
            return f"landmarks[{number}].points_mm holds a point without 3 numbers, expected (z,y,x)"
    return None


def _seen_fault(score: Score, record: Record) -> str | None:
    """Return why a query scan must not be what supports it or trained the model, or None."""
    if score.scan in score.supports:
        return f".supports hold the query scan {score.scan!r}, expected other scans"
    if record.train_dataset is not None:  # the training scans are of another dataset
        return None
    if score.scan in record.training.scans:
        return (
            f".scan is {score.scan!r}, which training.scans hold, expected a scan that training did not see"
        )
    if record.model.labels is not None and score.scan in record.model.labels.support_scans:
        return f".scan is {score.scan!r}, which model.labels.support_scans hold, expected another scan"
    return None


def _score_fault(score: Score) -> str | None:
    counts = score.tp, score.fp, score.fn
    if score.undefined is not None:
        if score.dice is not None or any(counts):
            return f".dice is {score.dice} of counts {counts}, expected null and zeros where undefined"
        return None
    expected = dice(*counts)
    if expected is None:
        return ".undefined is null, expected a reason where no pixel was counted"
    if score.dice != expected:
        return f".dice is {score.dice}, expected {expected} = 2 tp / (2 tp + fp + fn) of its counts"
    return None
