"""Draw support, query, truth and prediction of a recorded cell: its best, median and worst scan.

A cell of a landmark method shows heat-maps in place of the support. They are computed again from the model.
`--film` makes an animated GIF of all scored slices, scan by scan.

Examples:
  fewshot overlay 3fa2c0d1
  fewshot overlay 3fa2c0d1 --out cell.png
  fewshot overlay 3fa2c0d1 --film --scan 5
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from fewshot.base.errors import UserError
from fewshot.commands import options, shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("cell", metavar="CELL", help="beginning of a key under WORK/records")
    group = parser.add_argument_group("picture")
    group.add_argument(
        "--film", action="store_true", help="a GIF with a frame for each class and scored slice instead"
    )
    group.add_argument(
        "--scan", action="append", default=[], metavar="S",
        help="a scan of the film, may be repeated (default: all)",
    )  # fmt: skip
    group.add_argument(
        "--out", type=Path, metavar="FILE", help="PNG or GIF (default: WORK/figures/<key>.png or .gif)"
    )
    group = parser.add_argument_group("heat-maps")
    group.add_argument("--no-heat", action="store_true", help="leave them out; the model is not needed then")
    group.add_argument("--method", metavar="M", help="file.py:Class, for a model of a user's method")
    options.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Draw the picture or the film and print its path."""
    from fewshot.files.names import checked_name
    from protocols.saved_masks.cell_film import draw_cell_film
    from protocols.saved_masks.cell_overlay import draw_cell
    from protocols.studies.heat_maps import open_heat_maps
    from results.records.files import read_record

    if args.scan and not args.film:
        raise UserError("--scan chooses scans of a film; add --film")
    if args.out is not None and args.film != (args.out.suffix.lower() == ".gif"):
        expected = "a name that ends in .gif" if args.film else "a .png, or --film for a GIF"
        raise UserError(f"--out {args.out}: expected {expected}")
    files = sorted((args.work / "records").glob(f"{checked_name('cell', args.cell)}*.json"))
    if len(files) != 1:
        names = ", ".join(path.stem for path in files[:5]) or "no key"
        raise UserError(
            f"cell {args.cell!r}: {names} under {args.work / 'records'}; expected exactly one key; "
            "see fewshot list cells"
        )

    open_store = partial(shared.open_store, args.work)
    heat = None
    if not args.no_heat:
        device = shared.choose_device(args.device)
        heat = open_heat_maps(args.work, read_record(files[0]), open_store, device, args.method)
    if args.film:
        print(draw_cell_film(args.work, files[0], open_store, args.out, heat, args.scan))
    else:
        print(draw_cell(args.work, files[0], open_store, args.out, heat))
    return 0
