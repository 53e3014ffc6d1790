"""Every command in the documents can be parsed; those of the walks run, in one work folder."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from places import ROOT

from fewshot.commands.config_file import with_config
from fewshot.commands.main import main
from fewshot.commands.parsers import PACKAGE_OF, command_parser

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "results").glob("*.md")])
BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
OF_OPERATORS = re.compile(r"\s(?:\||&&|>)\s")  # what follows is another program's
# options of a trial in place of a training: typed after the documented ones, so that they win
QUICK = {"run": ["--steps", "2", "--encoder", "resnet18", "--weights", "random", "--folds", "0"]}
# of docs/tasks.md, on what the walks leave
CHEAP = (
    "protocols", "overlay", "list", "plan", "table", "leaderboard", "report", "figures",
    "leaderboard-page", "doctor", "reproduce",
)  # fmt: skip
RECORDS_ALONE = ("paper-output.md",)  # pages whose commands read committed records and need no work folder
UNTRAINED = ("copy-support", "all-foreground")


def documented(page: Path) -> list[list[str]]:
    """Return the words of every fewshot command in the code blocks of a page."""
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [
        shlex.split(OF_OPERATORS.split(line)[0], comments=True)
        for line in lines
        if line.startswith("fewshot ")
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_can_be_parsed(page: Path) -> None:
    for _program, command, *words in documented(page):
        if command == "--version":
            continue
        assert command in PACKAGE_OF, command
        if "--config" in words:  # its options come from a file that the page does not have
            place = words.index("--config")
            assert words[place + 1].endswith(".toml") and callable(with_config)
            continue
        command_parser(command).parse_args(words)


def test_the_pages_show_most_commands() -> None:
    shown = {words[1] for page in PAGES for words in documented(page)}
    assert set(PACKAGE_OF) - shown <= {"view", "published", "new-method", "methods", "list"}


@pytest.mark.parametrize("text", ["fewshot run --dataset", "fewshot plan --dataset a --nothing"])
def test_a_command_that_does_not_exist_is_found(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```\n{text}\n```\n")
    with pytest.raises(Exception, match="see fewshot"):
        test_every_command_can_be_parsed(page)


def filled(word: str, places: dict[str, str]) -> str:
    """Return a documented word with every name of `places` replaced."""
    for name, value in places.items():
        word = word.replace(name, value)
    return word


@pytest.mark.slow
@pytest.mark.parametrize("page", RECORDS_ALONE)
def test_the_commands_on_committed_records_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(ROOT / "results")
    commands = documented(ROOT / "docs" / page)
    assert len(commands) > 5
    for words in commands:
        assert main(words[1:]) == 0, words


@pytest.mark.slow
def test_the_walks_run_in_one_work_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Getting started as it stands but for the steps; the other pages on its phantoms."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEWSHOT_WORK", raising=False)
    shutil.copy(ROOT / "docs" / "examples" / "relation_head.py", tmp_path)
    names = ("getting-started.md", "publish-a-result.md", "port-a-head.md")
    pages = [ROOT / "docs" / name for name in names]
    for words in (words for page in pages for words in documented(page)):
        typed = [word.replace("chaost2", "phantom-mri") for word in words[1:]]
        if typed[0] == "run" and not set(UNTRAINED) & set(typed):
            typed += QUICK["run"]
        if typed[0] == "significance":
            typed = ["significance", "all-foreground", *typed[2:]]  # a trial on one fold has no test
            assert main(["run", "--dataset", "phantom-mri", "--method", "all-foreground"]) == 0
        assert main(typed) == 0, typed
    made = tmp_path / "work"
    places = {
        "chaost2": "phantom-mri",
        "CELL": min((made / "predictions").iterdir()).name[:8],
        "RECORD": str(min((made / "records").glob("*.json"))),
    }
    for words in documented(ROOT / "docs" / "tasks.md"):
        if words[1] in CHEAP and "--curve" not in words:  # a curve needs trainings that keep checkpoints
            typed = [filled(word, places) for word in words[1:]]
            assert main(typed) == 0, typed
    (python,) = re.findall(r"```python\n(.*?)```", pages[0].read_text(encoding="utf-8"), re.DOTALL)
    exec(python, {})
    printed = capsys.readouterr().out
    assert printed.endswith("std=None)\n") and "Spread(mean=0." in printed.splitlines()[-1]
    assert "PARTIAL: mean " in printed and "0 faults, 0 not checked" in printed
    assert "relation_head.py:RelationHead: no check failed\n" in printed
    heads = [
        path for path in (tmp_path / "work" / "models").glob("*/losses.csv") if "relation" in path.read_text()
    ]
    assert len(heads) == 1  # the loss of its own, by its name
    assert (tmp_path / "work" / "figures" / "phantom-mri-setting-1" / "by-class.svg").is_file()
    assert (tmp_path / "board.md").read_text().startswith("### Dice on phantom-mri, setting 1")
