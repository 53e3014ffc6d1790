"""Train nnU-Net on every cell of a plan, and score its masks as a supervised row.

nnU-Net v2 must be installed: its own commands plan, train and predict. The plan is a file of `fewshot plan
--out`, in setting 1. A stopped command continues with the next cell that has no masks.

Examples:
  fewshot nnunet --plan plan.json --out nnunet
  fewshot nnunet --plan plan.json --out nnunet --configuration 3d_fullres
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.base.errors import UserError
from fewshot.commands import shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    group = parser.add_argument_group("evaluation")
    group.add_argument("--plan", type=Path, required=True, metavar="FILE", help="file of fewshot plan --out")
    group = parser.add_argument_group("method")
    group.add_argument("--name", default="nnunet", metavar="NAME", help="name in tables (default: nnunet)")
    group.add_argument(
        "--configuration", default="2d", metavar="C", help="nnU-Net's configuration (default: 2d)"
    )
    group.add_argument(
        "--trainer", default="nnUNetTrainer", metavar="T", help="nnU-Net's trainer (default: nnUNetTrainer)"
    )
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of nnU-Net's files")
    group = parser.add_argument_group("records")
    group.add_argument("--overwrite", action="store_true", help="write existing records again")


def run(args: argparse.Namespace) -> int:
    """Run nnU-Net on every cell, score its masks and print the table."""
    from protocols.rules.spec import load_protocol
    from protocols.scoring.nnunet import NnUNetRun, check_commands, mask_pattern, run_cell
    from protocols.scoring.plan_file import read_plan_file, rebuild_plans
    from protocols.scoring.score_masks import score_files
    from results.records.files import read_record
    from results.tables.fold_tables import render

    file = read_plan_file(args.plan)
    if file.setting != 1:
        raise UserError(
            f"{args.plan} is of setting {file.setting}, in which no training slice shows a tested class; "
            "make a plan with --setting 1"
        )
    store = shared.open_store(args.work, file.dataset)
    protocol = load_protocol(file.protocol).with_shots_and_parts(file.shots, file.parts)
    check_commands()
    settings = NnUNetRun(args.out, args.configuration, args.trainer)
    for plan in rebuild_plans(file, store, protocol):
        run_cell(settings, plan, store)
    scored = score_files(
        file, store, protocol, mask_pattern(settings), args.name, args.work, labels_used="target",
        overwrite=args.overwrite, grid="store",
    )  # fmt: skip
    print(render([read_record(path) for path in scored.paths]))
    return 0
