"""Checks of every file of a work folder: stores, models, backbones, records, predictions, distances.

Each check reads one thing whole and raises `UserError` for the first fault in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from episodes.pseudo_labels.supervoxels import stored_supervoxels
from episodes.store.scan import REMAKE, array_facts
from episodes.store.store import Store, read_index
from fewshot.base.errors import UserError
from fewshot.encoders.backbone_file import from_json
from fewshot.files.names import checked_name
from fewshot.files.seals import check_hash, read_sealed
from protocols.rules.spec import known_protocols
from protocols.training.models import LAST, PRETRAINING, read_model_checkpoint
from protocols.training.pretraining import BACKBONE, check_backbone
from protocols.training.record_extras import read_record_extras
from protocols.training.spec_file import REMEDY, read_backbone_spec, read_model_spec
from protocols.verification.predictions import check_predictions
from results.records.files import cell_file, parse_record, read_record, record_files, record_texts


@dataclass(frozen=True)
class Check:
    """One thing of a work folder, and the function that raises `UserError` for a fault in it."""

    name: str
    run: Callable[[], None]


@dataclass
class Verification:
    """Number of checks that passed, the message of every fault, and what could not be checked."""

    passed: int = 0
    faults: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


class NotCheckedError(Exception):
    """A thing cannot be checked here; the text says why."""


def run_checks(
    checks: Iterable[Check], on_progress: Callable[[int], None] = lambda _count: None
) -> Verification:
    """Run checks, one after the other, and return their faults; `on_progress(1)` is called after each."""
    verification = Verification()
    for check in checks:
        try:
            check.run()
        except UserError as error:
            verification.faults.append(f"{check.name}: {error}")
        except NotCheckedError as error:
            verification.unchecked.append(f"{check.name}: {error}")
        else:
            verification.passed += 1
        on_progress(1)
    return verification


def list_checks(work: Path) -> list[Check]:
    """Return the checks of a work folder; `UserError` if it does not exist."""
    if not work.is_dir():
        raise UserError(f"no work folder at {work}; give another --work DIR")
    return [
        *(Check(f"store {path.name}", _bind(check_store, path)) for path in _folders(work / "stores")),
        *(Check(f"model {path.name}", _bind(check_model, path)) for path in _folders(work / "models")),
        *(
            Check(f"backbone {path.name}", _bind(check_backbone_folder, path))
            for path in _folders(work / "backbones")
        ),
        *_record_checks(work / "records"),
        *(
            Check(f"predictions {path.name}", _bind(_check_predictions, path))
            for path in _folders(work / "predictions")
        ),
        *(
            Check(f"distances {path.name}", _bind(_check_distances, path))
            for path in sorted((work / "distances").glob("*.json"))
        ),
    ]


def check_store(path: Path) -> None:
    """Check a store: index, every array, every fact that follows from the arrays, and its supervoxels."""
    checked_name("store", path.name)
    store = Store.open(path)
    entries = {entry["id"]: entry for entry in read_index(path)["scans"]}
    for scan in store.index.scans:
        check_entry(store, entries[scan])
    supervoxels = stored_supervoxels(store)
    if supervoxels is not None:
        for scan in store.index.scans:
            supervoxels.scan(scan)


def check_entry(store: Store, entry: dict[str, Any]) -> None:
    """Check the arrays of a scan, and that the facts in its index entry follow from them."""
    stored = store.scan(entry["id"])
    stored.check_arrays()
    facts = array_facts(stored.image, stored.labels, stored.superpixels, store.spec.classes)
    for name, value in facts.items():
        same = (
            math.isclose(value, entry[name], rel_tol=1e-9) if name in ("mean", "m2") else value == entry[name]
        )
        if not same:
            raise UserError(
                f"{store.path / 'index.json'}: {name} of scan {stored.scan_id} is {entry[name]}, its arrays "
                f"give {value}; {REMAKE}"
            )


def check_model(folder: Path) -> None:
    """Check a model folder: spec, every checkpoint, provenance and record extras."""
    spec = read_model_spec(folder)
    steps = int(spec["recipe"]["steps"])
    for path in sorted(folder.glob("*.pt")):
        step = int(read_model_checkpoint(folder, path.name)["step"])
        if step > steps or (path.name != LAST and path.name != f"step_{step}.pt"):
            raise UserError(
                f"{path} is of step {step}, which does not fit its name or {steps} steps; {REMEDY}"
            )
    read_record_extras(folder)
    if (folder / PRETRAINING).is_file():
        from_json(read_sealed(folder / PRETRAINING, REMEDY), folder / PRETRAINING)


def check_backbone_folder(folder: Path) -> None:
    """Check a backbone folder: spec, finished backbone, last checkpoint and record extras."""
    read_backbone_spec(folder)
    if (folder / BACKBONE).is_file():
        check_backbone(folder)
    if (folder / LAST).is_file():
        check_hash(folder / LAST, REMEDY)
    read_record_extras(folder)


def _record_checks(folder: Path) -> Iterator[Check]:
    for path in record_files(folder) if folder.is_dir() else ():
        yield Check(f"record {path.name}", _bind(_check_record, path))


def _check_record(path: Path) -> None:
    for text in record_texts(path):
        record = parse_record(text)
        if record.key is not None:
            cell_file(path.parent, record.key)


def _check_predictions(folder: Path) -> None:
    work = folder.parent.parent
    path = cell_file(work / "records", checked_name("cell", folder.name))
    if path is None:
        raise UserError(f"{folder} has no record in {work / 'records'}; run its cell again, or delete it")
    record = read_record(path)
    if record.protocol.name not in known_protocols():
        raise NotCheckedError(f"protocol {record.protocol.name} is not a shipped one")
    store = work / "stores" / record.dataset.name
    if not store.is_dir():
        raise NotCheckedError(f"dataset {record.dataset.name} is not prepared in {work}")
    check_predictions(record, Store.open(store), folder)


def _check_distances(path: Path) -> None:
    read_sealed(path, "delete it to measure again")


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


def _bind(check: Callable[[Path], None], path: Path) -> Callable[[], None]:
    return lambda: check(path)
