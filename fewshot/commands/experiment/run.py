"""Train the missing models, evaluate every fold and group, write a record a cell, and print the fold table.

Existing models and records are reused, so a stopped command continues. Evaluate a checkpoint file with
`fewshot evaluate --checkpoint PATTERN`.

Examples:
  fewshot run --dataset chaost2 --method ssl-alpnet --setting 2 --folds 0
  fewshot run --config panet.toml --seed 1
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from fewshot.base.errors import UserError
from fewshot.commands import options, shared
from fewshot.commands.config_file import config_values, option_words, write_config

CONFIG_OPTION = "--config"


class RefuseCheckpoint(argparse.Action):
    """Point to `fewshot evaluate`, which evaluates checkpoint files."""

    def __call__(self, *_parsed: Any) -> NoReturn:
        """Raise `UserError`."""
        raise UserError(
            "run trains its models; evaluate checkpoint files with: fewshot evaluate --checkpoint PATTERN"
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    group = options.add_evaluation(parser)
    group.add_argument(
        "--method", required=True, metavar="M", help="a name, package.module:Class or file.py:Class"
    )
    group = options.add_training(parser)
    group.add_argument("--seed", type=int, default=0, metavar="N", help="training seed")
    group.add_argument(
        "--compile", action="store_true",
        help="compile the training step first: pays on a GPU, where it becomes CUDA graphs",
    )  # fmt: skip
    group.add_argument(
        "--stages", metavar="N,N", help="stages of a method with several stages, e.g. 1,2,3 (default: all)"
    )
    options.add_machine(parser, several=True)
    group = parser.add_argument_group("configuration")
    group.add_argument(
        "--config", type=Path, metavar="FILE", help="read options from a TOML file; typed options win"
    )
    group.add_argument(
        "--save-config", type=Path, metavar="FILE", help="write the options, without --work, to a TOML file"
    )
    parser.add_argument("--checkpoint", action=RefuseCheckpoint, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Run the cells and print their table."""
    from dataclasses import fields, replace

    from fewshot.learners.registry import options_class, resolve_method
    from protocols.runs.runner import run
    from protocols.training.method_config import build_method_config
    from results.records.files import read_record
    from results.tables.fold_tables import render

    values = config_values(args)
    method_options = shared.parse_options(args.option)
    if args.stages is not None:
        if "stages" not in {field.name for field in fields(options_class(resolve_method(args.method)))}:
            raise UserError(f"--stages: {args.method} is not trained in stages; leave it out")
        if "stages" in method_options:
            raise UserError("--stages and --option stages= are the same: give one of them")
        method_options["stages"] = args.stages
    method = build_method_config(
        args.method, method_options, encoder=args.encoder, weights=args.weights, steps=args.steps,
        seed=args.seed, precision=args.precision, compiled=args.compile,
    )  # fmt: skip
    devices = shared.parse_devices(args)
    request = shared.request(args, args.dataset, args.setting, args.checkpoint_every)
    if args.save_config is not None:
        write_config(args.save_config, values)
    args.typed = ["run", f"--work={args.work}", *option_words(values)]  # a process on each device types it
    shared.share_devices(args, devices)
    other = None if args.train_dataset is None else shared.open_store(args.work, args.train_dataset)
    paths = run(replace(request, checkpoint_policy=args.checkpoint_policy, train_store=other), method)
    print(render([read_record(path) for path in paths]))
    return 0
