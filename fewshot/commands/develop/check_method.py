"""Test a method against the learner contract: one line a check, exit status 1 if one fails.

The method is built with its default options on a random ResNet-18 and run on synthetic slices of 64 x 64 on
the CPU. A trainable method is trained for a few steps, twice. `n/a` gives the reason why a check does not
apply. `warn` names what is allowed but rarely meant; the status stays 0.

Examples:
  fewshot check-method my_method.py:MyMethod
  fewshot check-method panet --format json
"""

from __future__ import annotations

import argparse

from fewshot.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("method", metavar="METHOD", help="a name, package.module:Class or file.py:Class")
    options.add_format(parser.add_argument_group("output"), ("text", "json"))


def run(args: argparse.Namespace) -> int:
    """Print the results; return 1 if a check failed."""
    import dataclasses
    import json

    from fewshot.contract.checks import check_method
    from fewshot.learners.registry import resolve_method

    results = check_method(resolve_method(args.method))
    failed = sum(result.status == "FAIL" for result in results)
    warned = sum(result.status == "warn" for result in results)
    if args.format == "json":
        print(json.dumps([dataclasses.asdict(result) for result in results], indent=1))
    else:
        for result in results:
            print(f"{result.name:<20} {result.status:<4}  {result.message}".rstrip())
        summary = f"{failed} of {len(results)} checks failed" if failed else "no check failed"
        print(f"{args.method}: {summary}" + (f", warnings: {warned}" if warned else ""))
    return 1 if failed else 0
