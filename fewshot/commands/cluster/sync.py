"""Gather records, models, backbones, predictions and logs of another work folder; nothing is overwritten.

Files are compared by hash. What exists here with other content is a conflict: it stays, and is named. An
unfinished training is not copied. The status is 1 after a conflict.

Examples:
  fewshot sync /mnt/site-b/work
  fewshot sync /mnt/site-b/work --parts records
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.base.errors import UserError, unknown_name
from fewshot.commands import options

PARTS = ("records", "models", "backbones", "predictions")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("source", type=Path, metavar="FROM", help="the other work folder")
    group = options.add_output(parser, ("text", "json"))
    group.add_argument("--parts", default=",".join(PARTS), metavar="P,P", help="what to gather, with commas")


def run(args: argparse.Namespace) -> int:
    """Gather the parts and print counts and conflicts."""
    import dataclasses
    import json

    from protocols.campaign.gathering import gather

    parts = tuple(dict.fromkeys(args.parts.split(",")))
    for part in parts:
        if part not in PARTS:
            raise unknown_name("value of --parts", part, PARTS)
    if not args.source.is_dir():
        raise UserError(f"{args.source} is no folder; give another work folder")
    if args.source.resolve() == args.work.resolve():
        raise UserError(f"{args.source} is this work folder; give another one")
    report = gather(args.source, args.work, parts)
    if args.format == "json":
        text = json.dumps([dataclasses.asdict(one) for one in report], indent=1)
    else:
        lines = [f"{one.part}: {one.copied} copied, {one.equal} here already" for one in report]
        lines += [f"{one.part}: {place}" for one in report for place in (*one.unfinished, *one.conflicts)]
        text = "\n".join(lines)
    options.write_output(text, args.out)
    return 1 if any(one.conflicts for one in report) else 0
