"""Measure what pre-training did to dense features: nearest neighbours of cells before and after it.

For every seed and fold, the command pre-trains a backbone on the fold's training scans, or reuses it.
It then classifies the cells of the query scans by their nearest neighbours among labelled cells of training
scans, with the weights before pre-training, with random weights and calibrated BatchNorm statistics, and
with the weights after it. Only the probe uses labels.

Examples:
  fewshot probe --dataset chaost2 --encoder resnet18
  fewshot probe --dataset chaost2 --encoder resnet101 --folds all --format json --out probe.json
"""

from __future__ import annotations

import argparse

from fewshot.commands import options, shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    group = parser.add_argument_group("evaluation")
    group.add_argument("--dataset", required=True, metavar="D", help="a prepared dataset, e.g. chaost2")
    group.add_argument("--protocol", default="alpnet-ep1", metavar="P", help="name or .toml file: its folds")
    options.add_folds(group, "0")
    group.add_argument("--neighbours", type=int, default=20, metavar="K", help="number of nearest neighbours")
    group.add_argument(
        "--cells", type=int, default=2000, metavar="N",
        help="largest number of keys of a class and of queries of a scan",
    )  # fmt: skip
    group = parser.add_argument_group("training")
    group.add_argument("--encoder", required=True, metavar="E", help="resnet18, resnet50 or resnet101")
    group.add_argument(
        "--weights", default="random", metavar="W",
        help="weights before: random, imagenet, coco or a file, {fold} filled in; the pre-training itself "
        "begins from random weights",
    )  # fmt: skip
    options.add_seeds(group)
    options.add_option(group, "a number of the pre-training's recipe, such as epochs=5")
    options.add_batch(options.add_device(parser))
    options.add_output(parser, ("text", "json"))


def run(args: argparse.Namespace) -> int:
    """Make the backbones that are missing, probe, and print the table."""
    import json

    from protocols.rules.spec import choose_folds, load_protocol
    from protocols.studies.probe import ProbeRequest, densecl, run_probe
    from results.comparison.probe import probe_json, probe_table

    protocol = load_protocol(args.protocol)
    spec = shared.dataset_spec(args.work, args.dataset)
    folds = choose_folds(args.folds, protocol.fold_borders_for(spec))
    device = shared.choose_device(args.device)
    request = ProbeRequest(
        store=shared.open_store(args.work, args.dataset),
        protocol=protocol,
        folds=folds,
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
    as_json = args.format == "json"
    text = json.dumps(probe_json(probe), indent=1, allow_nan=False) if as_json else probe_table(probe)
    options.write_output(text, args.out)
    return 0
