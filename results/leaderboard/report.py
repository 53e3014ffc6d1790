"""The parts of a report: board, figures, description of the protocol, audits, environment, commands."""

from __future__ import annotations

import base64
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fewshot.base.errors import UserError
from fewshot.files.atomic_io import canonical_json
from results.leaderboard.board import Board, LeaderboardRow
from results.leaderboard.board_formats import board_sheets
from results.leaderboard.fold_sheet import fold_sheet
from results.leaderboard.html import Part, Picture, Prose, Sheet
from results.records.record import Record
from results.records.record_json import part_json
from results.summary.comparability import prepared_by_text
from results.tables.text_table import Grid


def report_parts(
    board: Board, pictures: Sequence[Picture], not_drawn: Sequence[str], protocol: Prose
) -> list[Part]:
    """Return the parts of a report from top to bottom.

    Args:
        board: the leaderboard.
        pictures: the figures.
        not_drawn: a line for each picture that could not be drawn, with the reason.
        protocol: description of the protocol.
    """
    sheets = board_sheets(board)
    measured, others = sheets[: len(board.regimes)], sheets[len(board.regimes) :]
    parts: list[Part] = [*measured, fold_sheet(board), *pictures]
    if not_drawn:
        parts.append(Prose("Not drawn", tuple(not_drawn)))
    parts += [*others, protocol, _audits(board), _environment(board), commands(board)]
    return parts


def picture(title: str, caption: str, png: Path) -> Picture:
    """Return a PNG file as a part of a page; raise `UserError` if it cannot be read."""
    try:
        data = png.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {png}: {error.strerror}; draw it again") from None
    return Picture(title, caption, base64.b64encode(data).decode("ascii"))


def commands(board: Board) -> Prose:
    """Return the commands that produce the board's rows and the board."""
    record = board.record
    lines = [run_command(line, seed) for line in board.lines for seed in line.row.seeds]
    lines.append(
        f"fewshot leaderboard --dataset {record.dataset.name} --setting {record.setting} "
        f"--protocol {record.protocol.name} --measure {board.measure}"
    )
    return Prose("Commands", tuple(lines), code=True)


def run_command(line: LeaderboardRow, seed: int) -> str:
    """Return the `run` command of a row and seed, or the `evaluate` command of its checkpoint files.

    The command is quoted for a shell.
    """
    record = line.row.first.record
    model, method = record.model, record.method
    is_external = model.checkpoint == "external"
    words = ["fewshot", "evaluate" if is_external else "run"]
    words += ["--dataset", record.dataset.name, "--setting", str(record.setting)]
    words += ["--protocol", record.protocol.name, "--method", method.name]
    if model.encoder is not None:
        words += ["--encoder", model.encoder]
    if model.initial_weights is not None and not is_external:
        words += ["--weights", model.initial_weights.name]
    steps = _typed_steps(record)
    if steps is not None and not is_external:
        words += ["--steps", str(steps)]
    if is_external:
        words += ["--checkpoint", "PATTERN"]
        if model.name is not None:
            words += ["--name", model.name]
    else:
        words += ["--seed", str(seed)]
    if model.checkpoint in ("validation", "oracle"):
        words += ["--checkpoint-policy", model.checkpoint]
    if model.precision not in (None, "float32"):
        words += ["--precision", model.precision]
    if model.answer_precision is not None:
        words += ["--eval-precision", model.answer_precision]
    if model.compiled:
        words += ["--compile"]
    if record.train_dataset is not None:
        words += ["--train-dataset", record.train_dataset.name]
    recipe = {name: value for name, value in (model.recipe or {}).items() if name != "steps"}
    for name, value in sorted({**method.options, **recipe}.items()):
        text = ",".join(map(str, value)) if isinstance(value, list) else value
        words += ["--option", f"{name}={text}"]
    return shlex.join(words)


def _typed_steps(record: Record) -> int | None:
    """Return the value of `--steps`: the steps of the method's recipe; None if its stage is left out."""
    recipe = record.model.recipe
    steps = record.model.steps if recipe is None else recipe["steps"]
    return None if record.model.stages is not None and steps == 0 else steps


def _audits(board: Board) -> Prose:
    lines = [*board.audits, *(f"left out: {reason}" for reason in board.left_out)]
    for line in board.lines:
        reasons = Counter(
            (name, reason) for result in line.row.results for _f, name, _s, reason in result.undefined()
        )
        lines += [
            f"{line.label}: undefined, {name}, {count} scores: {reason}"
            for (name, reason), count in sorted(reasons.items())
        ]
        fallback = sum(r.fallback_slices for b in line.row.results for r in b.cells.values())
        if fallback:
            lines.append(f"{line.label}: {fallback} query slices segmented by the method's fallback")
        cells = [cell for result in line.row.results for cell in result.cells.values()]
        skipped = sum(cell.model.skipped_episodes or 0 for cell in cells)
        if skipped:
            lines.append(f"{line.label}: {skipped} training episodes skipped, over all cells")
    return Prose("Audits", tuple(lines) or ("No record carries a mark, nothing was left out or undefined.",))


def _environment(board: Board) -> Sheet:
    """Return one row per environment (program and device), with the number of its records."""
    keys = ("fewshot", "commit", "dirty", "python", "torch", "device", "threads", "processor")
    records = [r for line in board.lines for result in line.row.results for r in result.cells.values()]
    counted = Counter(record.environment for record in records)
    ordered = sorted(counted.items(), key=lambda item: canonical_json(part_json(item[0])))
    rows = tuple(
        (*(_word(getattr(environment, key)) for key in keys), str(number)) for environment, number in ordered
    )
    record = board.record
    notes = (
        f"protocol {record.protocol.name} version {record.protocol.version}, hash {record.protocol.hash}",
        f"dataset {record.dataset.name}, store hash {record.dataset.hash}",
        prepared_by_text(records),
    )
    return Sheet("Environment", Grid((*keys, "records"), rows, None), notes)


def _word(value: object) -> str:
    if value is None:
        return "not known"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
