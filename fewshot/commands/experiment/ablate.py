"""Train a method without each of its modules, under several seeds, and print what each module is worth.

The rows are the `ablations` of the learner class. Every row is trained and evaluated like `fewshot run`, with
records; existing models and records are reused. The table shows the mean over seeds, the spread over seeds
and the interval over folds of the difference to the first row, with seeds paired.

Examples:
  fewshot ablate dspnet --dataset chaost2
  fewshot ablate densemp --dataset chaost2 --setting 2 --seeds 0 --folds 0,1
"""

from __future__ import annotations

import argparse

from fewshot.commands import options, shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "method",
        metavar="METHOD",
        help="a method that has ablations: densemp, dspnet, hourglass, immseg, tmunet, or file.py:Class",
    )
    options.add_evaluation(parser)
    options.add_seeds(options.add_training(parser))
    options.add_machine(parser, several=True)


def run(args: argparse.Namespace) -> int:
    """Run every row and seed and print the table."""
    from dataclasses import replace

    from protocols.studies.ablations import build_ablation, run_ablation
    from results.comparison.ablation import ablation_table

    methods = build_ablation(
        args.method, shared.parse_options(args.option), shared.parse_seeds(args.seeds), encoder=args.encoder,
        weights=args.weights, steps=args.steps, precision=args.precision, recipe=args.recipe,
    )  # fmt: skip
    devices = shared.parse_devices(args)
    request = shared.request(args, args.dataset, args.setting, args.checkpoint_every)
    shared.share_devices(args, devices)
    other = None if args.train_dataset is None else shared.open_store(args.work, args.train_dataset)
    print(
        ablation_table(
            run_ablation(
                replace(request, checkpoint_policy=args.checkpoint_policy, train_store=other), methods
            )
        )
    )
    return 0
