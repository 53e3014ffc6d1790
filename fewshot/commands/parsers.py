"""The parser of each command, built on demand, and the table of commands with their help headings."""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from fewshot.base.errors import UserError, unknown_name

# heading of the help -> package of its commands, and what each does
GROUPS: dict[str, tuple[str, dict[str, str]]] = {
    "Start": ("start", {
        "demo": "make phantoms, train on them, print tables and draw pictures: begin here",
        "doctor": "describe the installation, check every file of the work folder",
        "list": "list stores, models, cells, methods, protocols or datasets, a line each",
        "methods": "describe the methods: paper, labels, options, recipe",
    }),
    "Data": ("data", {
        "prepare": "make a store from a folder of volumes, or of phantoms",
        "view": "draw the slices of a prepared scan with classes and superpixels",
        "plan": "print folds, supports, queries and parts of an evaluation; needs no model",
        "protocols": "describe a protocol, or count where two of them differ",
    }),
    "Experiment": ("experiment", {
        "run": "train the missing models, evaluate, write records, print the fold table",
        "evaluate": "evaluate trained models or released checkpoints without training",
        "pretrain": "pre-train a backbone on unlabelled images, for --weights of any method",
        "ablate": "train a method without each of its modules and compare the rows",
        "prompt-gain": "measure what the sentences are worth to a text-supervised method",
        "probe": "measure dense features by nearest neighbours, before and after pre-training",
        "score": "score another program's masks under a plan",
        "nnunet": "train nnU-Net on a plan and score its masks",
        "reproduce": "remake a record from its own content and say whether its numbers are equal",
    }),
    "Cluster": ("cluster", {
        "jobs": "list the missing cells of a campaign, one command a line with its cost",
        "submit": "send a campaign to Slurm, or to several devices of this machine",
        "status": "count the recorded, running, waiting and failed cells of submitted campaigns",
        "sync": "gather records, models and predictions from another work folder",
    }),
    "Tables": ("tables", {
        "table": "print the fold tables of records",
        "leaderboard": "compare methods, with intervals and ranks, beside published numbers",
        "significance": "compare two methods over their folds",
        "compare": "split the difference of two numbers into protocol and method",
        "paper": "print a paper's tables in its layout, measured here or as published",
        "published": "list and check the Dice that papers report",
        "distances": "measure surface distances in mm from saved predictions",
        "pathology": "score scar, edema and the myocardium by the published regions and rules",
    }),
    "Publish": ("publish", {
        "submit-result": "pack the records and the method card of a configuration into one file",
        "cite": "print BibTeX of methods and datasets, by name or by what records use",
        "leaderboard-page": "write the leaderboard of all records as one HTML page",
        "check-submission": "check such a file: seals, completeness, plans, audits, versions, card",
    }),
    "Pictures": ("pictures", {
        "figures": "draw a board: by class, by organ size, along the organ, best to worst scan",
        "report": "write board, figures, protocol, audits and commands as one HTML file",
        "overlay": "draw support, query, truth and prediction of a recorded cell",
        "explain": "draw the seeds, prototypes and modules behind one mask",
    }),
    "Own scans": ("own_scans", {
        "segment": "segment your own scan from one annotated scan; no store, no folds",
    }),
    "Develop": ("develop", {
        "new-method": "write a working method and its test to begin from",
        "check-method": "test a method against the learner contract",
        "verify": "replay reference vectors of the released programs",
    }),
}  # fmt: skip
PACKAGE_OF = {name: package for package, commands in GROUPS.values() for name in commands}
COMPLETION = (
    'Completion of commands and options in bash or zsh: eval "$(register-python-argcomplete fewshot)"'
)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keep the lines of the description and append each default that the help text does not state."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text, default = action.help, action.default
        unstated = default is not None and default is not False and default != [] and not action.required
        if not text or "(default" in text or default is argparse.SUPPRESS or not unstated:
            return text
        return f"{text} (default: %(default)s)"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are `UserError`, with the near names of a wrong choice."""

    def error(self, message: str) -> NoReturn:
        """Raise `UserError` in place of printing the usage."""
        raise UserError(f"{message}; see {self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = "/".join(action.option_strings) or action.metavar or action.dest
            error = unknown_name(f"value of {name}", str(value), map(str, action.choices))
            raise UserError(f"{error}; see {self.prog} --help")


def command_module(name: str) -> ModuleType:
    """Return the module of a command; an unknown name raises `UserError` with the near names."""
    if name not in PACKAGE_OF:
        raise unknown_name("command", name, PACKAGE_OF)
    return importlib.import_module(f"fewshot.commands.{PACKAGE_OF[name]}.{name.replace('-', '_')}")


def top_parser() -> argparse.ArgumentParser:
    """Return the parser of `fewshot` itself, whose help lists the commands."""
    top = Parser(
        prog="fewshot",
        description="Few-shot medical image segmentation: volumes, episodes, learners, protocols, tables.",
        epilog=f"{command_list()}\n\n{COMPLETION}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("command", metavar="COMMAND", help="one of the commands below; each has its own --help")
    top.add_argument("--version", action="store_true", help="print the program's version")
    return top


def command_parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of one command, without importing torch."""
    module = command_module(name)
    parser = Parser(
        prog=f"fewshot {name}", description=module.__doc__, formatter_class=HelpFormatter, add_help=False
    )
    add_arguments(parser, module)
    return parser


def add_arguments(parser: argparse.ArgumentParser, module: ModuleType) -> None:
    """Add a command's own arguments, then the general ones."""
    module.add_arguments(parser)
    general = parser.add_argument_group("general")
    general.add_argument(
        "--work", type=Path, default=Path(os.environ.get("FEWSHOT_WORK", "work")), metavar="DIR",
        help="folder of stores, models and records (default: $FEWSHOT_WORK, else ./work)",
    )  # fmt: skip
    general.add_argument("-h", "--help", action="help", help="print this help")


def command_list() -> str:
    """Return the commands under their headings, a line each."""
    lines = []
    for heading, (_package, commands) in GROUPS.items():
        lines += [f"{heading}:", *(f"  {name:<16} {text}" for name, text in commands.items()), ""]
    return "\n".join(lines[:-1])


def completion_parser(line: str) -> argparse.ArgumentParser:
    """Return a parser of the command names in which only the command typed in `line` has its options."""
    typed = line.split()[1:2]
    top = argparse.ArgumentParser(prog="fewshot")
    top.add_argument("--version", action="store_true", help="print the program's version")
    commands = top.add_subparsers()
    for _package, group in GROUPS.values():
        for name, text in group.items():
            parser = commands.add_parser(name, help=text, add_help=False)
            if [name] == typed:
                add_arguments(parser, command_module(name))
    return top
