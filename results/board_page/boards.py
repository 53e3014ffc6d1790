"""The boards of a page: one per question, so that only comparable rows are ranked together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fewshot.base.errors import UserError
from fewshot.files.atomic_io import canonical_json, hash_of
from results.leaderboard.board import Board, LeaderboardRow, leaderboard
from results.leaderboard.fold_sheet import short_names
from results.records.configuration import DIGITS, question
from results.records.record import Record
from results.tables.published import PublishedRow


@dataclass(frozen=True)
class PageBoard:
    """A board on the page.

    Attributes:
        identity: "board-" and 8 hex digits of the question: the anchor of its dataset card.
        dataset: name of the dataset, with digits of its hash if the page has several of that name.
        names: a short, distinct name per line of the board.
    """

    board: Board
    identity: str
    dataset: str
    names: tuple[str, ...]

    @property
    def title(self) -> str:
        """Return dataset, setting and protocol in words."""
        record = self.board.record
        more = f", {record.shots} shots" if record.shots > 1 else ""
        return f"{self.dataset}, setting {record.setting}, {record.protocol.name}{more}, {record.parts} parts"

    def named_lines(self) -> Iterable[tuple[str, LeaderboardRow]]:
        """Yield the short name and the line of every row, best first."""
        return zip(self.names, self.board.lines, strict=True)


def page_boards(
    records: Iterable[Record], published: Sequence[PublishedRow] = ()
) -> tuple[list[PageBoard], list[str]]:
    """Return one board per question, by dataset, setting and protocol, and a line for each omission.

    Args:
        records: records of any question.
        published: published rows, shown beside the boards of their dataset and setting.

    Raises:
        UserError: two records of one cell differ.
    """
    by_question: dict[str, list[Record]] = {}
    for record in records:
        by_question.setdefault(canonical_json(question(record)), []).append(record)
    hashes: dict[str, set[str]] = {}
    for group in by_question.values():
        hashes.setdefault(group[0].dataset.name, set()).add(group[0].dataset.hash)
    made, left_out = [], []
    for group in by_question.values():
        first = group[0]
        name = first.dataset.name
        try:
            board = leaderboard(group, name, first.setting, first.protocol.name, published=published)
        except UserError as error:
            left_out.append(str(error))
            continue
        left_out += board.left_out
        shown = name if len(hashes[name]) == 1 else f"{name} ({first.dataset.hash[:6]})"
        names = tuple(short_names([line.row for line in board.lines]))
        identity = f"board-{hash_of(question(first))[:DIGITS]}"
        made.append(PageBoard(board, identity, shown, names))

    def order(entry: PageBoard) -> tuple[str, int, str, int, int]:
        record = entry.board.record
        return entry.dataset, record.setting, record.protocol.name, record.shots, record.parts

    return sorted(made, key=order), left_out
