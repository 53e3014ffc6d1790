"""Make a store from a folder of volumes: a dataset's download, or image_ID.nii.gz beside label_ID.nii.gz.

Downloads are prepared by the rules of the published results. The command prints what it found, with warnings;
an impossible input stops it. The store is WORK/stores/DATASET. Its contact.png shows every scan (the first
50; contact-2.png and so on show the others). A store made of the same files by the same facts is left as it
is; --overwrite replaces a store of other files. A dataset of your own needs a --spec FILE, which --init-spec
writes as far as it understands the folder (docs/your-data.md). An interrupted command continues when typed
again.

Examples:
  fewshot prepare chaost2 downloads/CHAOS
  fewshot prepare my-mri scans --init-spec
  fewshot prepare my-mri scans --spec my-mri.toml
  fewshot prepare phantom-mri --size 64
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.base.errors import UserError, unknown_name
from fewshot.commands.data.single_slices import SPINES, picture_spec, prepare_pictures, prepare_spines
from fewshot.commands.data.store_summary import facts_of, summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from episodes.prepare.audit import ScanFacts
    from episodes.prepare.scan import RawScan
    from episodes.store.dataset import DatasetSpec
    from episodes.store.store import Store


@dataclass(frozen=True)
class FolderLayout:
    """How a folder holds its scans: a name to print, and two fields of its `Layout`."""

    name: str
    strict: bool
    prepared_by: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "dataset", metavar="DATASET", help="a known dataset (fewshot list datasets), or your own with --spec"
    )
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        metavar="FOLDER",
        help="folder of the volumes; phantoms need no folder",
    )
    group = parser.add_argument_group("volumes")
    group.add_argument(
        "--spec", type=Path, metavar="FILE", help="TOML file of your own dataset's facts: docs/your-data.md"
    )
    group.add_argument(
        "--channel", metavar="C", help="with --spec: name or number of the channel of images with several"
    )
    group.add_argument(
        "--in-plane-mm", type=float, metavar="MM",
        help="resample the prepared slices to pixels of MM; the dataset is then called DATASET-MMmm",
    )  # fmt: skip
    group.add_argument(
        "--init-spec", action="store_true",
        help="write what the program understands of FOLDER to DATASET.toml, or to --spec FILE, and stop",
    )  # fmt: skip
    group = parser.add_argument_group("phantoms")
    group.add_argument("--size", type=int, metavar="N", help="pixels a side of a phantom (default: 96)")
    group.add_argument(
        "--phantom-slices", type=int, metavar="N",
        help="mean number of slices of a phantom (default: that of its kind)",
    )  # fmt: skip
    group = parser.add_argument_group("machine")
    group.add_argument("--workers", type=int, default=0, metavar="N", help="threads (default: one per core)")
    group = parser.add_argument_group("store")
    group.add_argument("--overwrite", action="store_true", help="replace a store of other files")


def run(args: argparse.Namespace) -> int:
    """Prepare the dataset, print its facts and warnings, and return 0."""
    from episodes.figures.contact_sheet import MOST, write_contact_sheet
    from episodes.phantoms.generate import PHANTOMS
    from fewshot.files.locks import locked

    if args.workers < 0:
        raise UserError(f"--workers {args.workers}: expected 1 or more, or 0 for one per core")
    if args.init_spec:
        return _init_spec(args)
    if args.channel is not None and args.spec is None:
        raise UserError("--channel is of your own dataset: give its facts with --spec FILE")
    if args.in_plane_mm is not None and not args.in_plane_mm > 0:
        raise UserError(f"--in-plane-mm {args.in_plane_mm:g}: expected a size in mm above 0")
    if args.spec is None and args.dataset in PHANTOMS:
        return _phantoms(args)
    if args.size is not None or args.phantom_slices is not None:
        raise UserError(
            f"--size and --phantom-slices are of phantoms ({', '.join(PHANTOMS)}), not of {args.dataset}"
        )
    if args.folder is not None:
        _check_apart(args.folder, args.work / "stores" / args.dataset)
    if args.spec is None and args.dataset in SPINES:
        return prepare_spines(args)
    picture_set = picture_spec(args)
    if picture_set is not None:
        return prepare_pictures(args, *picture_set)
    spec, scans, layout = _layout_of(args)
    if args.in_plane_mm is not None:
        from episodes.prepare.grid_rules import smaller_slices

        spec, scans = smaller_slices(spec, scans, args.in_plane_mm)
        _check_apart(args.folder, args.work / "stores" / spec.name)
    destination: Path = args.work / "stores" / spec.name
    picture = destination / "contact.png"
    with locked(args.work / "locks" / f"store-{spec.name}.lock"):
        store = None if args.overwrite else _already_prepared(args.folder, scans, spec, destination)
        if store is None:
            store, facts = _prepare(scans, spec, destination, layout, args.overwrite, args.workers)
        else:
            print(f"{destination} was already prepared from these files; nothing to do")
            if store.prepared_by != layout.prepared_by:
                print(
                    "its index does not say who prepared it; --overwrite prepares it again and writes it down"
                )
            facts = facts_of(store)
        if not picture.exists():
            write_contact_sheet(store, picture)
    print(f"{args.folder}: {layout.name}")
    print(summary(store, facts))
    more = " and those beside it" if len(store.index.scans) > MOST else ""
    print(f"look at {picture}{more}: the organs must lie within their outlines, and alike in every scan")
    return 0


def _check_apart(folder: Path, destination: Path) -> None:
    """Raise `UserError` if the store would replace the folder of the volumes, or lie in its place."""
    source, store = folder.resolve(), destination.resolve()
    if source == store or store in source.parents:
        raise UserError(
            f"FOLDER {folder} lies in {destination}, which the store would replace; move the volumes to "
            "another folder, or choose another --work folder"
        )


def _layout_of(args: argparse.Namespace) -> tuple[DatasetSpec, dict[str, RawScan], FolderLayout]:
    """Return the dataset's facts, its raw scans and the layout of its folder."""
    from episodes.prepare.downloads.layouts import detect
    from episodes.prepare.own_data.folder import own_scans, read_own_facts, with_even_folds
    from episodes.prepare.spacing import mark_unknown_spacing
    from episodes.store.dataset import known_datasets, load_dataset_spec

    if args.spec is None and args.dataset not in known_datasets():
        error = unknown_name("dataset", args.dataset, known_datasets())
        raise UserError(f"{error}; give the facts of your own dataset with --spec FILE (docs/your-data.md)")
    own = None if args.spec is None else read_own_facts(args.spec, args.dataset, args.channel)
    spec = load_dataset_spec(args.dataset) if own is None else own.spec
    if args.folder is None:
        raise UserError(f"{args.dataset} is prepared from files: give the FOLDER that holds its volumes")
    if own is not None:
        name = f"image and label files by {args.spec}"
        return *own_scans(args.folder, own), FolderLayout(name, strict=False, prepared_by="unknown")
    name, layout = detect(args.folder, spec)
    scans = layout.scans(args.folder, spec)
    spec = with_even_folds(spec, len(scans))
    facts = mark_unknown_spacing(spec, scans) if name == "published" else spec
    return facts, scans, FolderLayout(name, layout.strict, layout.prepared_by)


def _init_spec(args: argparse.Namespace) -> int:
    """Write the facts that the program understands of a folder as a TOML file to mend."""
    from episodes.prepare.recognition.detection import recognise_folder
    from episodes.prepare.recognition.toml_draft import draft_text
    from episodes.store.dataset import known_datasets
    from fewshot.files.atomic_io import atomic_write
    from fewshot.files.names import checked_name

    name = checked_name("dataset", args.dataset)
    if name in known_datasets():
        raise UserError(f"{name!r} is a shipped dataset, whose facts need no file; give yours another name")
    if args.folder is None:
        raise UserError("--init-spec needs the FOLDER that holds the volumes")
    path = args.spec or Path(f"{name}.toml")
    if path.exists() and not args.overwrite:
        raise UserError(f"{path} exists already; use --overwrite to replace it, or give another --spec FILE")
    draft = recognise_folder(args.folder)
    text = draft_text(draft, name, args.folder, args.channel)
    with atomic_write(path) as stream:
        stream.write(text)
    print(f"{args.folder}: {draft.layout}, {draft.count} scans")
    for note in draft.notes:
        print(f"note: {note}")
    print(f"{path}: read it, mend it, then: fewshot prepare {name} {args.folder} --spec {path}")
    return 0


def _phantoms(args: argparse.Namespace) -> int:
    from fewshot.commands.phantoms import ensure_phantoms

    if args.folder is not None:
        raise UserError(f"{args.dataset} is made by the program: leave out {args.folder}")
    store, new = ensure_phantoms(
        args.work, args.dataset, size=args.size, slices=args.phantom_slices, overwrite=args.overwrite,
        workers=args.workers,
    )  # fmt: skip
    if not new:
        print(f"{store.path} holds these phantoms already; nothing to do")
    print(summary(store, facts_of(store)))
    print(f"look at {store.path / 'contact.png'}")
    return 0


def _already_prepared(
    folder: Path, scans: Mapping[str, RawScan], spec: DatasetSpec, destination: Path
) -> Store | None:
    """Return the store at `destination`, None without one; `UserError` for one of other files or changed."""
    from episodes.prepare.build import same_sources
    from episodes.store.store import Store

    if not destination.exists():
        return None
    store = Store.open(destination)
    if not same_sources(store, spec, scans):
        raise UserError(
            f"{destination} was prepared from other files than {folder} holds, or by other facts; use "
            "--overwrite to replace it, or another --work folder"
        )
    store.check_arrays()
    return store


def _prepare(
    scans: Mapping[str, RawScan],
    spec: DatasetSpec,
    destination: Path,
    layout: FolderLayout,
    overwrite: bool,
    workers: int,
) -> tuple[Store, list[ScanFacts]]:
    from contextlib import ExitStack

    from episodes.figures.contact_sheet import write_contact_sheet
    from episodes.prepare.build import build_store
    from episodes.prepare.unfinished import UnfinishedStore
    from fewshot.base.progress import progress
    from fewshot.identity.versions import PARTS

    versions = {part: PARTS[part] for part in ("preparation", "pseudo_labels")}
    unfinished = UnfinishedStore(destination.with_name(f".{destination.name}.unfinished"), versions)
    facts: list[ScanFacts] = []
    with ExitStack() as stack:
        bars = [stack.enter_context(progress(len(scans), f"{spec.name}: checking pairs", "scan"))]

        def add_facts(scan: ScanFacts) -> None:
            bars[-1].update(1)
            facts.append(scan)
            if len(facts) == len(scans):
                stack.close()
                total = sum(each.shape[0] for each in facts)
                bars.append(stack.enter_context(progress(total, f"{spec.name}: superpixels", "slice")))

        store = build_store(
            scans,
            spec,
            destination,
            overwrite=overwrite,
            strict=layout.strict,
            prepared_by=layout.prepared_by,
            workers=workers,
            on_scan=add_facts,
            on_progress=lambda count: bars[-1].update(count),
            finish=lambda made: write_contact_sheet(made, made.path / "contact.png"),
            unfinished=unfinished,
        )
    return store, facts
