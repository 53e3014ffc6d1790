"""Print BibTeX of methods and datasets: of the names, of what records use, or of all that are known.

Fields that are not known here are left out, so add pages and further authors yourself.

Examples:
  fewshot cite ssl-alpnet chaost2
  fewshot cite --records work/records --out methods.bib
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.commands import board, options
from fewshot.commands.terminal import write_error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="methods and datasets (default: those of --records, else all)",
    )
    board.add_record_folders(parser)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write the output to FILE and print its path (default: print)",
    )


def run(args: argparse.Namespace) -> int:
    """Print the entries; a method or dataset of the records without one is named on stderr."""
    from fewshot.base.errors import UserError, unknown_name
    from results.records.files import read_records
    from results.tables.citations import bibtex, names_of, read_citations

    known = read_citations()
    for name in args.names:
        if name not in known:
            raise unknown_name("method or dataset with a citation", name, known)
    used = names_of(record for folder in args.records or [] for record in read_records(folder))
    for name in used:
        if name not in known:
            write_error(f"no citation is known for {name}")
    names = list(dict.fromkeys([*args.names, *(name for name in used if name in known)]))
    if args.records and not names:
        raise UserError("the records name no method or dataset with a citation; give names")
    entries = [bibtex(name, known[name]) for name in names or known]
    options.write_output("\n\n".join(entries), args.out)
    return 0
