"""Hold a method to the learner contract: one line a check, exit status 1 where one fails.

The method is built with its default options on a random ResNet-18 and asked synthetic slices of 64 x 64 on
the CPU; one that trains is trained for a few steps, twice. `n/a` says why a check has nothing to ask.
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("method", metavar="METHOD", help="a name, package.module:Class or file.py:Class")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the results; status 1 if a check failed."""
    import dataclasses
    import json

    from fewshot.contract.checks import check_method
    from fewshot.learners.registry import resolve_method

    results = check_method(resolve_method(args.method))
    failed = sum(result.status == "FAIL" for result in results)
    if args.json:
        print(json.dumps([dataclasses.asdict(result) for result in results], indent=1))
    else:
        for result in results:
            print(f"{result.name:<20} {result.status:<4}  {result.message}".rstrip())
        print(
            f"{args.method}: {f'{failed} of {len(results)} checks failed' if failed else 'no check failed'}"
        )
    return 1 if failed else 0
