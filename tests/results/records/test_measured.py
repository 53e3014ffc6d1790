"""Records measured on real volumes and on phantoms: sound, complete, equal to the tables beside them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from places import ROOT

from fewshot.commands.main import main
from fewshot.learners.registry import METHODS
from results.records.files import read_records
from results.summary.configuration_result import configuration_results

RESULTS = ROOT / "results"
DATA = RESULTS / "data"
# commits of the history before it was published: ARCHITECTURE.md
REWRITTEN: dict[str, set[str]] = {
    "real": {"8e23d4b971ea5bbb7c358f84f03b84e415b1959a"},
    "phantoms": set(),
    "h200": set(),
    "supervised": set(),
}
TABLES = {"real": "measured.md", "phantoms": "phantoms.md", "h200": "h200.md", "supervised": "supervised.md"}


@pytest.mark.parametrize("folder", TABLES)
def test_the_committed_tables_are_those_of_the_records(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["table", "--records", str(DATA / folder), "--format", "md"]) == 0
    assert capsys.readouterr().out == (RESULTS / TABLES[folder]).read_text(encoding="utf-8")


def test_every_learner_is_complete_on_phantoms() -> None:
    found = configuration_results(read_records(DATA / "phantoms"))
    assert all(not block.missing for block in found)
    stages = {"densemp"}  # pre-trains a backbone for every fold first: too long for a table of all learners
    assert {block.record.method.name for block in found} == set(METHODS) - stages


def test_chaos_is_complete_in_both_settings_and_training_helps() -> None:
    found = [
        block
        for block in configuration_results(read_records(DATA / "real"))
        if block.record.dataset.name == "chaost2"
    ]
    assert all(not block.missing for block in found)
    means = {
        (
            block.record.setting,
            block.record.method.name,
            block.record.model.steps,
        ): block.spread()
        for block in found
    }
    for setting in (1, 2):
        trained = means[setting, "ssl-alpnet", 300]
        untrained = means[setting, "ssl-alpnet", 0]
        assert trained is not None and untrained is not None and trained.mean > untrained.mean
        assert means[setting, "copy-support", 0] and means[setting, "all-foreground", 0]


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)


def is_committed(commit: str) -> bool:
    return git("merge-base", "--is-ancestor", commit, "HEAD").returncode == 0


@pytest.mark.parametrize("folder", TABLES)
def test_records_were_made_by_a_committed_program(folder: str) -> None:
    if git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        pytest.skip("no git checkout with its whole history")
    programs = [record.environment for record in read_records(DATA / folder)]
    assert {one.dirty for one in programs} == {False}
    missing = {one.commit for one in programs if not is_committed(str(one.commit))}
    assert missing == REWRITTEN[folder]
    assert not is_committed("0" * 40)


@pytest.mark.parametrize("path", sorted((DATA / "leaderboards").glob("*.md")), ids=lambda path: path.stem)
def test_the_committed_boards_are_those_of_the_records(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After new records: fewshot leaderboard --records results/data/real ... --format md --out the file."""
    dataset, setting = path.stem.split("-setting-")
    ask = ["--dataset", dataset, "--setting", setting, "--records", str(DATA / "real")]
    assert main(["leaderboard", *ask, "--format", "md"]) == 0
    assert capsys.readouterr().out == path.read_text(encoding="utf-8")


def test_every_question_of_the_records_has_its_board() -> None:
    asked = {f"{record.dataset.name}-setting-{record.setting}" for record in read_records(DATA / "real")}
    assert asked == {path.stem for path in (DATA / "leaderboards").glob("*.md")}
