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
    group.add_argument(
        "--train-only", metavar="STAGE",
        help="train up to this stage and evaluate nothing; a training without stages has one, episodes",
    )  # fmt: skip
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
    from fewshot.training.stop_signal import stop_at_signal
    from protocols.runs.runner import run, train_until
    from results.records.files import read_record
    from results.tables.fold_tables import render
    from results.tables.landmark_measures import landmark_lines
    from results.tables.pixel_measures import pixel_lines

    values = config_values(args)
    devices = shared.parse_devices(args)
    request, method = shared.run_request(args)
    if args.save_config is not None:
        write_config(args.save_config, values)
    args.typed = ["run", f"--work={args.work}", *option_words(values)]  # a process on each device types it
    shared.share_devices(args, devices)
    with stop_at_signal():
        if args.train_only is not None:
            for trained in train_until(request, method, args.train_only):
                print(trained)
            return 0
        paths = run(request, method)
    records = [read_record(path) for path in paths]
    print(render(records))
    shared.print_predictions(args, records)
    if request.store.spec.modality == "picture":
        for line in pixel_lines(records, request.store.spec.image_size):
            print(f"  {line}")
    for line in landmark_lines(records):
        print(f"  {line}")
    return 0
