"""The leaderboard of one question: rows of methods with intervals and ranks, published numbers beside them.

A question is protocol (with version and hash), dataset (with hash), setting, shots, parts and grid. Records
of another question never enter a board; `Board.left_out` names them and the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fewshot.base.errors import UserError, unknown_name
from fewshot.identity.regimes import FEW_SHOT, REGIMES, YARDSTICK, regime_block
from results.inference.interval import Interval, t_interval
from results.inference.ranks import rank_intervals
from results.inference.row_values import RowValues, depends_on_seed, frame_values, sample_of
from results.inference.sample import Sample
from results.metrics.measures import MEASURES
from results.records.record import Record
from results.summary.comparability import has_random_start, reason_of_cells, recipe_marks
from results.summary.configuration_result import configuration_results
from results.summary.frame import Means, spread_of_folds
from results.summary.seed_average import SeedAverage, average_seeds, labels, values_of
from results.summary.select_records import question_text, select_question
from results.tables.published import PublishedRow

if TYPE_CHECKING:
    from results.leaderboard.board_distances import BoardDistances

INCOMPLETE, UNDEFINED = "incomplete", "undefined"
MARKS = {
    "I": "incomplete: cells are missing; no mean is made of the rest, and no rank",
    "L": "trained with labels of the training group",
    "T": "trained with labels of the tested classes",
    "E": "weights trained elsewhere, with masks or in an unknown way",
    "V": "checkpoint chosen with labels of the tested classes, on a training scan (validation)",
    "O": "checkpoint chosen on the test fold (oracle)",
    "R": "RANDOM initial weights, not pre-trained: not comparable with published numbers",
    "W": "initial weights not known",
    "N": "not the published recipe, see the notes: not comparable with published numbers",
    "Y": "yardstick: no learner",
    "1": "1 seed: the interval covers folds alone, not the choice of a seed; no significance is claimed",
    "!": "marked by its audit, see the notes",
}


@dataclass(frozen=True)
class Number:
    """One number of a row.

    Attributes:
        mean: mean over folds, seeds averaged first.
        std: deviation over folds (n-1).
        interval: t interval over folds and seeds.
        scan_std: deviation (n-1) over query scans; a scan that several folds query counts once.
        state: reason of a missing mean: `INCOMPLETE` or `UNDEFINED`.
    """

    mean: float | None
    std: float | None = None
    interval: Interval | None = None
    scan_std: float | None = None
    state: str = ""


@dataclass(frozen=True)
class LeaderboardRow:
    """A row of the board.

    Attributes:
        numbers: one per column of the board, in order.
        rank: 1 is the best; None without a mean.
        ranks: 95 % interval of the rank; None for a row with one seed.
        undefined: number of undefined scores.
        scores: number of all scores.
    """

    row: SeedAverage
    label: str
    marks: str
    numbers: tuple[Number, ...]
    rank: int | None
    ranks: tuple[int, int] | None
    undefined: int
    scores: int

    @property
    def mean(self) -> Number:
        """Return the mean over all classes."""
        return self.numbers[-1]

    @property
    def regime(self) -> str:
        """Return the block of the row, one of `REGIMES`; yardsticks stand in the few-shot block."""
        return board_regime(self.row)


@dataclass(frozen=True)
class PublishedComparison:
    """A published row beside the measured rows of its method.

    Attributes:
        row: the published row.
        differences: (configuration, measured minus published) in percentage points.
        reason: why no measured row could be compared; "" if `differences` or `refused` has an entry.
        refused: (configuration, reason) of measured rows that are not comparable.
    """

    row: PublishedRow
    differences: tuple[tuple[str, float], ...]
    reason: str
    refused: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Board:
    """The content of a leaderboard, for all formats; ratios in [0, 1], published numbers in percent."""

    record: Record  # any record of the board, for the fields that all share
    measure: str
    columns: tuple[tuple[str, str], ...]  # (kind, name): class, group, all
    lines: tuple[LeaderboardRow, ...]
    published: tuple[PublishedComparison, ...]
    audits: tuple[str, ...]
    left_out: tuple[str, ...]
    distances: BoardDistances | None = None  # where predictions are saved
    names: Mapping[str, str] = field(default_factory=dict)  # method or configuration id -> shown name

    @property
    def regimes(self) -> tuple[str, ...]:
        """Return the blocks of the board, in order."""
        return tuple(dict.fromkeys(line.regime for line in self.lines))

    @property
    def title(self) -> str:
        """Return measure, dataset, setting and protocol in words."""
        return f"{MEASURES[self.measure]} on {question_text(self.record)}"


def leaderboard(
    records: Iterable[Record],
    dataset: str,
    setting: int,
    protocol: str | None = None,
    *,
    measure: str = "dice",
    published: Sequence[PublishedRow] = (),
) -> Board:
    """Return the board of a dataset and setting.

    `select_question` chooses the records; `left_out` names the others.

    Args:
        records: records of any question.
        dataset, setting: the dataset's name and the setting.
        protocol: a protocol's name; None chooses one.
        measure: a key of `MEASURES`.
        published: published rows; only those of this dataset and setting appear, and only for Dice.

    Raises:
        UserError: no record fits, two records of one cell differ, or the measure is unknown.
    """
    if measure not in MEASURES:
        raise unknown_name("measure", measure, MEASURES)
    chosen, left_out = select_question(records, dataset, setting, protocol)
    averages, more = average_seeds(configuration_results(chosen))
    if not averages:
        raise UserError(f"all records are left out of the board: {'; '.join(more)}")
    first = averages[0].first
    several = len(first.groups) > 1
    columns = (
        *(("class", name) for _group, name in first.columns),
        *(("group", group) for group in (first.groups if several else ())),
        ("all", "mean"),
    )
    lines = _lines(averages, measure, columns)
    comparisons = [
        _compare_published(row, lines, first.record)
        for row in published
        if measure == "dice" and (row.dataset, row.setting) == (dataset, setting)
    ]
    audits = dict.fromkeys(f"{line.label}: {m}" for line in lines for m in line.row.first.record.audits)
    return Board(
        first.record, measure, columns, tuple(lines), tuple(comparisons), tuple(audits), (*left_out, *more)
    )


def _lines(
    averages: Sequence[SeedAverage], measure: str, columns: Sequence[tuple[str, str]]
) -> list[LeaderboardRow]:
    lines, samples = [], []
    for row, label in zip(averages, labels(averages), strict=True):
        values = values_of(row, measure)
        arrays = frame_values(
            values.frame, row.first.folds, row.first.columns,
            depends_on_seed=depends_on_seed(row.first.record),
        )  # fmt: skip
        numbers = _numbers(row, values.means, arrays, columns)
        samples.append(sample_of(arrays) if numbers[-1].interval is not None else None)
        lines.append(
            LeaderboardRow(row, label, _marks(row), numbers, None, None, len(values.undefined), values.scores)
        )
    made: list[LeaderboardRow] = []
    for regime in REGIMES:  # a rank counts the rows of one regime
        places = [place for place, line in enumerate(lines) if line.regime == regime]
        made += _ranked([lines[place] for place in places], [samples[place] for place in places])
    return made


def board_regime(row: SeedAverage) -> str:
    """Return the regime of a row for boards, one of `REGIMES`."""
    method = row.first.record.method
    regime = regime_block(method.regime, method.labels_used)
    return FEW_SHOT if regime == YARDSTICK else regime


def _numbers(
    row: SeedAverage, means: Means, arrays: RowValues, columns: Sequence[tuple[str, str]]
) -> tuple[Number, ...]:
    gone = {group for _fold, group in row.missing}
    folds = row.first.folds
    numbers = []
    for place, (kind, name) in enumerate(columns):
        group = row.first.columns[place][0] if kind == "class" else name
        if (gone and kind == "all") or group in gone:
            numbers.append(Number(None, state=INCOMPLETE))
            continue
        if kind == "all":
            spread, sample = spread_of_folds(means.of_all(folds)), sample_of(arrays)
        elif kind == "group":
            spread, sample = spread_of_folds(means.of_group(folds, group)), sample_of(arrays, group=group)
        else:
            spread = spread_of_folds(means.of_class(folds, group, name))
            sample = sample_of(arrays, place)
        if spread is None:
            numbers.append(Number(None, state=UNDEFINED))
        else:
            numbers.append(Number(spread.mean, spread.std, t_interval(sample), sample.scan_deviation))
    return tuple(numbers)


def _ranked(lines: Sequence[LeaderboardRow], samples: Sequence[Sample | None]) -> list[LeaderboardRow]:
    """Return the lines with ranks, best first; lines without a mean follow, sorted by label.

    A rank has an interval only if all rows with a mean have values in every fold.
    """
    means = [line.mean.mean for line in lines]
    with_mean = [number for number, mean in enumerate(means) if mean is not None]
    known = [sample for number in with_mean if (sample := samples[number]) is not None]
    ranks: dict[int, tuple[int, int] | None] = {}
    if known and len(known) == len(with_mean) and all(sample.is_complete for sample in known):
        ranks = dict(zip(with_mean, rank_intervals(known), strict=True))
    made = []
    for number, line in enumerate(lines):
        mine = means[number]
        rank = None if mine is None else 1 + sum(other is not None and other > mine for other in means)
        made.append(replace(line, rank=rank, ranks=ranks.get(number)))
    return sorted(made, key=lambda line: (line.rank is None, line.rank or 0, line.label))


def _marks(row: SeedAverage) -> str:
    record, model = row.first.record, row.first.record.model
    weights = model.initial_weights
    conditions: list[tuple[str, Any]] = [
        ("I", row.missing),
        ("L", record.method.labels_used == "training-group"),
        ("T", record.method.labels_used == "target"),
        ("E", record.method.labels_used == "external"),
        ("V", model.checkpoint == "validation"),
        ("O", model.checkpoint == "oracle"),
        ("R", has_random_start(record)),
        ("W", model.checkpoint == "external" and weights is None),
        ("N", recipe_marks(record)),
        ("Y", record.method.regime == "yardstick"),
        ("1", depends_on_seed(record) and len(row.seeds) == 1),
        ("!", len(record.audits) > len(recipe_marks(record))),
    ]
    return "".join(mark for mark, holds in conditions if holds)


def _compare_published(
    published: PublishedRow, lines: Sequence[LeaderboardRow], record: Record
) -> PublishedComparison:
    """Return the differences of the board's rows of the same method to a published row.

    Both must have the board's protocol. A row that is not comparable gets a reason instead of a difference.
    """
    protocol = record.protocol.name
    same = [line for line in lines if published.learner is not None and line.row.method == published.learner]
    if published.protocol is None:
        return PublishedComparison(published, (), "its protocol is not known")
    if published.protocol != protocol:
        return PublishedComparison(published, (), f"its protocol is {published.protocol}")
    if not same:
        return PublishedComparison(published, (), "not measured here")
    reasons = {line.row.configuration_id: reason_of_cells(line.row.cells) for line in same}
    refused = tuple((name, reason) for name, reason in reasons.items() if reason is not None)
    differences = tuple(
        (line.row.configuration_id, 100 * line.mean.mean - published.mean)
        for line in same
        if line.mean.mean is not None and reasons[line.row.configuration_id] is None
    )
    return PublishedComparison(
        published, differences, "" if differences or refused else "measured here, but incomplete", refused
    )
