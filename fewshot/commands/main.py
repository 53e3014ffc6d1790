"""The `fewshot` command: finds the command's module, runs it, turns a user's mistake into one line."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from fewshot.base.errors import UserError, unknown_name
from fewshot.base.malloc import keep_memory

# heading of the help -> package of its commands, and what each does
GROUPS: dict[str, tuple[str, dict[str, str]]] = {
    "Start": ("start", {
        "demo": "make phantoms, train on them, print tables and draw pictures: begin here",
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
        "probe": "measure dense features by nearest neighbours, before and after pre-training",
        "score": "score another program's masks under a plan",
    }),
    "Tables": ("tables", {
        "table": "print the fold tables of records",
        "leaderboard": "compare methods, with intervals and ranks, beside published numbers",
        "significance": "compare two methods over their folds",
        "compare": "split the difference of two numbers into protocol and method",
        "paper": "print a paper's tables in its layout, measured here or as published",
        "published": "list and check the Dice that papers report",
        "distances": "measure surface distances in mm from saved predictions",
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
SIBLINGS = ("episodes", "protocols", "baselines", "results")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 a check failed, 2 a mistake to mend."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a user's method lies where the command is typed
    try:
        _check_siblings()
        return _dispatch(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        sys.stderr.write(f"fewshot: error: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("fewshot: stopped; the same command goes on from the last checkpoint\n")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _dispatch(argv: list[str]) -> int:
    top = _Parser(
        prog="fewshot",
        description="Few-shot medical image segmentation: volumes, episodes, learners, protocols, tables.",
        epilog=_command_list(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("command", metavar="COMMAND", help="one of the commands below; each has its own --help")
    top.add_argument("--version", action="store_true", help="print the program's version")
    if not argv or argv[0] in ("-h", "--help"):
        top.print_help()
        return 0
    if argv[0] == "--version":
        print(f"fewshot {importlib.metadata.version('fewshot-medseg')}")
        return 0
    name, rest = argv[0], argv[1:]
    if name not in PACKAGE_OF:
        raise unknown_name("command", name, PACKAGE_OF)
    module = importlib.import_module(f"fewshot.commands.{PACKAGE_OF[name]}.{name.replace('-', '_')}")
    parser = _Parser(
        prog=f"fewshot {name}", description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--work", type=Path, default=Path(os.environ.get("FEWSHOT_WORK", "work")), metavar="DIR",
        help="folder of stores, models and records (default: $FEWSHOT_WORK, else ./work)",
    )  # fmt: skip
    module.add_arguments(parser)
    arguments = parser.parse_args(rest)
    arguments.typed = [name, *rest]
    keep_memory()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("faiss").setLevel(logging.WARNING)  # it tells which of its builds it tries
    status: int = module.run(arguments)
    return status


def _command_list() -> str:
    """Return the commands under their headings, a line each."""
    lines = []
    for heading, (_package, commands) in GROUPS.items():
        lines += [f"{heading}:", *(f"  {name:<13} {text}" for name, text in commands.items()), ""]
    return "\n".join(lines[:-1])


def _check_siblings() -> None:
    """The package names are generic: make sure that none of them is somebody else's."""
    home = Path(__file__).resolve().parent.parent.parent
    for name in SIBLINGS:
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve().parent if spec is not None and spec.origin else None
        if found != home / name:
            raise UserError(
                f"package {name!r} was found at {found}, wanted {home / name}; run from another folder or "
                "remove the package that hides it"
            )


if __name__ == "__main__":
    sys.exit(main())
