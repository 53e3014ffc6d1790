"""Pages of results made from committed records: a board for each question, Dice against steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from question import Question, has_curve, question_of, questions, stem_of, title_of

from fewshot.base.errors import UserError
from fewshot.commands.main import main
from fewshot.files.atomic_io import canonical_json
from results.figures.board_figures import COLOURS, MARKERS, draw_by_class, save, style
from results.figures.box_figures import draw_boxes
from results.figures.curve_figure import caption, draw_curves
from results.leaderboard.board import leaderboard
from results.leaderboard.board_formats import render_board
from results.leaderboard.learning_curve import LearningCurves, learning_curves
from results.records.configuration import configuration
from results.records.files import read_records
from results.records.record import Record
from results.summary.configuration_result import configuration_results
from results.tables.published import read_published

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "results" / "data"
TITLES = {"real": "real volumes", "h200": "real volumes, on a GPU", "phantoms": "phantoms"}
BOARDS = """# Boards
A board for each dataset, setting and protocol of the committed records, with intervals over folds and
published numbers. Every note stands under its table.
[The leaderboard](leaderboard.html) sorts and filters all of them.
"""
WIDE = "---\nhide: [navigation, toc]\n---\n\n"  # a board takes the place of both
CURVES = """# Curves
Dice against training steps, made from the committed records. A section "by checkpoint" shows the
validation scans of one training; another section shows three or more trainings of different length, with the
standard deviation over folds as bars.
"""
Curve = tuple[str, list[int], list[float], list[float]]  # label, steps, Dice in percent, deviations


def pages(source: Path) -> dict[str, str]:
    """Return name -> text of the pages; draw their figures below the folder `source`."""
    made: dict[str, str] = {}
    listed, curves = [BOARDS], [CURVES]
    write_leaderboard(source / "results" / "leaderboard.html")
    for folder in record_folders():
        title, records = TITLES.get(folder, folder), read_records(DATA / folder)
        for question in questions(records):
            name, heading = f"{folder}-{stem_of(question)}", f"{title_of(question)}: {title}"
            own = [record for record in records if question_of(record) == question]
            made[f"results/boards/{name}.md"] = board_page(records, question, source, name)
            listed.append(f"- [{title_of(question)}](boards/{name}.md): {title}")
            curves += _curve_section(own, heading, name, source)
            if has_curve(own):
                curves += checkpoint_section(learning_curves(records, *question), heading, name, source)
    made["results/boards.md"] = "\n".join(listed) + "\n"
    if len(curves) == 1:
        curves.append("No record holds a curve yet.")
    made["results/curves.md"] = "\n".join(curves) + "\n"
    return made


def record_folders() -> list[str]:
    """Return the folders of results/data that hold records: the known ones first."""
    found = {path.parent.name for path in DATA.glob("*/*.jsonl")}
    return [*(name for name in TITLES if name in found), *sorted(found - set(TITLES))]


def write_leaderboard(path: Path) -> None:
    """Write the page of all committed records, as `fewshot leaderboard-page` does."""
    folders = [str(DATA / folder) for folder in record_folders()]
    if main(["leaderboard-page", "--records", *folders, "--out", str(path)]):
        raise UserError("fewshot leaderboard-page refused the committed records; its message says why")


def board_page(records: Sequence[Record], question: Question, source: Path, name: str) -> str:
    """Return the page of one board with its figures."""
    board = leaderboard(records, *question, published=read_published())
    drawn = any(number.mean is not None for line in board.lines for number in line.numbers)
    pictures = [] if drawn else ["No row has every fold, so nothing is drawn."]
    for kind, draw in (("by-class", draw_by_class), ("boxes", draw_boxes)) if drawn else ():
        stem = source / "results" / "boards" / f"{name}-{kind}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        svg, *_others = draw(board, stem)
        pictures.append(f"![{kind} of {title_of(question)}]({svg.name})")
    table = f'<div class="board" markdown>\n\n{render_board(board, "md")}\n\n</div>'
    return "\n\n".join([f"{WIDE}# {title_of(question)}", table, *pictures]) + "\n"


def curves_of(records: Iterable[Record]) -> list[Curve]:
    """Return Dice against steps: curves of three or more configurations that differ in steps alone."""
    points: dict[tuple[str, str], dict[int, tuple[float, float]]] = {}  # by configuration and label
    for result in configuration_results(records):
        model, spread = result.record.model, result.spread()
        if result.missing or spread is None or model.encoder is None or model.steps is None:
            continue
        weights = model.initial_weights.name if model.initial_weights else "given"
        label = f"{result.record.method.name}, {model.encoder}, {weights} weights, seed {model.seed}"
        points.setdefault((_without_steps(result.record), label), {})[model.steps] = (
            100 * spread.mean,
            100 * (spread.std or 0.0),
        )
    return [  # type: ignore[return-value]
        (label, sorted(by_step), *map(list, zip(*(by_step[step] for step in sorted(by_step)), strict=True)))
        for (_configuration, label), by_step in points.items()
        if len(by_step) > 2
    ]


def checkpoint_section(made: LearningCurves, title: str, name: str, source: Path) -> list[str]:
    """Return the section of learning curves over the checkpoints of trainings, on validation scans."""
    stem = source / "results" / "curves" / f"{name}-checkpoints"
    stem.parent.mkdir(parents=True, exist_ok=True)
    draw_curves(made, stem)
    picture = f"![Dice of checkpoints on validation scans]({Path('curves') / stem.name}.svg)"
    return [f"## {title}, by checkpoint", "", picture, "", caption(made), ""]


def _without_steps(record: Record) -> str:
    """Return a configuration as text without its steps, and without the marks that follow from them."""
    parts = configuration(record)
    del parts["audits"], parts["model"]["steps"]
    parts["model"]["recipe"] = {**(parts["model"]["recipe"] or {}), "steps": None}
    return canonical_json(parts)


def _curve_section(records: Sequence[Record], title: str, name: str, source: Path) -> list[str]:
    """Return the section of one question: a figure and its numbers; nothing without a curve."""
    curves = curves_of(records)
    if not curves:
        return []
    stem = source / "results" / "curves" / name
    stem.parent.mkdir(parents=True, exist_ok=True)
    draw_steps(title, curves, stem)
    rows = ["| training | steps | Dice | ± folds |", "|---|---:|---:|---:|"]
    for label, steps, means, deviations in curves:
        for number, (step, mean) in enumerate(zip(steps, means, strict=True)):
            deviation = f"{deviations[number]:.2f}" if deviations else ""
            rows.append(f"| {label} | {step:,} | {mean:.2f} | {deviation} |")
    return [
        f"## {title}",
        "",
        f"![Dice against training steps]({Path('curves') / stem.name}.svg)",
        "",
        *rows,
        "",
    ]


def draw_steps(title: str, curves: Sequence[Curve], stem: Path) -> None:
    """Draw curves as SVG and PNG; colour, marker and stroke distinguish them."""
    with style():
        figure = Figure(figsize=(7.5, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for number, (label, steps, means, deviations) in enumerate(curves):
            look = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
            axes.errorbar(
                steps, means, yerr=deviations or None, label=label, capsize=3, linewidth=1.2, **look
            )
        axes.set(title=title, xlabel="training steps of a fold", ylabel="Dice, percent", ylim=(0, 100))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7.5)
        save(figure, stem)
