"""Tell what pre-training did to dense features: nearest neighbours of cells before and after stage 1.

For every seed and fold, stage 1 of DenseMP is made from the fold's training scans (or found, if it is there);
then the cells of the query scans are classified by their nearest neighbours among labelled cells of training
scans, once with the weights before and once with those after. Labels are used for the probe alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.commands import shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--dataset", required=True, metavar="D", help="a prepared dataset, e.g. chaost2")
    parser.add_argument("--protocol", default="alpnet-ep1", metavar="P", help="name or file: whose folds")
    parser.add_argument("--folds", default="0", metavar="F", help="all, or numbers with commas (default: 0)")
    parser.add_argument("--encoder", required=True, metavar="E", help="resnet18, resnet50 or resnet101")
    parser.add_argument(
        "--weights", default="random", metavar="W",
        help="before: random, imagenet, coco or a file, {fold} filled in; stage 1 begins from random ones "
        "(default: random)",
    )  # fmt: skip
    parser.add_argument("--seeds", default="0,1,2", metavar="N,N", help="of stage 1 (default: 0,1,2)")
    parser.add_argument(
        "--option", action="append", default=[], metavar="K=V",
        help="a number of the pre-training's recipe, such as epochs=5",
    )  # fmt: skip
    parser.add_argument("--neighbours", type=int, default=20, metavar="K", help="that vote (default: 20)")
    parser.add_argument(
        "--cells", type=int, default=2000, metavar="N",
        help="most cells of a class among the keys, and asked of a scan (default: 2000)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep counts, means and intervals there")
    shared.add_device(parser)
    parser.add_argument(
        "--batch", type=int, default=0, metavar="N", help="slices encoded at once (default: by device)"
    )


def run(args: argparse.Namespace) -> int:
    """Make the backbones that are missing, probe, and print the table."""
    from fewshot.base.atomic_io import write_json
    from protocols.rules.spec import choose_folds, load_protocol
    from protocols.studies.probe import ProbeRequest, densecl, run_probe
    from results.comparison.probe import probe_json, probe_table

    protocol = load_protocol(args.protocol)
    store = shared.open_store(args.work, args.dataset)
    device = shared.choose_device(args.device)
    request = ProbeRequest(
        store=store,
        protocol=protocol,
        folds=choose_folds(args.folds, protocol.fold_borders_for(store.spec)),
        encoder=args.encoder,
        weights=args.weights,
        seeds=shared.parse_seeds(args.seeds),
        neighbours=args.neighbours,
        cells=args.cells,
        work=args.work,
        device=device,
        batch=shared.choose_batch(args.batch, device),
    )
    probe = run_probe(request, densecl(shared.parse_options(args.option)))
    if args.json is not None:
        write_json(args.json, probe_json(probe))
    print(probe_table(probe))
    return 0
