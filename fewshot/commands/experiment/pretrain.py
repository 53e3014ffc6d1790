"""Pre-train a backbone on unlabelled images by DenseCL, or an encoder of sentences by SimSiam.

Their file is for `--weights`: that of DenseCL for any method on a ResNet, that of SimSiam for mptpn. SimSiam
takes a folder; its workbook Train_text.xlsx, if there is one, gives each picture its sentence.

The images are the JPEG and PNG files of a folder (of a ROCO folder, the radiology part), or the slices of
prepared datasets. Datasets give one backbone a fold, made from the fold's training scans. `fewshot run`
refuses a backbone that saw a query scan, or that began with weights that saw one (`--weights FILE`). The
command prints each backbone's path and losses, and the rates of correct matches beside chance. To use
several processes of one machine: torchrun --nproc-per-node N -m fewshot pretrain densecl ...

Examples:
  fewshot pretrain densecl --images roco/train --weights imagenet
  fewshot pretrain simsiam --images FOLDER --encoder ppe-s64-c8 --recipe small
  fewshot pretrain densecl --dataset chaost2 --recipe small --encoder resnet18 --out backbone_{fold}.pth
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError
from fewshot.commands import options, shared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from episodes.contrastive.images import Pictures
    from fewshot.pretraining.densecl import DenseCLRecipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("kind", choices=("densecl", "simsiam"), metavar="KIND", help="densecl or simsiam")
    group = parser.add_argument_group("images")
    source = group.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, metavar="FOLDER", help="folder of JPEG and PNG files")
    source.add_argument("--dataset", nargs="+", metavar="D", help="prepared datasets, e.g. chaost2")
    group.add_argument(
        "--protocol", default="alpnet-ep1", metavar="P",
        help="name or .toml file; with --dataset: its folds and intensities",
    )  # fmt: skip
    options.add_folds(group)
    group = parser.add_argument_group("training")
    group.add_argument(
        "--encoder", metavar="E",
        help="resnet18, resnet50 or resnet101 (default: resnet101); of simsiam: ppe (default), ppe-s96-c8",
    )  # fmt: skip
    group.add_argument("--weights", default="random", metavar="W", help="random, imagenet, coco or a file")
    group.add_argument(
        "--recipe", default="published", choices=("published", "small"),
        help="small, for a CPU: 64 px, batch 64, queue 1,024; of simsiam: batch 8, 10 epochs",
    )  # fmt: skip
    options.add_option(group, "a number of the recipe, such as epochs=5")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="training seed")
    options.add_training_machine(group)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", metavar="FILE",
        help="also copy each backbone to FILE; with --dataset the name holds {fold} (default: WORK only)",
    )  # fmt: skip
    options.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Train the missing backbones; print their paths and losses."""
    return _simsiam(args) if args.kind == "simsiam" else _densecl(args)


def _simsiam(args: argparse.Namespace) -> int:
    """Train the missing encoder of pictures and sentences; print its path."""
    from episodes.contrastive.images import open_folder
    from fewshot.files.atomic_io import copy_to
    from fewshot.learners.options import options_from
    from fewshot.pretraining.distributed import init_distributed
    from fewshot.pretraining.simsiam import SIMSIAM_RECIPES, SimSiamRecipe
    from protocols.studies.prompt_pretraining import PromptPretraining, ensure_prompt_encoder

    if args.images is None:
        raise UserError("pretrain simsiam takes a folder of pictures, found --dataset; give --images FOLDER")
    if args.folds != "all":
        raise UserError("--folds is for --dataset: one backbone of a folder serves every fold")
    recipe = options_from(SimSiamRecipe, shared.parse_options(args.option), SIMSIAM_RECIPES[args.recipe])
    with init_distributed(shared.choose_device(args.device)) as (context, device):
        if context.size > 1:
            raise UserError(f"pretrain simsiam runs in one process, found {context.size}; leave torchrun out")
        stage = PromptPretraining(
            recipe,
            args.encoder or "ppe",
            args.seed,
            device,
            args.weights,
            args.precision,
            args.checkpoint_every,
        )
        pictures = open_folder(args.images, args.work / "cache" / "pictures")
        path = ensure_prompt_encoder(stage, pictures, args.work)
        print(f"{args.images.name}: {len(pictures)} images, {path}")
        if args.out is not None:
            copy_to(Path(args.out), path)
    return 0


def _densecl(args: argparse.Namespace) -> int:
    """Train the missing backbones; print their paths and losses."""
    from fewshot.files.atomic_io import copy_to
    from fewshot.learners.options import options_from
    from fewshot.pretraining.densecl import RECIPES
    from fewshot.pretraining.distributed import init_distributed
    from protocols.training.fold_weights import FOLD, fill_fold
    from protocols.training.pretraining import PretrainingSettings, ensure_pretrained

    if args.out is not None and (args.images is None) != (FOLD in args.out):
        remedy = "expected {fold} in the name, one file a fold" if args.images is None else "leave {fold} out"
        raise UserError(f"--out {args.out}: {remedy}")
    base = RECIPES[args.recipe]
    recipe = options_from(type(base), shared.parse_options(args.option), base)
    with init_distributed(shared.choose_device(args.device)) as (context, device):
        stage = PretrainingSettings(
            recipe,
            args.encoder or "resnet101",
            args.seed,
            device,
            args.weights,
            args.precision,
            args.checkpoint_every,
        )
        for fold, pictures, rule in _sources(args):
            path = ensure_pretrained(stage, pictures, rule, args.work, context)
            if context.rank == 0:
                title = args.images.name if fold is None else f"fold {fold}"
                print(f"{title}: {len(pictures)} images, {path}")
                if args.out is not None:
                    copy_to(Path(args.out if fold is None else fill_fold(args.out, fold)), path)
                print(_table(path.parent, recipe))
    return 0


def _sources(args: argparse.Namespace) -> Iterator[tuple[int | None, Pictures, str | None]]:
    """Yield fold, images and intensity rule of each backbone; (None, images, None) for a folder."""
    from episodes.contrastive.images import JoinedPictures, open_folder, open_slices
    from episodes.plan.roles import scan_roles
    from episodes.plan.training_split import training_scans
    from episodes.store.slices import normalisation
    from protocols.rules.spec import choose_folds, load_protocol

    if args.images is not None:
        if args.folds != "all":
            raise UserError("--folds is for --dataset: one backbone of a folder serves every fold")
        yield None, open_folder(args.images, args.work / "cache" / "pictures"), None
        return
    protocol = load_protocol(args.protocol)
    specs = [shared.dataset_spec(args.work, name) for name in args.dataset]
    folds = [choose_folds(args.folds, protocol.fold_borders_for(spec)) for spec in specs]
    stores = [shared.open_store(args.work, name) for name in args.dataset]
    if len({store.hash for store in stores}) < len(stores):
        raise UserError(
            f"--dataset {' '.join(args.dataset)}: a dataset is repeated, so its pictures would count "
            "twice; name each once"
        )
    if len(set(folds)) > 1:
        raise UserError(
            f"--dataset {' '.join(args.dataset)}: {', '.join(str(len(numbers)) for numbers in folds)} folds; "
            "name those that all have with --folds"
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
