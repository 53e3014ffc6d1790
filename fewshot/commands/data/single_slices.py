"""`fewshot prepare` for scans of one slice each: sets of pictures, and middle slices of spines."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError
from fewshot.commands.data.store_summary import facts_of, summary

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from episodes.store.dataset import DatasetSpec
    from episodes.store.store import Store

SPINES = ("spine-generic-t1w", "spine-generic-t2w")


@dataclass(frozen=True)
class SingleSlices:
    """A folder whose scans are one slice each: how many, the word for one, how a store is made of them."""

    count: int
    word: str
    is_source_of: Callable[[Store], bool]
    build: Callable[..., Store]


def picture_spec(args: argparse.Namespace) -> tuple[DatasetSpec, int] | None:
    """Return the facts of a set of pictures and its number of folds; None for volumes."""
    from episodes.prepare.own_data.facts import read_own_facts
    from episodes.store.dataset import known_datasets, load_dataset_spec

    folds = 5
    if args.spec is not None:
        own = read_own_facts(args.spec, args.dataset)
        spec, folds = own.spec, own.folds or folds
    elif args.dataset in known_datasets():
        spec = load_dataset_spec(args.dataset)
    else:
        return None
    return (spec, folds) if spec.modality == "picture" else None


def prepare_pictures(args: argparse.Namespace, spec: DatasetSpec, folds: int) -> int:
    """Prepare a folder of pictures and masks; `spec` and `folds` as `picture_spec` gives them."""
    from episodes.prepare.picture_sets.build import build_picture_store, same_pictures
    from episodes.prepare.picture_sets.layouts import find_pictures
    from episodes.prepare.picture_sets.with_sentences import find_with_sentences, has_parts

    if args.folder is None:
        raise UserError(f"{args.dataset} is prepared from files: give the FOLDER that holds its pictures")
    find = find_with_sentences if has_parts(args.folder) else find_pictures
    found = find(args.folder, folds)
    build = partial(build_picture_store, found)
    slices = SingleSlices(len(found.pairs), "picture", lambda store: same_pictures(store, found), build)
    return _single_slices(args, spec, slices, found.name, "the lesions")


def prepare_spines(args: argparse.Namespace) -> int:
    """Prepare the middle slices of spines with labelled discs."""
    from episodes.prepare.spine_sets.build import build_spine_store, same_spines
    from episodes.prepare.spine_sets.spine_generic import CONTRASTS, find_spines
    from episodes.store.dataset import load_dataset_spec

    if args.folder is None:
        raise UserError(f"{args.dataset} is prepared from files: give the FOLDER that holds its spines")
    found = find_spines(args.folder, CONTRASTS[args.dataset])
    slices = SingleSlices(
        len(found.scans), "scan", lambda store: same_spines(store, found), partial(build_spine_store, found)
    )
    name = f"Spine Generic, {CONTRASTS[args.dataset]}"
    return _single_slices(args, load_dataset_spec(args.dataset), slices, name, "the discs")


def _single_slices(
    args: argparse.Namespace, spec: DatasetSpec, slices: SingleSlices, layout: str, shown: str
) -> int:
    """Make the store of a folder of single slices, unless it is there, and print its summary."""
    from episodes.figures.contact_sheet import write_contact_sheet
    from episodes.store.store import Store
    from fewshot.base.progress import progress
    from fewshot.files.locks import locked

    destination: Path = args.work / "stores" / spec.name
    with locked(args.work / "locks" / f"store-{spec.name}.lock"):
        if destination.exists() and not args.overwrite:
            store = Store.open(destination)
            if not slices.is_source_of(store):
                raise UserError(
                    f"{destination} was prepared from other files than {args.folder} holds; use --overwrite "
                    "to replace it, or another --work folder"
                )
            print(f"{destination} was already prepared from these files; nothing to do")
        else:
            with progress(2 * slices.count, f"{spec.name}: {slices.word}s", slices.word) as bar:
                store = slices.build(
                    spec, destination, overwrite=args.overwrite, workers=args.workers,
                    on_progress=bar.update,
                    finish=lambda made: write_contact_sheet(made, made.path / "contact.png"),
                )  # fmt: skip
    print(f"{args.folder}: {layout}")
    print(summary(store, facts_of(store)))
    print(f"look at {destination / 'contact.png'}: {shown} must lie within their outlines")
    return 0
