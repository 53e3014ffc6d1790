"""The parts of a record: frozen dataclasses whose annotations are the schema of their JSON.

Ratios are in [0, 1], counts in pixels. The JSON must hold every field without a default, with null for None.
It leaves out a field that equals its default.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fewshot.base.errors import HIDDEN
from fewshot.files.names import is_name
from results.records.record_json import Rule


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


def _is_text(value: Any) -> bool:
    """Say whether a value is one line of text without hidden characters, which would reach a terminal."""
    return isinstance(value, str) and value != "" and not HIDDEN.search(value) and "\n" not in value


def _is_method_name(value: Any) -> bool:
    return _is_text(value) and re.fullmatch(r"[^\W_][^/\\\t]{0,199}", value) is not None


Text = Annotated[str, Rule("one line of text without control characters", _is_text)]
Name = Annotated[str, Rule("a name", is_name)]
MethodName = Annotated[str, Rule("a method's name without /, \\ and control characters", _is_method_name)]
ModelKey = Annotated[str, Rule("a model's key", _matches(r"(external-)?[0-9a-f]{16}"))]
Hex = Annotated[str, Rule("16 to 64 hex digits", _matches(r"[0-9a-f]{16,64}"))]
Count = Annotated[int, Rule("an integer of at least 0", lambda value: _is_integer(value, 0))]
Positive = Annotated[int, Rule("an integer of at least 1", lambda value: _is_integer(value, 1))]
Folds = Annotated[int, Rule("1 to 1000 folds", lambda value: _is_integer(value, 1) and value <= 1000)]
Ratio = Annotated[float, Rule("a number in 0..1", lambda value: _is_finite(value) and 0 <= value <= 1)]
Millimetres = Annotated[float, Rule("a finite number of mm", _is_finite)]
Length = Annotated[float, Rule("a length of at least 0", lambda value: _is_finite(value) and value >= 0)]
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

    folds: Folds
    groups: Mapping[Name, tuple[Name, ...]]


@dataclass(frozen=True)
class MethodPart:
    """The method as configured.

    Attributes:
        version: number of a built-in method; None for a user's own method.
        source: digest of a user's own file or of masks from another program; None for a built-in method.
        files: option -> sha256 of the file that it names.
        needs: what the harness gave besides grey slices (`fewshot/identity/regimes.py`); None: nothing.
    """

    name: MethodName
    version: Positive | None
    source: Hex | None
    options: Plain
    files: Mapping[str, Hex]
    regime: Text
    labels_used: Literal["none", "training-group", "target", "external"]
    needs: tuple[Text, ...] | None = None


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

    Backbone stages and older records have no `skipped_episodes`.
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

    `in_place_of`: supports of the fold that could not be used; `support_scans` replaced them. `sentences`:
    where the sentences of a text-supervised method are from.
    """

    classes: tuple[Name, ...]
    support_scans: tuple[Name, ...]
    slices: Count
    hash: Hex
    in_place_of: tuple[Name, ...] | None = None
    sentences: Text | None = None


@dataclass(frozen=True)
class PseudoLabelsPart:
    """Pseudo-labels of the last training stage: superpixels or supervoxels, and the hash of their maps."""

    kind: Text
    hash: Hex


@dataclass(frozen=True)
class SelectedPart:
    """The checkpoint that a policy chose: `step` among `candidates`, by its mean `dice` on the scans `on`.

    `dices` holds the mean Dice of every candidate, in their order: the learning curve on those scans. It is
    empty in records of earlier versions.
    """

    step: Count
    candidates: tuple[Count, ...]
    on: Text
    dice: Ratio
    dices: tuple[Ratio, ...] = ()


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

    key: ModelKey | None
    encoder: Text | None
    initial_weights: WeightsPart | None
    steps: Count | None
    seed: int
    checkpoint: Literal["last", "validation", "oracle", "external", "none"]
    skipped_episodes: Count | None
    finite: bool | None
    trained_on: tuple[MachinePart, ...]
    name: Name | None
    recipe: Plain | None = None
    precision: Text | None = None
    answer_precision: Text | None = None
    compiled: bool | None = None
    stages: tuple[StagePart, ...] | None = None
    labels: LabelsPart | None = None
    pseudo_labels: PseudoLabelsPart | None = None
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
class LandmarkScore:
    """Points of one class in one query scan from one support set; lengths in mm.

    Attributes:
        true: number of true points in the scored slices.
        points_mm: the predicted points (z,y,x) there.
        distances_mm: distances of the pairs of a one-to-one matching.
    """

    class_name: Name = field(metadata={"key": "class"})
    scan: Name
    supports: tuple[Name, ...]
    slices: Count
    true: Count
    points_mm: tuple[tuple[Millimetres, ...], ...]
    distances_mm: tuple[Length, ...]


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
