"""The board of README.md, made from committed records; `front_board.py --write` puts it there anew."""

from __future__ import annotations

import sys
from pathlib import Path

from question import models_of

from fewshot.files.atomic_io import atomic_write, canonical_json
from results.records.configuration import question
from results.records.files import read_records
from results.records.record import Record
from results.summary.comparability import prepared_by_text
from results.summary.configuration_result import ConfigurationResult, configuration_results
from results.summary.notes import labels_text, training_text

ROOT = Path(__file__).resolve().parent.parent.parent
README = ROOT / "README.md"
FOLDERS = ("real", "h200")  # of results/data
DATASET, SETTING, PROTOCOL = "chaost2", 1, "alpnet-ep1"
BEGIN, END = "<!-- board: python docs/site/front_board.py --write -->\n", "<!-- end of board -->\n"


def main(words: list[str]) -> int:
    """Write the board into README.md if the word --write is given, else to standard output."""
    text = README.read_text(encoding="utf-8")
    if words == ["--write"]:
        with atomic_write(README) as stream:
            stream.write(with_board(text))
    else:
        sys.stdout.write(front_board())
    return 0


def with_board(text: str) -> str:
    """Return the text of README.md with the board of the records between its marks."""
    before, _, rest = text.partition(BEGIN)
    _old, _, after = rest.partition(END)
    return f"{before}{BEGIN}{front_board()}{END}{after}"


def front_board() -> str:
    """Return the board as markdown: its caption, then every complete configuration, best first."""
    records = {folder: read_records(ROOT / "results" / "data" / folder) for folder in FOLDERS}
    every = [record for folder in FOLDERS for record in records[folder]]
    ranked = sorted(_results(every), key=lambda result: -_mean(result)[0])
    lines = ["| method | trained | from | labels in training | Dice |", "|---|---|---|---|---:|"]
    for result in ranked:
        mean, deviation = _mean(result)
        lines.append(f"| {' | '.join(_training(result))} | {100 * mean:.2f} ± {100 * deviation:.2f} |")
    return "\n".join([*_caption(ranked), "", *lines, *_under_protocols(records["real"])]) + "\n"


def _under_protocols(records: list[Record]) -> list[str]:
    """Return a paragraph on the trained models that the most protocols evaluated; nothing without any."""
    by_models: dict[frozenset[str | None], list[ConfigurationResult]] = {}
    for result in configuration_results(records):
        if result.record.model.steps and not result.missing:
            by_models.setdefault(models_of([result]), []).append(result)
    models, most = max(by_models.items(), key=lambda pair: len(pair[1]), default=(frozenset(), []))
    if len(most) < 2:
        return []
    record = most[0].record
    ranked = sorted(most, key=lambda result: -_mean(result)[0])
    dices = ", ".join(f"{100 * _mean(one)[0]:.2f} under `{one.record.protocol.name}`" for one in ranked)
    return [
        "",
        f"**The protocol decides.** The same {len(models)} trained models of `{record.method.name}` on "
        f"`{record.dataset.name}`, setting {record.setting}, have a mean Dice of {dices}.",
    ]


def _results(records: list[Record]) -> list[ConfigurationResult]:
    """Return the complete configurations of one question: that with the most of them.

    Another preparation of the same scans has another hash, so its records belong to another question.
    """
    chosen = [
        record
        for record in records
        if (record.dataset.name, record.setting, record.protocol.name) == (DATASET, SETTING, PROTOCOL)
    ]
    questions: dict[str, list[ConfigurationResult]] = {}
    for result in configuration_results(chosen):
        if not result.missing:
            questions.setdefault(canonical_json(question(result.record)), []).append(result)
    return max(questions.values(), key=len)


def _mean(result: ConfigurationResult) -> tuple[float, float]:
    spread = result.spread()
    assert spread is not None and spread.std is not None
    return spread.mean, spread.std


def _training(result: ConfigurationResult) -> tuple[str, str, str, str]:
    """Return method, length of the training, encoder with its first weights, and labels."""
    record, model = result.record, result.record.model
    labels = labels_text(record).removeprefix("uses labels of ").removeprefix("uses ") or "none"
    if model.encoder is None:
        return record.method.name, "nothing", "", labels
    texts = training_text(record).split(", ")
    recipe = f", {texts.pop(0)}" if texts[0].startswith("recipe ") else ""
    length = f"{model.steps:,} steps a fold{recipe}" if model.steps else "untrained"
    return record.method.name, length, f"{texts[0]}, {texts[1]}", labels


def _caption(results: list[ConfigurationResult]) -> list[str]:
    """Return the caption: unit, data, seeds, and how far the trainings are from the published ones."""
    trained = [result.record for result in results if result.record.model.encoder is not None]
    seeds = sorted({record.model.seed for record in trained})
    prepared = sorted({prepared_by_text(result.cells.values()) for result in results})
    return [
        f"Dice in percent on `{DATASET}` (abdominal MR), setting {SETTING}, protocol `{PROTOCOL}`: mean over "
        f"{results[0].record.grid.folds} folds of the mean over classes of the mean over scans; ± is the "
        f"standard deviation over folds. Seed{'s' * (len(seeds) > 1)} of the trained rows: "
        f"{', '.join(map(str, seeds))}. {'; '.join(prepared).capitalize()}.",
        "",
        f"**{_distance_from_published(trained)}**",
    ]


def _distance_from_published(trained: list[Record]) -> str:
    """Return how many trained rows have another recipe than the published one, and what follows."""
    marked = [record for record in trained if record.audits]
    if not marked:
        return "Every trained row has the published recipe."
    number = "No trained row has" if len(marked) == len(trained) else f"{len(marked)} trained rows lack"
    longest = max(record.model.steps or 0 for record in marked)
    return (
        f"{number} the published recipe: the longest of these trainings has {longest:,} steps a fold. They "
        "compare methods under short trainings and stand beside no published number."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
