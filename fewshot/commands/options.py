"""Options that several commands share, one function an option or group, and the functions that read them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _ArgumentGroup as ArgumentGroup


def add_evaluation(parser: argparse.ArgumentParser, *, required: bool = True) -> ArgumentGroup:
    """Add the options that name the evaluated cells; `required`: --dataset must be typed, --setting is 1."""
    group = parser.add_argument_group("evaluation")
    group.add_argument("--dataset", required=required, metavar="D", help="a prepared dataset, e.g. chaost2")
    group.add_argument("--protocol", default="alpnet-ep1", metavar="P", help="name or .toml file")
    group.add_argument(
        "--setting", type=int, choices=(1, 2), default=1 if required else None,
        help="1: training may see (unlabelled) slices that show tested classes; 2: it may not",
    )  # fmt: skip
    group.add_argument(
        "--shots", type=int, metavar="K", help="support scans per query scan (default: the protocol's, 1)"
    )
    group.add_argument(
        "--parts", type=int, metavar="N", help="parts of a query, an odd number (default: the protocol's)"
    )
    add_folds(group)
    group.add_argument("--groups", default="all", metavar="G", help="class groups: all, or names with commas")
    return group


def add_folds(group: ArgumentGroup, default: str = "all") -> None:
    """Add `--folds`."""
    group.add_argument("--folds", default=default, metavar="F", help="all, or numbers from 0 with commas")


def add_training(parser: argparse.ArgumentParser) -> ArgumentGroup:
    """Add the options that train a method, without its seed."""
    group = parser.add_argument_group("training")
    add_encoder(group)
    group.add_argument(
        "--weights", metavar="W",
        help="random, imagenet, coco, a file or a folder, {fold} filled in (default: the recipe's)",
    )  # fmt: skip
    group.add_argument(
        "--recipe", default="published", metavar="NAME",
        help="the recipe whose numbers hold where no option gives others: published, short "
        "(fewshot list recipes; default: published)",
    )  # fmt: skip
    group.add_argument(
        "--steps", type=int, metavar="N", help="training steps, 0 for none (default: the recipe's)"
    )
    group.add_argument(
        "--train-dataset", metavar="D", help="train on every scan of D and on no scan of --dataset"
    )
    group.add_argument(
        "--checkpoint-policy", default="last", choices=("last", "validation", "oracle"),
        help="the checkpoint to evaluate; validation: best on the training scan before the fold, which "
        "training then leaves out; oracle: best on the test fold, listed apart from the main board",
    )  # fmt: skip
    add_option(group)
    add_training_machine(group)
    return group


def add_training_machine(group: ArgumentGroup) -> None:
    """Add the precision of training and the interval of its checkpoints."""
    group.add_argument(
        "--precision", default="float32", choices=("float32", "bf16"), help="precision of training"
    )
    group.add_argument(
        "--checkpoint-every", type=int, default=200, metavar="N", help="training steps between checkpoints"
    )


def add_encoder(group: ArgumentGroup) -> None:
    """Add `--encoder`, whose default is the method's."""
    group.add_argument(
        "--encoder",
        metavar="E",
        help="resnet18, resnet50, resnet101 or dinov2-small, -base, -large (default: the method's)",
    )


def add_option(group: ArgumentGroup, text: str = "an option of the method or its recipe") -> None:
    """Add `--option`, which may be repeated; `text` says what it sets."""
    group.add_argument(
        "--option", action="append", default=[], metavar="K=V", help=f"{text}; may be repeated"
    )


def add_seeds(group: ArgumentGroup) -> None:
    """Add `--seeds`, several training seeds."""
    group.add_argument("--seeds", default="0,1,2", metavar="N,N", help="training seeds with commas")


def add_machine(parser: argparse.ArgumentParser, several: bool = False) -> ArgumentGroup:
    """Add where and how to compute; `several`: --device may name several devices at once."""
    group = add_device(parser, "; devices with commas share the cells" if several else "")
    add_batch(group)
    group.add_argument(
        "--eval-precision", default="float32", choices=("float32", "bf16"),
        help="encoder precision during evaluation; tables label bf16 results",
    )  # fmt: skip
    group = parser.add_argument_group("records")
    group.add_argument(
        "--save-predictions", action="store_true",
        help="write a NIfTI label map of every query scan to WORK/predictions (docs/predictions.md)",
    )  # fmt: skip
    add_grid(group, "of saved label maps")
    group.add_argument("--overwrite", action="store_true", help="evaluate recorded cells again")
    group.add_argument(
        "--observer", action="append", default=[], metavar="URL",
        help="a database for Sacred's runs beside WORK/runs, such as sqlite:///FILE or mongodb://HOST/NAME; "
        "may be repeated (default: those in $FEWSHOT_OBSERVERS, with spaces)",
    )  # fmt: skip
    return group


def add_device(parser: argparse.ArgumentParser, more: str = "") -> ArgumentGroup:
    """Add a group with the device; `more`: what else --device takes."""
    group = parser.add_argument_group("machine")
    group.add_argument("--device", default="auto", metavar="D", help=f"auto, cpu, cuda or cuda:N{more}")
    return group


def add_batch(group: ArgumentGroup) -> None:
    """Add how many slices are encoded at once."""
    group.add_argument(
        "--batch", type=int, default=0, metavar="N",
        help="slices encoded at once (default: 64 on a GPU, 2 on a CPU)",
    )  # fmt: skip


def add_grid(group: ArgumentGroup, text: str) -> None:
    """Add `--grid`; `text` says of what."""
    group.add_argument(
        "--grid", default="original", choices=("original", "store"),
        help=f"voxels {text}; original: those of the scan's file, with its header; store: the prepared "
        "slices",
    )  # fmt: skip


def add_format(group: ArgumentGroup, formats: Sequence[str]) -> None:
    """Add `--format`, one of `formats`; the first is the default."""
    group.add_argument("--format", default=formats[0], choices=tuple(formats), help="format of the output")


def add_output(parser: argparse.ArgumentParser, formats: Sequence[str]) -> ArgumentGroup:
    """Add `--format` and `--out` of a command that prints text; `write_output` reads them."""
    group = parser.add_argument_group("output")
    add_format(group, formats)
    group.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write the output to FILE and print its path (default: print)",
    )
    return group


def add_names(group: ArgumentGroup) -> None:
    """Add `--names`; `parse_names` reads it."""
    group.add_argument(
        "--names", nargs="+", default=[], metavar="OLD=NEW",
        help="other names of methods in the output; OLD is a method or, in boards, an id",
    )  # fmt: skip


def parse_names(texts: Sequence[str]) -> dict[str, str]:
    """Return OLD -> NEW of `--names`; `UserError` for a text of another form or a repeated OLD."""
    from fewshot.base.errors import UserError

    names: dict[str, str] = {}
    for text in texts:
        old, equals, new = text.partition("=")
        if not (old and equals and new.strip()):
            raise UserError(f"--names {text!r}: expected OLD=NEW, such as ssl-alpnet=SSL-ALPNet")
        if old in names:
            raise UserError(f"--names {text!r}: {old} has the name {names[old]!r} already; give it once")
        names[old] = new
    return names


def write_output(text: str, out: Path | None) -> None:
    """Print `text`, or write it to `out` and print that path."""
    from fewshot.files.atomic_io import atomic_write

    if out is None:
        print(text)
        return
    with atomic_write(out) as stream:
        stream.write(text + "\n")
    print(out)
