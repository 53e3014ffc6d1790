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
        "--compile", action="store_true",
        help="compile the training step first: pays on a GPU, where it becomes CUDA graphs",
    )  # fmt: skip
    parser.add_argument(
        "--stages", metavar="N,N", help="stages of a method that is trained in several, e.g. 1,2,3"
    )
    parser.add_argument(
        "--checkpoint", metavar="PATTERN", help="evaluate this file; {fold} and {group} are filled in"
    )
    parser.add_argument("--name", metavar="NAME", help="with --checkpoint: what tables call the checkpoint")
    parser.add_argument(
        "--same-checkpoint", action="store_true", help="allow one file for several folds (marked)"
    )
    shared.add_machine(parser, several=True)


def run(args: argparse.Namespace) -> int:
    """Run the cells and print their table."""
    from dataclasses import fields, replace

    from fewshot.base.errors import UserError
    from fewshot.learners.registry import resolve_method
    from protocols.runs.runner import run, run_external
    from protocols.training.method_config import build_method_config
    from results.records.files import read_record
    from results.tables.fold_tables import render

    options = shared.parse_options(args.option)
    if args.stages is not None:
        if "stages" not in {field.name for field in fields(resolve_method(args.method).Options)}:
            raise UserError(f"--stages: {args.method} is not trained in stages; leave it out")
        if "stages" in options:
            raise UserError("--stages and --option stages= are the same: give one of them")
        options["stages"] = args.stages
    method = build_method_config(
        args.method, options, encoder=args.encoder, weights=args.weights, steps=args.steps,
        seed=args.seed, precision=args.precision, compiled=args.compile,
    )  # fmt: skip
    devices = shared.parse_devices(args)
    request = shared.request(args, args.dataset, args.setting, args.checkpoint_every)
    if args.checkpoint is not None:
        if args.checkpoint_policy != "last" or args.train_dataset is not None:
            raise UserError(
                "--checkpoint-policy and --train-dataset are for trainings here: leave them out with "
                "--checkpoint"
            )
        if len(devices) > 1:
            raise UserError("--checkpoint is asked on one device: give one --device")
        paths = run_external([request], method, args.checkpoint, args.same_checkpoint, args.name)
    else:
        if args.name is not None:
            raise UserError("--name is for --checkpoint: leave it out, or give a checkpoint file")
        shared.share_devices(args, devices)
        other = None if args.train_dataset is None else shared.open_store(args.work, args.train_dataset)
        paths = run(replace(request, checkpoint_policy=args.checkpoint_policy, train_store=other), method)
    print(render([read_record(path) for path in paths]))
    return 0
