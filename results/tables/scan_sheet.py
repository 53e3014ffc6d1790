"""Every score of records as tidy CSV: a line per class, query scan and support set, with its counts."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from results.summary.configuration_result import ConfigurationResult
from results.tables.spreadsheet import SheetWriter

QUESTION = ("protocol", "version", "dataset", "dataset_hash", "setting", "shots", "parts", "plan_hash")
SCORE = ("fold", "group", "class", "scan", "supports", "slices", "tp", "fp", "fn", "dice", "undefined")
HEADER = (*QUESTION, "method", "configuration", "seed", *SCORE)


def scan_sheet(results: Sequence[ConfigurationResult], names: Mapping[str, str]) -> str:
    """Return the scores of results as CSV; Dice in [0, 1], empty where it is undefined, counts in pixels.

    Args:
        results: of any questions.
        names: a method -> the name to write.
    """
    stream = io.StringIO()
    writer = SheetWriter(stream)
    writer.writerow(HEADER)
    for result in results:
        for (fold, group), record in result.cells.items():
            head = (
                record.protocol.name, record.protocol.version, record.dataset.name, record.dataset.hash,
                record.setting, record.shots, record.parts, record.plan_hash,
                names.get(record.method.name, record.method.name), result.configuration_id, record.model.seed,
                fold, group,
            )  # fmt: skip
            for score in record.scores:
                dice = "" if score.dice is None else repr(score.dice)
                counts = (score.slices, score.tp, score.fp, score.fn)
                supports = ",".join(score.supports)
                writer.writerow(
                    [*head, score.class_name, score.scan, supports, *counts, dice, score.undefined or ""]
                )
    return stream.getvalue().rstrip("\n")
