"""Records measured on real volumes and on phantoms: sound, complete, equal to the tables beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewshot.commands.main import main
from fewshot.registry import METHODS
from results.blocks import blocks
from results.records import read_records

RESULTS = Path(__file__).resolve().parent.parent / "results"


TABLES = {"records": "measured.md", "phantom_records": "phantoms.md"}


@pytest.mark.parametrize("folder", TABLES)
def test_the_committed_tables_are_those_of_the_records(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["table", "--records", str(RESULTS / folder), "--format", "md"]) == 0
    assert capsys.readouterr().out == (RESULTS / TABLES[folder]).read_text(encoding="utf-8")


def test_every_learner_is_complete_on_phantoms() -> None:
    found = blocks(read_records(RESULTS / "phantom_records"))
    assert all(not block.missing for block in found)
    stages = {"densemp"}  # pre-trains a backbone for every fold first: too long for a table of all learners
    assert {block.record["method"]["name"] for block in found} == set(METHODS) - stages


def test_chaos_is_complete_in_both_settings_and_training_helps() -> None:
    found = [
        block
        for block in blocks(read_records(RESULTS / "records"))
        if block.record["dataset"]["name"] == "chaost2"
    ]
    assert all(not block.missing for block in found)
    means = {
        (
            block.record["setting"],
            block.record["method"]["name"],
            block.record["model"]["steps"],
        ): block.spread()
        for block in found
    }
    for setting in (1, 2):
        trained = means[setting, "ssl-alpnet", 300]
        untrained = means[setting, "ssl-alpnet", 0]
        assert trained is not None and untrained is not None and trained.mean > untrained.mean
        assert means[setting, "copy-support", 0] and means[setting, "all-foreground", 0]


@pytest.mark.parametrize("folder", TABLES)
def test_records_were_made_by_a_committed_program(folder: str) -> None:
    for record in read_records(RESULTS / folder):
        assert record["environment"]["commit"] is not None and record["environment"]["dirty"] is False


@pytest.mark.parametrize("path", sorted((RESULTS / "leaderboards").glob("*.md")), ids=lambda path: path.stem)
def test_the_committed_boards_are_those_of_the_records(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After new records: fewshot leaderboard --records results/records ... --format md --out the file."""
    dataset, setting = path.stem.split("-setting-")
    ask = ["--dataset", dataset, "--setting", setting, "--records", str(RESULTS / "records")]
    assert main(["leaderboard", *ask, "--format", "md"]) == 0
    assert capsys.readouterr().out == path.read_text(encoding="utf-8")


def test_every_question_of_the_records_has_its_board() -> None:
    asked = {
        f"{record['dataset']['name']}-setting-{record['setting']}"
        for record in read_records(RESULTS / "records")
    }
    assert asked == {path.stem for path in (RESULTS / "leaderboards").glob("*.md")}
