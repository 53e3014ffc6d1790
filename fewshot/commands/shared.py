"""Arguments that several commands take, read the same way by each."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError, unknown_name

if TYPE_CHECKING:
    import torch

    from episodes.store.store import Store
    from protocols.request import Request


def add_question(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add what is asked: dataset, protocol, setting, folds, groups."""
    parser.add_argument("--dataset", required=required, metavar="D", help="a prepared dataset, e.g. chaost2")
    parser.add_argument(
        "--protocol",
        default="alpnet-ep1",
        metavar="P",
        help="name or file; evaluate: also several, with commas (default: alpnet-ep1)",
    )
    parser.add_argument(
        "--setting", type=int, choices=(1, 2), default=1 if required else None,
        help="1: training may see (unlabelled) slices that show tested classes; 2: it may not",
    )  # fmt: skip
    parser.add_argument(
        "--shots", type=int, metavar="K", help="support scans per answer (default: the protocol's, 1)"
    )
    parser.add_argument(
        "--parts", type=int, metavar="N", help="parts of a query, an odd number (default: the protocol's)"
    )
    parser.add_argument(
        "--folds", default="all", metavar="F", help="all, or numbers with commas (default: all)"
    )
    parser.add_argument(
        "--groups", default="all", metavar="G", help="all, or names with commas (default: all)"
    )


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add how a method is trained, but for its seed."""
    parser.add_argument(
        "--encoder", metavar="E", help="resnet18, resnet50 or resnet101 (default: the method's)"
    )
    parser.add_argument(
        "--weights",
        metavar="W",
        help="random, imagenet, coco or a file; {fold} is filled in (default: the encoder's)",
    )
    parser.add_argument(
        "--steps", type=int, metavar="N", help="training steps; 0: untrained (default: published)"
    )
    parser.add_argument(
        "--train-dataset", metavar="D", help="train on all scans of this dataset, and on none of --dataset"
    )
    parser.add_argument(
        "--checkpoint-policy", default="last", choices=("last", "validation", "oracle"),
        help="checkpoint that answers; validation: best on the training scan before the fold, then held out "
        "of training; oracle: best on the test fold, off the main board (default: last)",
    )  # fmt: skip
    parser.add_argument("--precision", default="float32", choices=("float32", "bf16"), help="of training")
    parser.add_argument(
        "--option", action="append", default=[], metavar="K=V", help="an option of the method or recipe"
    )
    parser.add_argument(
        "--checkpoint-every", type=int, default=200, metavar="N", help="steps between checkpoints"
    )


def add_machine(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add where and how it is computed; nothing here changes what is asked. `several`: devices at once."""
    add_device(parser, "; several with commas share the cells" if several else "")
    parser.add_argument(
        "--batch", type=int, default=0, metavar="N", help="slices encoded at once (default: by device)"
    )
    parser.add_argument(
        "--eval-precision", default="float32", choices=("float32", "bf16"),
        help="of the encoder when it answers; bf16 is told in every table (default: float32)",
    )  # fmt: skip
    parser.add_argument(
        "--save-predictions", action="store_true", help="write NIfTI masks of every query slice"
    )
    parser.add_argument("--overwrite", action="store_true", help="evaluate again where a record exists")


def add_device(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add the device; `more`: what else the command takes."""
    parser.add_argument(
        "--device", default="auto", metavar="D", help=f"auto, cpu, cuda or cuda:N{more} (default: auto)"
    )


def parse_options(pairs: Sequence[str]) -> dict[str, str]:
    """Return `--option name=value` pairs as a dict; a pair without `=` or a name given twice is an error."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise UserError(f"--option {pair!r}: wanted name=value")
        if name in found:
            raise UserError(f"--option {name}: given twice ({found[name]!r} and {value!r}); keep one")
        found[name] = value
    return found


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of `--seeds 0,1,2`, in the order given; none twice."""
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts) or len({int(part) for part in parts}) < len(parts):
        raise UserError(f"--seeds {text!r}: wanted different whole numbers with commas, such as 0,1,2")
    return tuple(int(part) for part in parts)


def parse_slices(text: str | None) -> tuple[int, int] | None:
    """Return first and last slice, both included, of `--slices A:B`; None where it was not given."""
    if text is None:
        return None
    first, separator, last = text.partition(":")
    if not separator or not first.isdecimal() or not last.isdecimal():
        raise UserError(f"--slices {text!r}: wanted A:B, two slice numbers from 0 such as 4:17")
    return int(first), int(last)


def choose_groups(text: str, known: Sequence[str], dataset: str) -> tuple[str, ...]:
    """Return the groups named by `all` or by names with commas."""
    if text == "all":
        return tuple(known)
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in known:
            raise unknown_name(f"group of {dataset}", name, known)
    return names


def parse_devices(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the devices that `--device` names, each of them there; the command goes on with the first."""
    devices = tuple(args.device.split(","))
    for device in reversed(devices):
        choose_device(device)
    args.device = devices[0]
    return devices


def share_devices(args: argparse.Namespace, devices: Sequence[str]) -> None:
    """Where several devices are named, have a process on each do the work, before the command does."""
    if len(devices) > 1:
        from fewshot.commands.devices import work_side_by_side

        work_side_by_side(args.typed, devices, args.overwrite)


def open_store(work: Path, dataset: str) -> Store:
    """Open the prepared dataset; a wrong name is answered with the near names.

    Phantoms need nothing of the user's, so those that are not there yet are made, at their usual size.
    """
    from episodes.store.dataset import known_datasets
    from episodes.store.store import Store

    folder = work / "stores" / dataset
    if not folder.is_dir():
        from episodes.phantoms.generate import KINDS
        from fewshot.commands.phantoms import ensure_phantoms

        if dataset in KINDS:
            return ensure_phantoms(work, dataset)[0]
        prepared = {path.name for path in (work / "stores").glob("*") if (path / "index.json").exists()}
        if dataset not in prepared | set(known_datasets()):
            raise unknown_name("dataset", dataset, prepared | set(known_datasets()))
        raise UserError(
            f"dataset {dataset!r} is not prepared in {work}; run: fewshot prepare {dataset} FOLDER"
        )
    return Store.open(folder)


def model_folder(work: Path, beginning: str) -> Path:
    """Return the folder of the one model under WORK/models whose key begins so."""
    folders = sorted(path.parent for path in (work / "models").glob(f"{beginning}*/spec.json"))
    if len(folders) != 1:
        found = ", ".join(folder.name for folder in folders) or "none"
        raise UserError(f"model {beginning!r}: {found} under {work / 'models'}; wanted exactly one key")
    return folders[0]


def choose_device(name: str) -> torch.device:
    """Return the device; `auto` takes the GPU where there is one, `cuda` without one is an error."""
    import torch

    kind, colon, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (colon and not (kind == "cuda" and number.isdecimal())):
        raise UserError(f"--device {name!r}: wanted auto, cpu, cuda, or one of several as cuda:1")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: torch finds no GPU here; use --device cpu")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if colon:
        if int(number) >= torch.cuda.device_count():
            raise UserError(
                f"--device {name}: this machine has {torch.cuda.device_count()} GPUs, counted from 0"
            )
        torch.cuda.set_device(int(number))  # events and streams are those of the current device
    return torch.device(kind, int(number)) if colon else torch.device(kind)


def choose_batch(batch: int, device: torch.device) -> int:
    """Return how many slices to encode at once: few on a CPU, where small batches are fastest."""
    if batch < 0:
        raise UserError(f"--batch {batch}: wanted 1 or more, or 0 to choose by device")
    return batch or (64 if device.type == "cuda" else 2)


def request(
    args: argparse.Namespace, dataset: str, setting: int, checkpoint_every: int = 200, name: str | None = None
) -> Request:
    """Return the resolved question of a command's arguments; every wrong name is refused here.

    `name`: the protocol, where the command takes several.
    """
    from protocols.request import Request
    from protocols.rules.spec import choose_folds, load_protocol

    protocol = load_protocol(args.protocol if name is None else name).asked_with(args.shots, args.parts)
    store = open_store(args.work, dataset)
    device = choose_device(args.device)
    return Request(
        store=store,
        protocol=protocol,
        setting=setting,
        folds=choose_folds(args.folds, protocol.fold_borders_for(store.spec)),
        groups=choose_groups(args.groups, tuple(protocol.groups_for(store.spec)), dataset),
        work=args.work,
        device=device,
        batch=choose_batch(args.batch, device),
        checkpoint_every=checkpoint_every,
        save_predictions=args.save_predictions,
        overwrite=args.overwrite,
        eval_precision=args.eval_precision,
    )
