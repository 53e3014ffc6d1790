"""Records measured on real volumes and on phantoms: sound, complete, equal to the tables beside them."""

from __future__ import annotations

import dataclasses
import importlib
import subprocess
from pathlib import Path

import pytest
from places import ROOT

from fewshot.commands.main import main
from fewshot.learners.registry import METHODS
from results.records.configuration import configuration_id
from results.records.files import parse_record, read_records, record_texts, write_record
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


def test_a_yardstick_is_measured_once() -> None:
    """A record made under an older identity would stand beside its new self as a row of its own."""
    rows: dict[tuple[object, ...], set[str]] = {}
    for path in DATA.glob("*/*.jsonl"):
        for record in (parse_record(text) for text in record_texts(path)):
            if record.method.regime == "yardstick" and not record.method.options:
                place = (
                    record.dataset.hash,
                    record.setting,
                    record.protocol.name,
                    record.shots,
                    record.parts,
                )
                names = rows.setdefault((*place, record.method.name, record.grid.folds, record.fold), set())
                names.add(configuration_id(record))
    assert rows and all(len(names) == 1 for names in rows.values())


def test_chaos_is_complete_and_training_helps() -> None:
    found = [
        block
        for block in configuration_results(read_records(DATA / "real"))
        if block.record.dataset.name == "chaost2"
    ]
    assert all(not block.missing for block in found)
    means = {}
    for block in found:
        record, spread = block.record, block.spread()
        assert spread is not None
        place = (record.setting, record.protocol.name, record.method.name, record.model.steps)
        means[place] = max(spread.mean, means.get(place, 0.0))
    trained = means[1, "alpnet-ep1", "ssl-alpnet", 800]
    assert trained > means[1, "alpnet-ep1", "copy-support", 0] + 0.08
    assert trained > means[1, "alpnet-ep1", "ssl-alpnet", 0] + 0.2
    for setting in (1, 2):
        assert {(setting, "alpnet-ep1", name, 0) for name in ("copy-support", "all-foreground")} <= set(means)


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


def test_the_committed_pages_are_those_of_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """After new records: python docs/site/record_pages.py. Each question has its board."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    record_pages = importlib.import_module("record_pages")
    made = record_pages.pages()
    assert {path: path.read_text(encoding="utf-8") for path in made} == made
    boards = {path for path in made if path.parent == DATA / "leaderboards"}
    assert boards == set((DATA / "leaderboards").glob("*.md"))
    records = read_records(DATA / "real")
    for question in record_pages.questions(records):
        own = [r for r in records if (r.dataset.name, r.setting, r.protocol.name) == question]
        curve = DATA / "curves" / f"{record_pages.stem_of(question)}.svg"
        assert curve.is_file() == record_pages.has_curve(own)


def test_records_of_a_work_folder_become_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new record replaces that of its cell and configuration, and the others of the file stay."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    record_lines = importlib.import_module("record_lines")
    name = "phantom-mri-setting1-copy-support"
    old = read_records(DATA / "phantoms")
    old = [record for record in old if record.method.name == "copy-support"]
    (tmp_path / f"{name}.jsonl").write_text("".join(record_lines.lines_of(old)))
    new = dataclasses.replace(old[3], fallback_slices=5, key=None)
    other = dataclasses.replace(old[0], shots=2, key=None)
    for number, record in enumerate((new, other)):
        write_record(tmp_path / "records" / f"r{number}.json", record)
    assert record_lines.add_records(tmp_path / "records", tmp_path) == [tmp_path / f"{name}.jsonl"]
    found = [parse_record(text) for text in record_texts(tmp_path / f"{name}.jsonl")]
    assert len(found) == len(old) + 1 and new in found and other in found and old[3] not in found
    before = (tmp_path / f"{name}.jsonl").read_bytes()
    record_lines.add_records(tmp_path / "records", tmp_path)
    assert (tmp_path / f"{name}.jsonl").read_bytes() == before
