"""Read the options that several commands share: stores, models, devices, seeds, slices, groups."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError, listed, short, unknown_name

if TYPE_CHECKING:
    import torch

    from episodes.store.dataset import DatasetSpec
    from episodes.store.store import Store
    from protocols.request import Request
    from protocols.training.method import MethodConfig
    from results.records.record import Record


MOST_DIGITS = 18  # of a number in a list


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= MOST_DIGITS


def parse_options(pairs: Sequence[str]) -> dict[str, str]:
    """Return `--option name=value` pairs as a dict; a pair without `=` or a name given twice is an error."""
    options: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise UserError(f"--option {pair!r}: expected name=value")
        if name in options:
            raise UserError(f"--option {name}: given twice ({options[name]!r} and {value!r}); keep one")
        options[name] = value
    return options


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of `--seeds 0,1,2`, in the order given; a repeated seed is an error."""
    parts = text.split(",")
    numbers = {int(part) for part in parts if _is_number(part)}
    if len(numbers) < len(parts):
        raise UserError(
            f"--seeds {short(repr(text))}: expected different whole numbers with commas, such as 0,1,2"
        )
    return tuple(int(part) for part in parts)


def parse_slices(text: str | None) -> tuple[int, int] | None:
    """Return first and last slice, both included, of `--slices A:B`; None without `--slices`."""
    if text is None:
        return None
    first, separator, last = text.partition(":")
    if not separator or not _is_number(first) or not _is_number(last):
        raise UserError(f"--slices {short(repr(text))}: expected A:B, two slice numbers from 0 such as 4:17")
    return int(first), int(last)


def choose_groups(text: str, known: Sequence[str], dataset: str) -> tuple[str, ...]:
    """Return the groups that `all` or names with commas select; an unknown name is an error."""
    if text == "all":
        return tuple(known)
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in known:
            raise unknown_name(f"group of {dataset}", name, known)
    return names


def parse_devices(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the devices of `--device`, all present; `args.device` becomes the first of them."""
    devices = tuple(args.device.split(","))
    for device in reversed(devices):
        choose_device(device)
    args.device = devices[0]
    return devices


def share_devices(args: argparse.Namespace, devices: Sequence[str]) -> None:
    """Run the command once on each of several devices; return when all have finished.

    The caller then finds every cell recorded. A single device starts no process.
    """
    if len(devices) > 1:
        from fewshot.commands.devices import work_side_by_side

        work_side_by_side(args.typed, devices, args.overwrite)


def run_request(args: argparse.Namespace) -> tuple[Request, MethodConfig]:
    """Return the request and the method of the arguments of `fewshot run`; `args.device` is one device."""
    from dataclasses import fields, replace

    from fewshot.learners.registry import options_class, resolve_method
    from protocols.training.method_config import build_method_config

    method_options = parse_options(args.option)
    if args.stages is not None:
        if "stages" not in {field.name for field in fields(options_class(resolve_method(args.method)))}:
            raise UserError(f"--stages: {args.method} is not trained in stages; leave it out")
        if "stages" in method_options:
            raise UserError("--stages and --option stages= are the same: give one of them")
        method_options["stages"] = args.stages
    method = build_method_config(
        args.method, method_options, encoder=args.encoder, weights=args.weights, steps=args.steps,
        seed=args.seed, precision=args.precision, compiled=args.compile, recipe=args.recipe,
    )  # fmt: skip
    plain = request(args, args.dataset, args.setting, args.checkpoint_every)
    other = None if args.train_dataset is None else open_store(args.work, args.train_dataset)
    return replace(plain, checkpoint_policy=args.checkpoint_policy, train_store=other), method


def open_store(work: Path, dataset: str) -> Store:
    """Open the prepared dataset; an unknown name raises `UserError` with the near names.

    A missing phantom dataset is made at its default size, because it needs no file of the user's.
    """
    from episodes.store.dataset import known_datasets
    from episodes.store.store import Store
    from fewshot.files.names import path_in

    folder = path_in(work / "stores", "dataset", dataset)
    if not folder.is_dir():
        from episodes.phantoms.generate import PHANTOMS
        from fewshot.commands.phantoms import ensure_phantoms

        if dataset in PHANTOMS:
            return ensure_phantoms(work, dataset)[0]
        prepared = {path.name for path in (work / "stores").glob("*") if (path / "index.json").exists()}
        if dataset not in prepared | set(known_datasets()):
            error = unknown_name("dataset", dataset, prepared | set(known_datasets()))
            raise UserError(f"{error}; prepare your own with: fewshot prepare {dataset} FOLDER --spec FILE")
        raise UserError(
            f"dataset {dataset!r} is not prepared in {work}; run: fewshot prepare {dataset} FOLDER"
        )
    return Store.open(folder)


def dataset_spec(work: Path, dataset: str) -> DatasetSpec:
    """Return the facts of a dataset; a missing phantom dataset is not made, another one is an error.

    Commands check folds and groups with them before `open_store` makes phantoms.
    """
    from episodes.phantoms.generate import PHANTOMS, phantom_spec

    if dataset in PHANTOMS and not (work / "stores" / dataset).is_dir():
        return phantom_spec(dataset)
    return open_store(work, dataset).spec


def model_folder(work: Path, beginning: str) -> Path:
    """Return the folder of the one model under WORK/models whose key begins with `beginning`."""
    from fewshot.files.names import checked_name

    checked_name("model", beginning)
    folders = sorted(path.parent for path in (work / "models").glob(f"{beginning}*/spec.json"))
    if len(folders) != 1:
        names = listed(folder.name for folder in folders) or "no key"
        raise UserError(
            f"model {short(repr(beginning))}: {names} under {work / 'models'}; expected exactly one key; "
            "see fewshot list models"
        )
    return folders[0]


def choose_device(name: str) -> torch.device:
    """Return the device; `auto` is a GPU if there is one; `cuda` without a GPU raises `UserError`."""
    import torch

    kind, colon, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (colon and not (kind == "cuda" and number.isdecimal())):
        raise UserError(f"--device {name!r}: expected auto, cpu, cuda, or one of several as cuda:1")
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
    """Return how many slices to encode at once: 64 on a GPU; 2 on a CPU, where small batches are fastest."""
    if batch < 0:
        raise UserError(f"--batch {batch}: expected 1 or more, or 0 to choose by device")
    return batch or (64 if device.type == "cuda" else 2)


def print_predictions(args: argparse.Namespace, records: Sequence[Record]) -> None:
    """With `--save-predictions`, print where the masks of recorded cells lie and how large they are."""
    from protocols.saved_masks.saved_files import describe_predictions

    if args.save_predictions:
        for line in describe_predictions(args.work, records):
            print(line)


def request(
    args: argparse.Namespace, dataset: str, setting: int, checkpoint_every: int = 200, name: str | None = None
) -> Request:
    """Return the request of a command's arguments; every unknown name raises `UserError`.

    Args:
        args: the parsed options of `add_evaluation` and `add_machine`.
        dataset: name of the prepared dataset.
        setting: 1 or 2.
        checkpoint_every: training steps between checkpoints.
        name: the protocol, if `args.protocol` holds several.
    """
    from protocols.cells.tracking import check_observers
    from protocols.request import Request
    from protocols.rules.spec import choose_folds, load_protocol

    protocol = load_protocol(args.protocol if name is None else name).with_shots_and_parts(
        args.shots, args.parts
    )
    spec = dataset_spec(args.work, dataset)
    folds = choose_folds(args.folds, protocol.fold_borders_for(spec))
    groups = choose_groups(args.groups, tuple(protocol.groups_for(spec)), dataset)
    device = choose_device(args.device)
    batch = choose_batch(args.batch, device)
    return Request(
        store=open_store(args.work, dataset),
        protocol=protocol,
        setting=setting,
        folds=folds,
        groups=groups,
        work=args.work,
        device=device,
        batch=batch,
        checkpoint_every=checkpoint_every,
        save_predictions=args.save_predictions,
        grid=args.grid,
        overwrite=args.overwrite,
        eval_precision=args.eval_precision,
        observers=check_observers(args.observer or os.environ.get("FEWSHOT_OBSERVERS", "").split()),
    )
