"""Print the plan of an evaluation: folds, supports, queries, parts, scored and excluded slices.

Examples:
  fewshot plan --dataset chaost2 --setting 2
  fewshot plan --dataset chaost2 --folds 0 --groups upper --out plan.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.commands import options, shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    options.add_evaluation(parser)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", type=Path, metavar="FILE",
        help="also write the complete plans to FILE as JSON, for fewshot score (default: print only)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print the plans and their hashes; write them to `--out`."""
    from episodes.plan.describe import plans_text
    from episodes.plan.plan import make_plan
    from fewshot.files.atomic_io import hash_of
    from fewshot.files.seals import write_sealed
    from protocols.rules.spec import choose_folds, load_protocol

    protocol = load_protocol(args.protocol).with_shots_and_parts(args.shots, args.parts)
    spec = shared.dataset_spec(args.work, args.dataset)
    groups = protocol.groups_for(spec)
    names = shared.choose_groups(args.groups, tuple(groups), args.dataset)
    folds = choose_folds(args.folds, protocol.fold_borders_for(spec))
    store = shared.open_store(args.work, args.dataset)
    plans = [
        make_plan(
            store.index, store.spec, store.hash, protocol.evaluation, args.setting, fold, name, groups[name]
        )
        for fold in folds
        for name in names
    ]
    print(plans_text(plans, f"{protocol.name} version {protocol.version}"))
    hashes = [plan.evaluation.hash for plan in plans]
    print(f"\nhash of all {len(plans)} plans: {hash_of(hashes)[:16]}")
    if args.out is not None:
        about = {"name": protocol.name, "version": protocol.version, "hash": protocol.hash}
        write_sealed(args.out, {"protocol": about, "plans": [plan.to_json() for plan in plans]})
        print(f"written to {args.out}")
    return 0
