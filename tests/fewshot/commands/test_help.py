"""The command line: help of every command, quick start without torch, configuration files, completion."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from places import ROOT

from fewshot.base.errors import UserError
from fewshot.commands.config_file import config_values, option_words, with_config, write_config
from fewshot.commands.main import main
from fewshot.commands.parsers import PACKAGE_OF, Parser, command_parser

GENERAL = {"general", "options", "positional arguments"}
QUICK = [
    ["--help"],
    ["protocols", "list"],
    ["list", "methods"],
    ["plan", "--dataset", "nothing"],
    ["table", "--records", "results/data/phantoms"],
    ["leaderboard", "--records", "results/data/phantoms", "--dataset", "phantom-mri"],
]


@pytest.mark.parametrize("name", PACKAGE_OF)
def test_help_has_groups_defaults_and_examples(name: str) -> None:
    text = command_parser(name).format_help()
    own, _, _general = text.partition("\ngeneral:\n")
    groups = set(re.findall(r"^([a-z][a-z ]+):$", own, re.MULTILINE))
    assert groups - GENERAL or name == "methods"  # `methods` has no option of its own
    assert "default" in own
    examples = own.partition("\nExamples:\n")[2].partition("\n\n")[0]
    assert len(re.findall(rf"^  fewshot {name}\b", examples, re.MULTILINE)) >= 2


@pytest.mark.parametrize("name", PACKAGE_OF)
def test_every_example_can_be_parsed(name: str) -> None:
    """With every required option, value and number of arguments as the parser wants them."""
    description = (command_parser(name).description or "").partition("Examples:\n")[2]
    for example in re.findall(r"^  fewshot (.+(?:\n {6}.+)*)", description, re.MULTILINE):
        command, *words = shlex.split(example.replace("\\\n", ""))
        assert command == name
        if "--config" not in words:
            command_parser(name).parse_args(words)


@pytest.mark.parametrize("option", ["--format", "--out", "--overwrite", "--option", "--folds", "--device"])
def test_an_option_means_the_same_everywhere(option: str) -> None:
    """The same type, action and number of values in every command that has it."""
    kinds = {
        (type(action).__name__, action.nargs, option == "--format" and action.default)
        for name in PACKAGE_OF
        for action in command_parser(name)._actions
        if option in action.option_strings
    }
    assert len(kinds) == 1


@pytest.mark.parametrize("command", QUICK, ids=lambda command: " ".join(command[:2]))
def test_tables_plans_and_lists_import_no_torch(command: list[str]) -> None:
    program = (
        "import sys\nfrom fewshot.commands.main import main\n"
        f"status = main({command!r})\nprint('torch' in sys.modules, status, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    expected = "False 2" if command[0] == "plan" else "False 0"
    assert ended.stderr.splitlines()[-1] == expected, ended.stderr


def completions(line: str, tmp_path: Path) -> list[str]:
    """Return the words that the shell would offer after `line`."""
    file = tmp_path / "words"
    environment = {
        **os.environ, "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(file), "COMP_LINE": line, "COMP_POINT": str(len(line)),
    }  # fmt: skip
    subprocess.run([sys.executable, "-m", "fewshot"], env=environment, cwd=ROOT, check=False)
    return sorted(word.strip() for word in file.read_text().splitlines())


def test_the_shell_completes_commands_options_and_values(tmp_path: Path) -> None:
    assert completions("fewshot pro", tmp_path) == ["probe", "prompt-gain", "protocols"]
    assert completions("fewshot run --save-", tmp_path) == ["--save-config", "--save-predictions"]
    assert completions("fewshot run --checkpoint-policy or", tmp_path) == ["oracle"]


def test_an_unknown_dataset_points_to_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "hippocampus", "FOLDER", "--work", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert "unknown dataset 'hippocampus'" in message and "--spec FILE" in message


RUN = [
    "--dataset",
    "tiny",
    "--method",
    "panet",
    "--option",
    "a=1",
    "--option",
    "b=2",
    "--steps",
    "3",
    "--compile",
]


def saved(tmp_path: Path, words: list[str]) -> Path:
    write_config(tmp_path / "run.toml", config_values(command_parser("run").parse_args(words)))
    return tmp_path / "run.toml"


def test_a_saved_configuration_parses_to_the_same_run(tmp_path: Path) -> None:
    typed = command_parser("run").parse_args([*RUN, "--protocol", 'odd "name"\t\\x\x7f'])
    file = saved(tmp_path, [*RUN, "--protocol", 'odd "name"\t\\x\x7f'])
    assert "work" not in tomllib.loads(file.read_text())
    words = with_config(command_parser("run"), ["--config", str(file)])
    read = command_parser("run").parse_args(words)
    assert vars(read) == {**vars(typed), "config": file}
    assert vars(command_parser("run").parse_args(option_words(config_values(typed)))) == vars(typed)


def test_typed_options_win_over_the_file(tmp_path: Path) -> None:
    file = saved(tmp_path, RUN)
    words = with_config(command_parser("run"), ["--steps", "7", "--config", str(file), "--option", "b=5"])
    read = command_parser("run").parse_args(words)
    assert (read.dataset, read.steps, read.compile, read.option) == ("tiny", 7, True, ["a=1", "b=5"])
    assert with_config(command_parser("run"), RUN) == RUN


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dateset = 'tiny'", "unknown key 'dateset': did you mean 'dataset'"),
        ("checkpoint = 'a.pth'", "unknown key 'checkpoint'"),
        ("work = 'here'", "unknown key 'work'"),
        ("steps = true", "key steps: found True, expected a text or whole number"),
        ("steps = 1.5", "key steps: found 1.5"),
        ("steps = 'many'", "argument --steps: invalid int value: 'many'"),
        ("setting = 3", "unknown value of --setting '3'"),
        ("compile = 1", "key compile: found 1, expected true or false"),
        ("option = 'a=1'", "key option: found 'a=1', expected a list of texts"),
        ("option = ['a']", "--option 'a': expected name=value"),
        ("steps = ", "cannot be read as TOML"),
    ],
)
def test_a_wrong_configuration_is_one_line(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    assert main(["run", "--config", str(file), "--work", str(tmp_path / "work")]) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1 and not (tmp_path / "work").exists()


def test_a_missing_configuration_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--config", str(tmp_path / "no.toml")]) == 2
    assert "no.toml: no such file" in capsys.readouterr().err


def test_a_wrong_choice_names_the_near_ones() -> None:
    parser = Parser(prog="fewshot x")
    parser.add_argument("--format", choices=("text", "md"))
    with pytest.raises(UserError, match="unknown value of --format 'mdx': did you mean 'md'"):
        parser.parse_args(["--format", "mdx"])
