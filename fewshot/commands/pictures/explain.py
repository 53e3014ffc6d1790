"""Draw what stands behind one mask of a trained model: seeds, prototypes, and the effect of each module.

The picture shows the support slice with seeds and detail prototypes, the nearest kind of prototype at every
position of the query, and the mask of every variant of the method, all with the weights of MODEL. A variant's
mask shows what a module changes in this model, not what training with it is worth (see `fewshot ablate`). The
method must have `explain`, as dspnet does (fewshot/studies/offers.py). The model must not have seen the scan.

Examples:
  fewshot explain 3fa2 --scan 5 --class liver
  fewshot explain 3fa2 --scan 5 --class liver --slice 12 --out liver.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.commands import options, shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="beginning of a key under WORK/models")
    group = parser.add_argument_group("evaluation")
    group.add_argument("--scan", required=True, metavar="S", help="the query scan's id")
    group.add_argument("--class", required=True, dest="class_name", metavar="C", help="a tested class")
    group.add_argument(
        "--dataset", metavar="D", help="a prepared dataset (default: the model's training dataset)"
    )
    group.add_argument("--method", metavar="M", help="file.py:Class, for a model of a user's method")
    group.add_argument("--group", metavar="G", help="group of the class (default: the first that tests it)")
    group.add_argument(
        "--protocol", default="alpnet-ep1", metavar="P", help="name or .toml file: its supports"
    )
    group.add_argument(
        "--slice", type=int, metavar="Z",
        help="query slice (default: the scored slice with the largest area of the class)",
    )  # fmt: skip
    group = parser.add_argument_group("picture")
    group.add_argument(
        "--out", type=Path, metavar="FILE",
        help="PNG (default: WORK/figures/<key>_<scan>_<class>_<slice>.png)",
    )  # fmt: skip
    options.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Draw the picture; print every variant's Dice on the slice and the picture's path."""
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
    explanation = explain_slice(method, model, target, SliceReader(store, intensities), device)
    name = f"{folder.name}_{args.scan}_{args.class_name}_{target.query.z}.png"
    path = args.out or args.work / "figures" / name
    heading = (
        f"{method.name} {folder.name}: {args.class_name} of scan {args.scan}, {store.spec.name}, fold "
        f"{target.fold} of {protocol.name}"
    )
    draw_explanation(heading, explanation, path)
    width = max(12, *map(len, explanation.masks))
    for variant in explanation.masks:
        score = explanation.dice(variant)
        text = "undefined" if score is None else f"{100 * score:.2f}"
        print(f"{variant:<{width}} {text:>9}" + (" (as trained)" if variant == explanation.trained else ""))
    print(path)
    return 0
