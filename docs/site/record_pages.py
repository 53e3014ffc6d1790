"""Pages and figures that the repository keeps, made from its records: `record_pages.py` writes them all.

After a new file in results/data: python docs/site/record_pages.py. It writes the fold tables, a board for
each question, the learning curves, the board of README.md, and the pages landmarks.md, pathology.md and
README.md of results, whose numbers it computes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import front_board
import landmark_page
import pathology_page
import record_lines
from question import Question, has_curve, models_of, question_of, questions, stem_of, title_of

from fewshot.base.errors import UserError
from fewshot.files.atomic_io import atomic_write
from results.figures.curve_figure import caption, draw_curves
from results.inference.paired import compare_means
from results.inference.row_values import RowValues, row_values
from results.leaderboard.board import leaderboard
from results.leaderboard.board_formats import render_board
from results.leaderboard.learning_curve import learning_curves
from results.records.files import read_records
from results.records.record import Record
from results.summary.comparability import recipe_marks
from results.summary.configuration_result import configuration_results
from results.summary.frame import spread_of_folds
from results.summary.seed_average import SeedAverage, average_seeds, labels
from results.summary.select_records import select_question
from results.tables.fold_tables import render
from results.tables.published import read_published

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "results"
DATA = RESULTS / "data"
TABLES = {"real": "measured.md", "phantoms": "phantoms.md", "h200": "h200.md"}
PAGES = {landmark_page.FOLDER: landmark_page.PAGE, pathology_page.FOLDER: pathology_page.PAGE}
FOLDERS = (*TABLES, *PAGES)  # of results/data, that take records
TITLES = {"real": "real volumes", "phantoms": "phantoms", "h200": "real volumes, ResNet-101 on a GPU"}
Rows = list[tuple[str, SeedAverage]]  # label and row
TEMPLATE = Path(__file__).resolve().parent / "results_template.md"  # the prose of results/README.md


def pages() -> dict[Path, str]:
    """Return path -> text of every kept page but README.md, from the records of the repository."""
    records = {folder: read_records(DATA / folder) for folder in TABLES}
    made = {RESULTS / name: render(records[folder], "md") for folder, name in TABLES.items()}
    for question in questions(records["real"]):
        board = leaderboard(records["real"], *question, published=read_published())
        made[DATA / "leaderboards" / f"{stem_of(question)}.md"] = render_board(board, "md")
    made[RESULTS / "README.md"] = overview(records)
    for folder, page_of in (
        (landmark_page.FOLDER, landmark_page.landmark_page),
        (pathology_page.FOLDER, pathology_page.pathology_page),
    ):
        made[RESULTS / PAGES[folder]] = page_of(read_records(DATA / folder))
    return {path: text if text.endswith("\n") else f"{text}\n" for path, text in made.items()}


def overview(records: Mapping[str, Sequence[Record]]) -> str:
    """Return the page of all results; `records` by folder of results/data."""
    real = records["real"]
    rows = {question: complete_rows(real, question) for question in questions(real)}
    places = sorted({question[:2] for question in rows})
    return TEMPLATE.read_text(encoding="utf-8").format(
        measured=measured(records),
        comparisons="\n".join(comparison(*item) for item in rows.items()),
        protocols="\n".join(filter(None, (protocol_table(rows, *place) for place in places))),
        curves="\n".join(curve_section(real, question) for question in questions_with_curve(real)),
        recipes=recipes(real),
    )


def measured(records: Mapping[str, Sequence[Record]]) -> str:
    """Return the table of questions: their records, methods, board and curve."""
    lines = ["| data | dataset | setting | protocol | cells | methods | board | learning curve |"]
    lines.append("|---|---|---|---|---:|---|---|---|")
    for folder, every in records.items():
        for question in questions(every):
            dataset, setting, protocol = question
            own = [record for record in every if question_of(record) == question]
            names = ", ".join(sorted({record.method.name for record in own}))
            board, stem = "", stem_of(question)
            if folder == "real":
                board = f"[board](data/leaderboards/{stem}.md)"
            curve = f"[curve](data/curves/{stem}.svg)" if folder == "real" and has_curve(own) else ""
            lines.append(
                f"| {TITLES[folder]} | {dataset} | {setting} | {protocol} | {len(own)} | {names} | {board} | "
                f"{curve} |"
            )
    return "\n".join(lines) + "\n"


def complete_rows(records: Sequence[Record], question: Question) -> Rows:
    """Return label and row of every configuration of a question that has all cells, the best first."""
    chosen, _left_out = select_question(records, *question)
    rows = [row for row in average_seeds(configuration_results(chosen))[0] if not row.missing]
    return sorted(zip(labels(rows), rows, strict=True), key=lambda pair: (-mean_of_row(pair[1]), pair[0]))


def comparison(question: Question, ranked: Rows) -> str:
    """Return the section of one question: every complete row against copy-support and its untrained self."""
    title = f"### {title_of(question)}"
    if not ranked:
        return f"{title}\nNo row has every cell, so no mean is made.\n"
    rows = [row for _label, row in ranked]
    values = {id(row): row_values(row, "dice") for row in rows}
    copied = next((row for row in rows if row.method == "copy-support"), None)
    lines = ["| row | Dice | minus copy-support | minus untrained |", "|---|---:|---:|---:|"]
    for label, row in ranked:
        others = (None if row is copied else copied, untrained(row, rows))
        gains = ["" if one is None else difference(values[id(row)], values[id(one)]) for one in others]
        lines.append(f"| {label} | {100 * mean_of_row(row):.2f} | {' | '.join(gains)} |")
    return "\n".join([title, *lines]) + "\n"


def protocol_table(rows: Mapping[Question, Rows], dataset: str, setting: int) -> str:
    """Return a line for each protocol with the Dice of the rows that several protocols have."""
    found: dict[tuple[str, frozenset[str | None]], dict[str, str]] = {}
    for question, ranked in rows.items():
        if question[:2] == (dataset, setting):
            for label, row in ranked:
                by_protocol = found.setdefault((label, models_of(row.results)), {})
                by_protocol[question[2]] = f"{100 * mean_of_row(row):.2f}"
    shown = [(label, dices) for (label, _models), dices in found.items() if len(dices) > 1]
    if not shown:
        return ""
    heads = " | ".join(label for label, _dices in shown)
    lines = [f"### {dataset}, setting {setting}", f"| protocol | {heads} |", f"|---|{'---:|' * len(shown)}"]
    for protocol in dict.fromkeys(name for _label, dices in shown for name in dices):
        cells = (dices.get(protocol, "") for _label, dices in shown)
        lines.append(f"| {protocol} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def questions_with_curve(records: Sequence[Record]) -> list[Question]:
    """Return the questions whose records hold a learning curve."""
    return [
        question
        for question in questions(records)
        if has_curve(record for record in records if question_of(record) == question)
    ]


def curve_section(records: Sequence[Record], question: Question) -> str:
    """Return the section of a question's learning curves: their picture, and the mean over seeds."""
    made = learning_curves(records, *question)
    parts = [f"### {title_of(question)}", f"![Learning curves](data/curves/{stem_of(question)}.svg)", ""]
    for curve in made.curves:
        steps = [f"{step:,}" for step in curve.mean.index]
        parts += [
            f"| training steps | {' | '.join(steps)} |",
            f"|---|{'---:|' * len(steps)}",
            f"| {curve.label} | {' | '.join(f'{100 * dice:.1f}' for dice in curve.mean)} |",
            "",
        ]
    return "\n".join([*parts, caption(made)]) + "\n"


def mean_of_row(row: SeedAverage) -> float:
    """Return the mean Dice of a complete row: over folds, then seeds; all seeds have all folds."""
    spreads = [result.spread() for result in row.results]
    mean = spread_of_folds(spread.mean for spread in spreads if spread is not None)
    assert mean is not None
    return mean.mean


def untrained(row: SeedAverage, rows: Sequence[SeedAverage]) -> SeedAverage | None:
    """Return the row of the same method and encoder with 0 steps; None for a row that is not trained."""
    model = row.first.record.model
    if not model.steps:
        return None
    same = [
        other
        for other in rows
        if other.method == row.method
        and other.first.record.model.encoder == model.encoder
        and other.first.record.model.steps == 0
    ]
    return same[0] if len(same) == 1 else None


def difference(a: RowValues, b: RowValues) -> str:
    """Return the difference of the values of two rows in percentage points, with its interval."""
    found = compare_means(a, b)
    text = f"{100 * found.estimate:+.2f}"
    if found.interval is None:
        return text
    return f"{text} [{100 * found.interval.low:+.2f}, {100 * found.interval.high:+.2f}]"


def recipes(records: Sequence[Record]) -> str:
    """Return how many trained configurations have another recipe than the published one, and the longest."""
    trained = [result.record for result in configuration_results(records) if result.record.model.encoder]
    other = [record for record in trained if recipe_marks(record)]
    longest = max((record.model.steps or 0 for record in trained), default=0)
    return (
        f"{len(other)} of {len(trained)} configurations of networks on real volumes lack the published "
        f"recipe; the longest of their trainings has {longest:,} steps a fold."
    )


def draw_learning_curves(records: Sequence[Record]) -> list[Path]:
    """Draw the learning curves of every question that has some; return the files."""
    drawn = []
    for question in questions_with_curve(records):
        drawn += draw_curves(learning_curves(records, *question), DATA / "curves" / stem_of(question))
    return drawn


def write_pages() -> list[Path]:
    """Write every page and figure; return the paths."""
    text = front_board.README.read_text(encoding="utf-8")
    made = {**pages(), front_board.README: front_board.with_board(text)}
    for path, content in made.items():
        with atomic_write(path) as stream:
            stream.write(content)
    return [*made, *draw_learning_curves(read_records(DATA / "real"))]


def main(words: list[str]) -> int:
    """Write the pages; with `--add RECORDS FOLDER`, first add records to results/data/FOLDER."""
    try:
        if len(words) == 3 and words[0] == "--add" and words[2] in FOLDERS:
            paths = record_lines.add_records(Path(words[1]), DATA / words[2])
            sys.stdout.write("".join(f"{path.relative_to(ROOT)}\n" for path in paths))
        elif words:
            raise UserError(f"expected no word, or --add RECORDS and one of {', '.join(FOLDERS)}")
        for path in write_pages():
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    except UserError as error:
        sys.stderr.write(f"record_pages.py: error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
