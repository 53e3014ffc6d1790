"""Measure what the sentence is worth to a text-supervised method: its Dice with the true and with other ones.

Missing models are trained and recorded as by `fewshot run`. Each fold is then segmented four times: with the
true sentences, with those of the fold shuffled over its slices, with another slice's that differs, and with
empty ones. The intervals of the differences are t intervals over folds.

Examples:
  fewshot prompt-gain mptpn --dataset phantom-cells --encoder ppe-s64-c8 --steps 1200 --option batch=4
  fewshot prompt-gain mptpn --dataset chaost2 --option sentences=positions --folds 0
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.commands import options, shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("method", metavar="METHOD", help="a method with sentences: mptpn, or file.py:Class")
    options.add_evaluation(parser)
    options.add_training(parser).add_argument(
        "--seed", type=int, default=0, metavar="N", help="training seed"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="also write the means of every fold as JSON (default: none)"
    )
    options.add_machine(parser)


def run(args: argparse.Namespace) -> int:
    """Train what is missing, measure and print the table."""
    from dataclasses import replace

    from fewshot.files.atomic_io import write_json
    from protocols.studies.prompt_gain import measure_prompts
    from protocols.training.method_config import build_method_config

    method = build_method_config(
        args.method, shared.parse_options(args.option), encoder=args.encoder, weights=args.weights,
        steps=args.steps, seed=args.seed, precision=args.precision, recipe=args.recipe,
    )  # fmt: skip
    request = shared.request(args, args.dataset, args.setting, args.checkpoint_every)
    found = measure_prompts(replace(request, checkpoint_policy=args.checkpoint_policy), method)
    print(found.table())
    if args.out is not None:
        write_json(args.out, found.to_json())
    return 0
