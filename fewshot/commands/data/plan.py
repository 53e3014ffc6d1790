"""Print what an evaluation will ask: folds, supports, queries, parts, scored and excluded slices."""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.commands import shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    shared.add_question(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write every plan, whole, as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the plans and their hashes; write them where `--out` says."""
    from episodes.plan.describe import plans_text
    from episodes.plan.plan import make_plan
    from fewshot.base.atomic_io import hash_of, write_json
    from protocols.rules.spec import choose_folds, load_protocol

    protocol = load_protocol(args.protocol).asked_with(args.shots, args.parts)
    store = shared.open_store(args.work, args.dataset)
    groups = protocol.groups_for(store.spec)
    names = shared.choose_groups(args.groups, tuple(groups), args.dataset)
    folds = choose_folds(args.folds, protocol.fold_borders_for(store.spec))
    plans = [
        make_plan(
            store.index, store.spec, store.hash, protocol.evaluation, args.setting, fold, name, groups[name]
        )
        for fold in folds
        for name in names
    ]
    print(plans_text(plans, f"{protocol.name} version {protocol.version}"))
    hashes = [plan.hash for plan in plans]
    print(f"\nhash of all {len(plans)} plans: {hash_of(hashes)[:16]}")
    if args.out is not None:
        about = {"name": protocol.name, "version": protocol.version, "hash": protocol.hash}
        write_json(args.out, {"protocol": about, "plans": [plan.to_json() for plan in plans]})
        print(f"written to {args.out}")
    return 0
