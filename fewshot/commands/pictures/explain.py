"""Draw what stands behind one mask of a trained model: seeds, prototypes, and what each module changes.

The picture shows the support slice with seeds and detail prototypes, the kind of prototype nearest to every
position of the query, and the mask of every variant of the method, all with the weights of MODEL. A variant's
mask shows what a module changes here, not what training with it is worth (that is `fewshot ablate`). The
method must have `explain`, as dspnet has (fewshot/studies/offers.py). The model must not have seen the scan.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.commands import shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="beginning of a key under WORK/models")
    parser.add_argument("--scan", required=True, metavar="S", help="the query scan's id")
    parser.add_argument("--class", required=True, dest="class_name", metavar="C", help="a tested class")
    parser.add_argument(
        "--dataset", metavar="D", help="a prepared dataset (default: the one the model was trained on)"
    )
    parser.add_argument("--method", metavar="M", help="file.py:Class, for a model of a user's method")
    parser.add_argument("--group", metavar="G", help="group of the class (default: the first that tests it)")
    parser.add_argument(
        "--protocol", default="alpnet-ep1", metavar="P", help="who supports (default: alpnet-ep1)"
    )
    parser.add_argument(
        "--slice",
        type=int,
        metavar="Z",
        help="query slice (default: the scored slice with the largest area of the class)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE",
        help="PNG (default: WORK/figures/<key>_<scan>_<class>_<slice>.png)",
    )  # fmt: skip
    shared.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Draw the picture; print every variant's Dice on the slice, and where the picture is."""
    from episodes.store.slices import SliceReader
    from fewshot.studies.offers import check_explainer
    from protocols.rules.spec import load_protocol
    from protocols.studies.explain import explain_slice, find_target, intensities_for
    from protocols.training.models import open_model
    from results.figures.explanation import draw_explanation

    folder, device = shared.model_folder(args.work, args.model), shared.choose_device(args.device)
    method, spec, model = open_model(folder, device, args.method)
    check_explainer(method.learner, method.name)
    protocol = load_protocol(args.protocol)
    home = shared.open_store(args.work, spec["dataset"])
    store = home if args.dataset in (None, spec["dataset"]) else shared.open_store(args.work, args.dataset)
    target = find_target(store, protocol, args.scan, args.class_name, args.group, args.slice)
    intensities = intensities_for(spec, folder.name, protocol, home, store, args.scan)
    found = explain_slice(method, model, target, SliceReader(store, intensities), device)
    name = f"{folder.name}_{args.scan}_{args.class_name}_{target.query.z}.png"
    path = args.out or args.work / "figures" / name
    heading = (
        f"{method.name} {folder.name}: {args.class_name} of scan {args.scan}, {store.spec.name}, fold "
        f"{target.fold} of {protocol.name}"
    )
    draw_explanation(heading, found, path)
    width = max(12, *map(len, found.answers))
    for variant in found.answers:
        score = found.dice(variant)
        text = "undefined" if score is None else f"{100 * score:.2f}"
        print(f"{variant:<{width}} {text:>9}" + (" (as trained)" if variant == found.trained else ""))
    print(path)
    return 0
