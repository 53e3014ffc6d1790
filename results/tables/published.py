"""Dice that papers report: read from `published.csv`, checked, kept apart from what is measured here.

A row is what one source prints for one method, dataset and setting. Nothing is corrected: a mean that is not
the mean of its classes, or a row that repeats another method's, keeps its numbers and gets a mark.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fewshot.base.errors import UserError

PUBLISHED = Path(__file__).resolve().parent.parent / "data" / "published.csv"
KEYS = (
    "method", "dataset", "setting", "organ", "dice", "kind", "reported_by", "source_url", "caveat",
    "protocol", "learner",
)  # fmt: skip
DATASETS = {"Abd-MRI": "chaost2", "Abd-CT": "sabs", "CMR": "cmr"}
ORGANS = {
    "Liver": "liver", "RK": "right-kidney", "LK": "left-kidney", "Spleen": "spleen", "RV": "rv",
    "LV-MYO": "lv-myo", "LV-BP": "lv-bp", "mean": "mean",
}  # fmt: skip
KINDS = {
    "own": "by the method's authors",
    "quoted": "quoted by a later paper",
    "rerun": "measured again by others",
}
ROUNDING = 0.01  # percent: half a digit of the printed mean, half a digit of the mean of printed classes


@dataclass(frozen=True)
class PublishedRow:
    """What one source prints: percent by class, and its mean; `protocol` and `learner` where known.

    `learner` is the name under which this project has the method; `marks` are what the check found.
    """

    method: str
    dataset: str
    setting: int
    dice: Mapping[str, float]
    mean: float
    kind: str
    reported_by: str
    source_url: str
    caveat: str
    protocol: str | None
    learner: str | None
    marks: tuple[str, ...] = ()


def read_published(path: Path = PUBLISHED) -> list[PublishedRow]:
    """Return the rows of a file in its order, marked; a line that breaks the form is a `UserError`."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            if tuple(reader.fieldnames or ()) != KEYS:
                raise UserError(f"{path}: columns are {reader.fieldnames}, wanted {', '.join(KEYS)}")
            lines = [(reader.line_num, line) for line in reader]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give the file of published Dice") from None
    found: dict[tuple[str, str, str, str], list[dict[str, str]]] = {}
    for number, line in lines:
        _check(line, f"{path}:{number}")
        key = (line["method"], line["dataset"], line["setting"], line["reported_by"])
        found.setdefault(key, []).append(line)
    return marked([_row(some, path) for some in found.values()])


def marked(rows: Sequence[PublishedRow]) -> list[PublishedRow]:
    """Return the rows with what the check finds in them: a mean that is none, numbers of another row."""
    return [replace(row, marks=(*_mean_mark(row), *_repeat_marks(row, rows))) for row in rows]


def name_of(row: PublishedRow) -> str:
    """Return method, dataset, setting and source of a row, to tell it from all others."""
    return f"{row.method} on {row.dataset}, setting {row.setting} ({row.reported_by})"


def _mean_mark(row: PublishedRow) -> tuple[str, ...]:
    mean = statistics.fmean(row.dice.values())
    if abs(row.mean - mean) <= ROUNDING + 1e-9:
        return ()
    return (f"printed mean {row.mean:.2f} is not the mean of its classes, {mean:.2f}",)


def _repeat_marks(row: PublishedRow, rows: Sequence[PublishedRow]) -> tuple[str, ...]:
    """Name rows that hold the same numbers; a quotation of one method by several sources repeats nothing."""
    found = []
    for other in rows:
        same_question = (other.method, other.dataset, other.setting) == (row.method, row.dataset, row.setting)
        if other is row or other.dice.keys() != row.dice.keys() or (same_question and row.kind != "rerun"):
            continue
        if _close([other.dice[name] for name in row.dice], list(row.dice.values())):
            found.append(f"same numbers as {name_of(other)}")
        elif _close(sorted(other.dice.values()), sorted(row.dice.values())):
            found.append(f"same numbers in another order as {name_of(other)}")
    return tuple(found)


def _close(some: Sequence[float], others: Sequence[float]) -> bool:
    return all(abs(one - other) <= ROUNDING + 1e-9 for one, other in zip(some, others, strict=True))


def _check(line: Mapping[str | None, str | None], where: str) -> None:
    """Raise `UserError` where one line is not of the form."""
    if None in line or None in line.values():
        raise UserError(f"{where}: wanted {len(KEYS)} fields; quote a field that holds a comma")
    wanted: dict[str, Sequence[str]] = {"dataset": tuple(DATASETS), "setting": ("1", "2")}
    wanted |= {"organ": tuple(ORGANS), "kind": tuple(KINDS)}
    for key, values in wanted.items():
        if line[key] not in values:
            raise UserError(f"{where}: {key} is {line[key]!r}, wanted one of {', '.join(values)}")
    for key in ("method", "reported_by", "source_url"):
        if not line[key]:
            raise UserError(f"{where}: {key} is empty; say what the number is of and where it is printed")
    try:
        fits = 0 <= float(line["dice"] or "") <= 100
    except ValueError:
        fits = False
    if not fits:
        raise UserError(f"{where}: dice is {line['dice']!r}, wanted percent in 0..100")


def _row(some: Sequence[Mapping[str, str]], path: Path) -> PublishedRow:
    """Return the row of its lines; they must agree in all but the organ, and one must be the mean."""
    first = some[0]
    name = f"{path}: {first['method']} on {first['dataset']}, setting {first['setting']}"
    shared = ("kind", "source_url", "caveat", "protocol", "learner")
    for key in shared:
        if any(line[key] != first[key] for line in some):
            raise UserError(f"{name}: lines differ in {key}; give all lines of one row the same")
    dices = {ORGANS[line["organ"]]: float(line["dice"]) for line in some}
    if len(dices) != len(some):
        raise UserError(f"{name}: an organ is there twice; keep one line of each")
    if "mean" not in dices or len(dices) == 1:
        raise UserError(f"{name}: has {', '.join(dices)}, wanted organs and the printed mean")
    return PublishedRow(
        method=first["method"],
        dataset=DATASETS[first["dataset"]],
        setting=int(first["setting"]),
        dice={organ: dice for organ, dice in dices.items() if organ != "mean"},
        mean=dices["mean"],
        kind=first["kind"],
        reported_by=first["reported_by"],
        source_url=first["source_url"],
        caveat=first["caveat"],
        protocol=first["protocol"] or None,
        learner=first["learner"] or None,
    )
