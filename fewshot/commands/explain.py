"""Draw what stands behind one answer of a trained model: seeds, prototypes, and what each module changes.

Shown are the support slice with seeds and detail prototypes, which kind of prototype every position of the
query is most like, and the answer with neither module, each alone and both, all with the weights of MODEL:
what a module does to this answer, not what training with it is worth (that is `fewshot ablate`). For DSPNet;
other methods have no such parts. The scan must be one that the model was not trained on.
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
    parser.add_argument("--group", metavar="G", help="group of the class (default: the first that tests it)")
    parser.add_argument(
        "--protocol", default="alpnet-ep1", metavar="P", help="who supports (default: alpnet-ep1)"
    )
    parser.add_argument(
        "--slice",
        type=int,
        metavar="Z",
        help="slice of the query (default: most of the class, of the scored)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE",
        help="PNG (default: WORK/figures/<key>_<scan>_<class>_<slice>.png)",
    )  # fmt: skip
    shared.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Draw the picture; print every variant's Dice on the slice, and where the picture is."""
    from episodes.slices import SliceReader
    from fewshot.registry import resolve_explainer
    from protocols.explain import explained, find_question, intensities_for
    from protocols.models import open_model
    from protocols.spec import load_protocol
    from results.explained import draw_explained

    folder, device = shared.model_folder(args.work, args.model), shared.chosen_device(args.device)
    method, spec, model = open_model(folder, device)
    resolve_explainer(method.name)
    protocol = load_protocol(args.protocol)
    home = shared.open_store(args.work, spec["dataset"])
    store = home if args.dataset in (None, spec["dataset"]) else shared.open_store(args.work, args.dataset)
    asked = find_question(store, protocol, args.scan, args.class_name, args.group, args.slice)
    intensities = intensities_for(spec, folder.name, protocol, home, store, args.scan)
    found = explained(method.name, model, asked, SliceReader(store, intensities), device)
    name = f"{folder.name}_{args.scan}_{args.class_name}_{asked.query.z}.png"
    path = args.out or args.work / "figures" / name
    heading = (
        f"{method.name} {folder.name}: {args.class_name} of scan {args.scan}, {store.spec.name}, fold "
        f"{asked.fold} of {protocol.name}"
    )
    draw_explained(heading, found, path)
    for variant in found.answers:
        score = found.dice(variant)
        told = "undefined" if score is None else f"{100 * score:.2f}"
        print(f"{variant:<12} {told:>9}" + (" (as trained)" if variant == found.trained else ""))
    print(path)
    return 0
