"""Draw a prepared scan as one PNG: its slices with outlined classes, and again with their superpixels.

Slices count from 0 in stored order. At most 24 are drawn, evenly spaced; --slices narrows the range.

Examples:
  fewshot view chaost2 1
  fewshot view chaost2 1 --slices 10:20 --out scan-1.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.base.errors import UserError
from fewshot.commands import shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("store", metavar="STORE", help="a dataset under WORK/stores, or the path of a store")
    parser.add_argument("scan", metavar="SCAN", help="a scan's id")
    group = parser.add_argument_group("picture")
    group.add_argument(
        "--slices", metavar="A:B", help="from slice A to slice B, both included (default: all)"
    )
    group.add_argument(
        "--out", type=Path, metavar="FILE", help="PNG (default: WORK/figures/<dataset>_<scan>.png)"
    )


def run(args: argparse.Namespace) -> int:
    """Draw the picture; print its slices and its path."""
    from episodes.figures.scan_sheet import spread_out, write_scan_sheet
    from episodes.store.store import Store
    from fewshot.files.names import is_name

    path = Path(args.store)
    named = is_name(args.store) and (args.work / "stores" / args.store).is_dir()
    store = Store.open(path) if path.is_dir() and not named else shared.open_store(args.work, args.store)
    if args.scan not in store.index.scans:
        raise UserError(f"scan {args.scan!r} is not in {store.path}; it holds {', '.join(store.index.scans)}")
    depth = store.index.depths[args.scan]
    first, last = shared.parse_slices(args.slices) or (0, depth - 1)
    if not first <= last < depth:
        raise UserError(
            f"--slices {args.slices}: expected A no larger than B; scan {args.scan} has slices 0 to "
            f"{depth - 1}"
        )
    slices = spread_out(range(first, last + 1))
    out = args.out or args.work / "figures" / f"{store.spec.name}_{args.scan}.png"
    write_scan_sheet(store, args.scan, slices, out)
    print(f"{len(slices)} of {depth} slices: {', '.join(map(str, slices))}")
    print(out)
    return 0
