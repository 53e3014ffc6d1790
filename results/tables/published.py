"""Published Dice, read from `published.csv` and checked; it never mixes with numbers measured here.

A row holds the numbers that one source prints for one method, dataset and setting. Nothing is corrected: a
printed mean that does not match its classes, or numbers repeated from another row, get a mark.
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
    """The numbers of one source for one method, dataset and setting, in percent.

    Attributes:
        dice: Dice by class.
        mean: the printed mean.
        kind: a key of `KINDS`.
        protocol: name of the protocol, None if unknown.
        learner: name of the method in this project, None if it is not here.
        marks: findings of the check.
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
    """Return the rows of a file in its order, with marks; raise `UserError` for a malformed line."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            if tuple(reader.fieldnames or ()) != KEYS:
                raise UserError(f"{path}: columns are {reader.fieldnames}, expected {', '.join(KEYS)}")
            lines = [(reader.line_num, line) for line in reader]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give the file of published Dice") from None
    lines_of: dict[tuple[str, str, str, str], list[dict[str, str]]] = {}
    for number, line in lines:
        _check(line, f"{path}:{number}")
        key = (line["method"], line["dataset"], line["setting"], line["reported_by"])
        lines_of.setdefault(key, []).append(line)
    return marked([_row(group, path) for group in lines_of.values()])


def marked(rows: Sequence[PublishedRow]) -> list[PublishedRow]:
    """Return the rows with marks: a printed mean that does not match its classes, or repeated numbers."""
    return [replace(row, marks=(*_mean_mark(row), *_repeat_marks(row, rows))) for row in rows]


def name_of(row: PublishedRow) -> str:
    """Return method, dataset, setting and source of a row, which identify it."""
    return f"{row.method} on {row.dataset}, setting {row.setting} ({row.reported_by})"


def _mean_mark(row: PublishedRow) -> tuple[str, ...]:
    mean = statistics.fmean(row.dice.values())
    if abs(row.mean - mean) <= ROUNDING + 1e-9:
        return ()
    return (f"printed mean {row.mean:.2f} is not the mean of its classes, {mean:.2f}",)


def _repeat_marks(row: PublishedRow, rows: Sequence[PublishedRow]) -> tuple[str, ...]:
    """Return a mark for each row with the same numbers, except quotations of the same result."""
    marks = []
    for other in rows:
        same_question = (other.method, other.dataset, other.setting) == (row.method, row.dataset, row.setting)
        if other is row or other.dice.keys() != row.dice.keys() or (same_question and row.kind != "rerun"):
            continue
        if _close([other.dice[name] for name in row.dice], list(row.dice.values())):
            marks.append(f"same numbers as {name_of(other)}")
        elif _close(sorted(other.dice.values()), sorted(row.dice.values())):
            marks.append(f"same numbers in another order as {name_of(other)}")
    return tuple(marks)


def _close(values: Sequence[float], others: Sequence[float]) -> bool:
    return all(abs(value - other) <= ROUNDING + 1e-9 for value, other in zip(values, others, strict=True))


def _check(line: Mapping[str | None, str | None], where: str) -> None:
    """Raise `UserError` if a line of the file is malformed."""
    if None in line or None in line.values():
        raise UserError(f"{where}: expected {len(KEYS)} fields; quote a field that holds a comma")
    choices: dict[str, Sequence[str]] = {"dataset": tuple(DATASETS), "setting": ("1", "2")}
    choices |= {"organ": tuple(ORGANS), "kind": tuple(KINDS)}
    for key, values in choices.items():
        if line[key] not in values:
            raise UserError(f"{where}: {key} is {line[key]!r}, expected one of {', '.join(values)}")
    for key in ("method", "reported_by", "source_url"):
        if not line[key]:
            raise UserError(f"{where}: {key} is empty; say what the number is of and where it is printed")
    try:
        fits = 0 <= float(line["dice"] or "") <= 100
    except ValueError:
        fits = False
    if not fits:
        raise UserError(f"{where}: dice is {line['dice']!r}, expected percent in 0..100")


def _row(lines: Sequence[Mapping[str, str]], path: Path) -> PublishedRow:
    """Return the row that lines describe; they differ only in organ and Dice, and one is the mean."""
    first = lines[0]
    name = f"{path}: {first['method']} on {first['dataset']}, setting {first['setting']}"
    shared = ("kind", "source_url", "caveat", "protocol", "learner")
    for key in shared:
        if any(line[key] != first[key] for line in lines):
            raise UserError(f"{name}: lines differ in {key}; give all lines of one row the same")
    dices = {ORGANS[line["organ"]]: float(line["dice"]) for line in lines}
    if len(dices) != len(lines):
        raise UserError(f"{name}: an organ is there twice; keep one line of each")
    if "mean" not in dices or len(dices) == 1:
        raise UserError(f"{name}: has {', '.join(dices)}, expected organs and the printed mean")
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
