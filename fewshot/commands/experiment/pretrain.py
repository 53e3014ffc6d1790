"""Pre-train a backbone on unlabelled images by DenseCL, for `--weights` of any method.

Images are the JPEG and PNG files of a folder (any, or ROCO's, whose non-radiology is left out), or the
slices of prepared datasets: then one backbone for every fold, from its training scans alone. `fewshot run`
refuses a backbone that saw a query scan, itself or as the file that it began with (`--weights FILE`).
Prints where each backbone lies, its losses, and how often positions were matched and told apart,
beside chance. Several processes of one machine: torchrun --nproc-per-node N -m fewshot pretrain densecl ...
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError
from fewshot.commands import shared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from episodes.contrastive.images import Pictures
    from fewshot.pretraining.densecl import DenseCLRecipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("kind", choices=("densecl",), help="what is learned from")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, metavar="FOLDER", help="folder of JPEG and PNG files")
    source.add_argument("--dataset", nargs="+", metavar="NAME", help="prepared datasets, e.g. chaost2")
    parser.add_argument(
        "--protocol", default="alpnet-ep1", metavar="P", help="whose folds and intensities (--dataset)"
    )
    parser.add_argument(
        "--folds", default="all", metavar="F", help="all, or numbers with commas (--dataset; default: all)"
    )
    parser.add_argument(
        "--encoder", default="resnet101", metavar="E", help="resnet18, resnet50 or resnet101 (default)"
    )
    parser.add_argument(
        "--weights", default="random", metavar="W", help="random (default), imagenet, coco or a file"
    )
    parser.add_argument(
        "--recipe", default="published", choices=("published", "small"),
        help="small: 64 px, batch 64, queue 1,024, for a CPU (default: published)",
    )  # fmt: skip
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="K=V",
        help="a number of the recipe, such as epochs=5",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument("--precision", default="float32", choices=("float32", "bf16"), help="of training")
    parser.add_argument(
        "--checkpoint-every", type=int, default=200, metavar="N", help="steps between checkpoints"
    )
    parser.add_argument(
        "--out", metavar="FILE",
        help="copy each backbone there too; with --dataset {fold} in the name is filled in, as by --weights",
    )  # fmt: skip
    shared.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Train what is missing and print what came of it."""
    from fewshot.base.atomic_io import copy_to
    from fewshot.base.distributed import init_distributed
    from fewshot.learners.options import options_from
    from fewshot.pretraining.densecl import RECIPES
    from protocols.training.fold_weights import FOLD, fill_fold
    from protocols.training.pretraining import Stage1, ensure_pretrained

    if args.out is not None and (args.images is None) != (FOLD in args.out):
        wanted = "wanted {fold} in the name, one file a fold" if args.images is None else "leave {fold} out"
        raise UserError(f"--out {args.out}: {wanted}")
    base = RECIPES[args.recipe]
    recipe = options_from(type(base), shared.parse_options(args.option), base)
    with init_distributed(shared.choose_device(args.device)) as (together, device):
        stage = Stage1(
            recipe, args.encoder, args.seed, device, args.weights, args.precision, args.checkpoint_every
        )
        for fold, pictures, rule in _sources(args):
            path = ensure_pretrained(stage, pictures, rule, args.work, together)
            if together.rank == 0:
                title = args.images.name if fold is None else f"fold {fold}"
                print(f"{title}: {len(pictures)} images, {path}")
                if args.out is not None:
                    copy_to(Path(args.out if fold is None else fill_fold(args.out, fold)), path)
                print(_table(path.parent, recipe))
    return 0


def _sources(args: argparse.Namespace) -> Iterator[tuple[int | None, Pictures, str | None]]:
    """Yield what each backbone is made of: fold, images, and the intensity rule of a store's."""
    from episodes.contrastive.images import JoinedPictures, open_folder, open_slices
    from episodes.plan.plan import scan_roles, training_scans
    from episodes.store.slices import normalisation
    from protocols.rules.spec import choose_folds, load_protocol

    if args.images is not None:
        if args.folds != "all":
            raise UserError("--folds is for --dataset: one backbone of a folder serves every fold")
        yield None, open_folder(args.images, args.work / "cache" / "pictures"), None
        return
    protocol = load_protocol(args.protocol)
    stores = [shared.open_store(args.work, name) for name in args.dataset]
    if len({store.hash for store in stores}) < len(stores):
        raise UserError(
            f"--dataset {' '.join(args.dataset)}: a dataset stands twice, so that its pictures would count "
            "twice; name each once"
        )
    folds = [choose_folds(args.folds, protocol.fold_borders_for(store.spec)) for store in stores]
    if len(set(folds)) > 1:
        raise UserError(
            f"--dataset {' '.join(args.dataset)}: {', '.join(str(len(some)) for some in folds)} folds; name "
            "those that all have with --folds"
        )
    for fold in folds[0]:
        parts, rules = [], []
        for store in stores:
            roles = scan_roles(store.index.scans, store.spec, protocol.evaluation, fold)
            rule = protocol.training.normalisation[store.spec.modality]
            scans = training_scans(store.index.scans, roles)
            parts.append(open_slices(store, scans, normalisation(store, rule, scans)))
            rules.append(rule)
        yield fold, JoinedPictures(parts), "+".join(rules)


def _table(folder: Path, recipe: DenseCLRecipe) -> str:
    """Return the means over the first and the last tenth of the steps with full queues, and chance."""
    from protocols.training.pretraining import summarise_losses

    chance = {"match": 1 / recipe.cells, "first": 1 / (recipe.queue + 1)}
    lines = [f"{'':10}{'first tenth':>12}{'last tenth':>12}{'chance':>10}"]
    for name, (first, last) in summarise_losses(folder).items():
        by_chance = f"{chance[name]:10.4f}" if name in chance else ""
        lines.append(f"{name:10}{first:12.4f}{last:12.4f}{by_chance}".rstrip())
    return "\n".join(lines)
