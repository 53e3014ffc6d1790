"""I-MMSeg through `fewshot run`: one channel of any dataset, and several channels by their number."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import tiny_store

from fewshot.commands.main import main
from results.records.files import read_records

SMALL = ["--steps", "2", "--option", "batch=2", "--option", "side=32", "--option", "width=0.02"]


def run(work: Path, *more: str) -> int:
    where = ["--work", str(work), "--dataset", "tiny", "--folds", "0", "--groups", "upper"]
    return main(["run", *where, "--method", "immseg", *SMALL, *more])


def test_one_channel_of_a_dataset_without_channels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_store(tmp_path / "stores" / "tiny")
    assert run(tmp_path) == 2
    assert "--option sequences=NAME" in capsys.readouterr().err
    assert run(tmp_path, "--option", "sequences=image") == 0
    (record,) = read_records(tmp_path / "records")
    assert record.method.regime == "multi-sequence" and record.method.labels_used == "target"
    assert record.method.needs is not None and "all channels" in record.method.needs
