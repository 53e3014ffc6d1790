"""The `fewshot` command: find the command's module, run it, print a user's mistake as one line."""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from fewshot.base.errors import UserError, short
from fewshot.base.malloc import keep_memory
from fewshot.base.signals import HELPER, Terminated, sigterm_as_exception
from fewshot.commands.output_check import check_outputs
from fewshot.commands.parsers import command_module, command_parser, completion_parser, top_parser
from fewshot.commands.terminal import log_to_stderr, plain_output, write_error
from fewshot.files.locks import check_platform

OF_THE_MACHINE = (  # reasons of an OSError that are no fault of the program
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOLCK, errno.EIO,
    errno.ESTALE,
)  # fmt: skip
SIBLINGS = ("episodes", "protocols", "baselines", "results")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0: success. 1: a failed check. 2: a user's mistake, or a full or unusable disk. 130: stopped by SIGINT
    (Ctrl-C). 143: stopped by SIGTERM. A stopped command has ended its processes and kept its work.
    """
    try:
        with sigterm_as_exception(), plain_output():
            check_platform()
            _check_siblings()
            status = _dispatch(list(sys.argv[1:] if argv is None else argv))
            sys.stdout.flush()
            return status
    except UserError as error:
        return _failed(str(error))
    except Terminated:
        return _stopped(128 + signal.SIGTERM)
    except KeyboardInterrupt:
        return _stopped(128 + signal.SIGINT)
    except BrokenPipeError:
        _discard_output()
        return 0
    except OSError as error:
        if error.errno in OF_THE_MACHINE:
            _discard_output()
            where = f"{short(error.filename)}: " if error.filename is not None else ""
            return _failed(
                f"{where}{error.strerror}; free space, or choose a folder that can be read and written"
            )
        if error.filename is None:
            raise
        return _failed(f"cannot use {short(error.filename)}: {error.strerror}; check the path")


def _failed(text: str) -> int:
    write_error(f"fewshot: error: {text}")
    return 2


def _stopped(status: int) -> int:
    """Print one line, in the process that the user started alone; return the status."""
    if os.environ.get(HELPER, "0") == os.environ.get("RANK", "0") == "0":
        write_error("fewshot: stopped; the same command continues from the last checkpoint")
    return status


def _discard_output() -> None:
    """Send what standard output still holds to nowhere, so that the interpreter ends without a complaint."""
    with contextlib.suppress(OSError, ValueError):  # no standard output, or one that a test captures
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    check_outputs(arguments)
    if hasattr(arguments, "work"):
        from fewshot.files.temporaries import clear_work

        clear_work(arguments.work)
    keep_memory()
    log_to_stderr()
    logging.getLogger("faiss").setLevel(logging.WARNING)  # at INFO it names every build that it tries
    try:
        status: int = module.run(arguments)
    except SystemExit as error:
        from fewshot.identity.user_code import exit_place

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
                f"package {name!r} was found at {place}, expected {home / name}; run from another folder or "
                "remove the package that hides it"
            )


if __name__ == "__main__":
    sys.exit(main())
