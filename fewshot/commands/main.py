"""The `fewshot` command: find the command's module, run it, print a user's mistake as one line."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fewshot.base.errors import UserError, short
from fewshot.base.malloc import keep_memory
from fewshot.commands.parsers import command_module, command_parser, completion_parser, top_parser
from fewshot.commands.terminal import log_to_stderr, plain_output, write_error

SIBLINGS = ("episodes", "protocols", "baselines", "results")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0 success, 1 a failed check, 2 a user's mistake."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a user's method lies where the command is typed
    try:
        with plain_output():
            _check_siblings()
            return _dispatch(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        write_error(f"fewshot: error: {error}")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("fewshot: stopped; the same command continues from the last checkpoint\n")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        write_error(f"fewshot: error: cannot use {short(error.filename)}: {error.strerror}; check the path")
        return 2


def _dispatch(argv: list[str]) -> int:
    if "_ARGCOMPLETE" in os.environ:  # the shell wants the words that may follow
        import argcomplete

        argcomplete.autocomplete(completion_parser(os.environ.get("COMP_LINE", "")))
    if not argv or argv[0] in ("-h", "--help"):
        top_parser().print_help()
        return 0
    if argv[0] == "--version":
        print(f"fewshot {importlib.metadata.version('fewshot-medseg')}")
        return 0
    name, typed = argv[0], argv[1:]
    module = command_module(name)
    if hasattr(module, "CONFIG_OPTION"):
        from fewshot.commands.config_file import with_config

        typed = with_config(command_parser(name), typed)
    arguments = command_parser(name).parse_args(typed)
    arguments.typed = [name, *typed]
    keep_memory()
    log_to_stderr()
    logging.getLogger("faiss").setLevel(logging.WARNING)  # at INFO it names every build that it tries
    try:
        status: int = module.run(arguments)
    except SystemExit as error:
        from fewshot.base.user_code import exit_place

        raise UserError(f"{exit_place(error)} calls sys.exit, expected code that returns; mend it") from error
    return status


def _check_siblings() -> None:
    """Raise `UserError` if an installed package hides one of ours: their names are generic."""
    home = Path(__file__).resolve().parent.parent.parent
    for name in SIBLINGS:
        spec = importlib.util.find_spec(name)
        place = Path(spec.origin).resolve().parent if spec is not None and spec.origin else None
        if place != home / name:
            raise UserError(
                f"package {name!r} was found at {place}, wanted {home / name}; run from another folder or "
                "remove the package that hides it"
            )


if __name__ == "__main__":
    sys.exit(main())
