"""The whole page: one HTML document that loads and sends nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from results.board_page.board_table import board_table, filter_bar
from results.board_page.boards import PageBoard
from results.board_page.details import configuration_detail, dataset_detail
from results.board_page.landmark_tables import landmark_tables
from results.board_page.script import SCRIPT
from results.board_page.style import STYLE
from results.leaderboard.html import POLICY, Picture, escaped

TITLE = "Leaderboard of few-shot medical image segmentation"


def board_page(
    boards: Sequence[PageBoard],
    *,
    cards: Mapping[str, Mapping[str, str]],
    facts: Mapping[str, Mapping[str, str]],
    pictures: Mapping[str, Sequence[Picture]],
    notes: Sequence[str],
) -> str:
    """Return the page as HTML.

    Args:
        boards: one per question.
        cards: configuration id -> the lines that people wrote on its method card.
        facts: dataset -> title, modality and sources.
        pictures: configuration id -> pictures of its scans.
        notes: lines under the table: what was left out, and why.
    """
    articles = [
        configuration_detail(
            entry, name, line, cards.get(line.row.configuration_id, {}),
            pictures.get(line.row.configuration_id, ()),
        )
        for entry in boards
        for name, line in entry.named_lines()
    ]  # fmt: skip
    articles += [dataset_detail(entry, facts.get(entry.board.record.dataset.name, {})) for entry in boards]
    records = sum(len(line.row.cells) for entry in boards for line in entry.board.lines)
    rows = sum(len(entry.board.lines) for entry in boards)
    left_out = "".join(f"<li>{escaped(note)}</li>" for note in notes)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{TITLE}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#rows">Skip to the table</a>\n<header><h1>{TITLE}</h1></header>\n<main>\n'
        f'<section id="board">\n<p>{rows} configurations on {len(boards)} boards, from {records} records. A '
        "board is one dataset, setting and protocol. Every number follows from counts in a record; the name "
        "of a method leads to its classes, folds, scans and method card, the name of a dataset to its "
        f"card.</p>\n{filter_bar(boards)}{board_table(boards)}\n"
        + landmark_tables(boards)
        + (f"<details><summary>Left out</summary><ul>{left_out}</ul></details>\n" if left_out else "")
        + "</section>\n"
        + "\n".join(articles)
        + f"\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>"
    )
