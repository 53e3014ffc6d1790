"""Train what is missing, evaluate every fold and group, write one record per cell, print the fold table."""

from __future__ import annotations

import argparse

from fewshot.commands import shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    shared.add_question(parser)
    parser.add_argument(
        "--method", required=True, metavar="M", help="a name, package.module:Class or file.py:Class"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    shared.add_training(parser)
    parser.add_argument(
        "--checkpoint", metavar="PATTERN", help="evaluate this file; {fold} and {group} are filled in"
    )
    parser.add_argument(
        "--same-checkpoint", action="store_true", help="allow one file for several folds (marked)"
    )
    shared.add_machine(parser)


def run(args: argparse.Namespace) -> int:
    """Run the cells and print their table."""
    from dataclasses import replace

    from fewshot.errors import UserError
    from protocols.methods import settle
    from protocols.runner import run, run_external
    from results.records import read_record
    from results.tables import render

    method = settle(
        args.method, shared.settings(args.set), encoder=args.encoder, weights=args.weights, steps=args.steps,
        seed=args.seed, precision=args.precision,
    )  # fmt: skip
    request = shared.request(args, args.dataset, args.setting, args.checkpoint_every)
    if args.checkpoint is not None:
        if args.select != "last" or args.train_dataset is not None:
            raise UserError(
                "--select and --train-dataset are for trainings here: leave them out with --checkpoint"
            )
        paths = run_external([request], method, args.checkpoint, args.same_checkpoint)
    else:
        other = None if args.train_dataset is None else shared.open_store(args.work, args.train_dataset)
        paths = run(replace(request, select=args.select, train_store=other), method)
    print(render([read_record(path) for path in paths]))
    return 0
