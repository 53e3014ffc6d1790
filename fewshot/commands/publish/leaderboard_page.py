"""Write the leaderboard of all records as one HTML page that works without a network.

The page has a table of every configuration, which can be sorted and filtered by dataset, setting, protocol,
regime and marks. Each configuration has a permanent link (#ID) to its classes, folds, scans and method card,
each dataset one to its card. Where WORK holds saved predictions, pictures show the best, median and worst
scan.

Examples:
  fewshot leaderboard-page --out board.html
  fewshot leaderboard-page --records results/data/phantoms results/data/real --out board.html
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError
from fewshot.commands import board, shared
from fewshot.commands.terminal import write_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.board_page.boards import PageBoard
    from results.leaderboard.html import Picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    board.add_records(parser)
    group = parser.add_argument_group("page")
    group.add_argument(
        "--out", type=Path, metavar="FILE", help="HTML file to write (default: WORK/reports/leaderboard.html)"
    )
    group.add_argument("--no-published", action="store_true", help="leave out what papers report")


def run(args: argparse.Namespace) -> int:
    """Write the page and print its path."""
    from fewshot.files.atomic_io import atomic_write
    from results.board_page.boards import page_boards
    from results.board_page.document import board_page
    from results.tables.published import read_published

    records, status = board.screened(args)
    boards, left_out = page_boards(records.records, [] if args.no_published else read_published())
    notes = [*left_out, *(f"bad record: {fault}" for fault in records.faults)]
    out = args.out or args.work / "reports" / "leaderboard.html"
    text = board_page(
        boards,
        cards=_cards(args.records or [args.work / "records"], boards, notes),
        facts=_facts(boards),
        pictures=_pictures(boards, args.work, out.with_suffix(""), notes),
        notes=notes,
    )
    for note in notes:
        write_error(f"note: {note}")
    with atomic_write(out) as stream:
        stream.write(text + "\n")
    print(out)
    return status


def _cards(
    folders: Sequence[Path], boards: Sequence[PageBoard], notes: list[str]
) -> dict[str, dict[str, str]]:
    """Return the written lines of the method cards in folders of records; a faulty card gives a note."""
    from protocols.submission.method_card import MEANINGS, card_faults, read_card

    records = {line.row.configuration_id: line.row.first.record for b in boards for line in b.board.lines}
    cards = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.card.toml"))):
        card = read_card(path)
        name = card.get("configuration")
        if name not in records:
            notes.append(f"{path.name}: no record of its configuration")
            continue
        faults = card_faults(card, records[name])
        notes += [f"{path.name}: {fault}" for fault in faults]
        if not faults:
            cards[name] = {key: card[key] for key in MEANINGS}
    return cards


def _facts(boards: Sequence[PageBoard]) -> dict[str, dict[str, str]]:
    """Return title, modality and sources of the shipped datasets among the boards."""
    from episodes.store.dataset import known_datasets, load_dataset_spec

    facts = {}
    for name in {one.board.record.dataset.name for one in boards} & set(known_datasets()):
        spec = load_dataset_spec(name)
        facts[name] = {
            "title": spec.title, "modality": spec.modality, "sources": "; ".join(spec.sources) or "made here",
        }  # fmt: skip
    return facts


def _pictures(
    boards: Sequence[PageBoard], work: Path, folder: Path, notes: list[str]
) -> dict[str, list[Picture]]:
    """Draw the scans of every configuration whose predictions WORK holds, a picture per group.

    The first fold and seed with predictions is drawn. A picture that cannot be drawn gives a note.
    """
    from protocols.saved_masks.cell_overlay import draw_record
    from results.leaderboard.report import picture

    drawn: dict[str, list[Picture]] = {}
    for line in (line for one in boards for line in one.board.lines):
        groups: set[str] = set()
        for record in line.row.cells:
            if (
                record.group in groups
                or record.key is None
                or not (work / "predictions" / record.key).is_dir()
            ):
                continue
            groups.add(record.group)
            caption = (
                f"{line.row.method}, fold {record.fold}, {record.group}: support, query, truth and predicted "
                "mask of the best, median and worst scan"
            )
            try:
                path = draw_record(
                    work, record, record.key, lambda name: shared.open_store(work, name),
                    folder / f"{record.key}.png", dpi=80,
                )  # fmt: skip
                drawn.setdefault(line.row.configuration_id, []).append(picture("", caption, path))
            except UserError as error:
                notes.append(f"picture of {line.label}: {error}")
    return drawn
