"""Write one self-contained HTML file: board, figures, protocol, audits, environment and commands.

Examples:
  fewshot report --dataset chaost2
  fewshot report --dataset sabs --setting 2 --out sabs.html
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError
from fewshot.commands import board as shared_board
from fewshot.commands import board_distances, shared

if TYPE_CHECKING:
    from results.leaderboard.board import Board
    from results.leaderboard.html import Prose


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    board_distances.add_distances(shared_board.add_board_of_records(parser))
    group = parser.add_argument_group("report")
    group.add_argument(
        "--out", type=Path, metavar="FILE", help="HTML (default: WORK/reports/<dataset>-setting-<n>.html)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the report and print its path; its pictures stay beside it as SVG and PNG."""
    from fewshot.files.atomic_io import atomic_write
    from protocols.saved_masks.board_pictures import draw_board
    from results.leaderboard.html import page
    from results.leaderboard.report import picture, report_parts
    from results.tables.published import read_published

    made, screened, status = shared_board.open_board(args, read_published())
    made = board_distances.with_distances(args, made, screened.paths)
    out = args.out or args.work / "reports" / f"{args.dataset}-setting-{args.setting}.html"
    drawn, missing = draw_board(
        made, screened.paths, args.work, out.with_suffix(""), lambda name: shared.open_store(args.work, name)
    )
    missing = [*missing, *(f"bad record left out: {fault}" for fault in screened.faults)]
    pictures = [picture(figure.title, figure.caption, figure.paths[1]) for figure in drawn]
    text = page(made.title, report_parts(made, pictures, missing, protocol_in_words(made)))
    with atomic_write(out) as stream:
        stream.write(text + "\n")
    print(out)
    return status


def protocol_in_words(made: Board) -> Prose:
    """Return the rules that the records' protocol has here, if it is the same one."""
    from protocols.rules.spec import load_protocol
    from results.leaderboard.html import Prose

    recorded = made.record.protocol
    title = f"Protocol {recorded.name} version {recorded.version}"
    try:
        protocol = load_protocol(recorded.name)
    except UserError as error:
        return Prose(title, (f"Its rules are not at hand: {error}",))
    if protocol.hash != recorded.hash:
        present = f"version {protocol.version}, hash {protocol.hash[:16]}"
        return Prose(title, (f"Its rules are not at hand: {recorded.name} is {present} here.",))
    lines = [protocol.summary]
    for name, rules in (("evaluation", protocol.evaluation), ("training", protocol.training)):
        text = "; ".join(
            f"{key.replace('_', ' ')}: {_value_text(value)}" for key, value in asdict(rules).items() if value
        )
        lines.append(f"{name}: {text}")
    excluded = {
        group: sorted({str(r.training.slices_excluded) for line in made.lines
                       for (_fold, g), r in line.row.first.cells.items() if g == group}, key=int)
        for group in made.record.grid.groups
    }  # fmt: skip
    lines.append(
        "setting 1: training may see, without labels, slices that show tested classes"
        if made.record.setting == 1
        else "setting 2: slices that show a tested class are dropped from training: "
        + "; ".join(f"{group}: {' or '.join(numbers)} by fold" for group, numbers in excluded.items())
    )
    return Prose(title, tuple(lines))


def _value_text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_value_text(item) for item in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
