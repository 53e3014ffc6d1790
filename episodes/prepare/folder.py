"""A user's own dataset: a folder of image and label files, described by a TOML file."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from episodes.prepare.listing import scan_files
from episodes.prepare.paired_nifti import raw_scan
from episodes.prepare.scan import RawScan, id_order
from episodes.prepare.spacing import mark_unknown_spacing
from episodes.store.dataset import DatasetSpec, check_keys, known_datasets, read_table, spec_from_table
from fewshot.base.errors import UserError, short, unknown_name
from fewshot.files.names import checked_name

REQUIRED: dict[str, type] = {
    "modality": str,
    "classes": dict,
    "groups": dict,
    "image_size": int,
    "patient_threshold": float,
    "superpixel_min_size": int,
}
OPTIONAL: dict[str, type] = {
    "patients": dict,
    "title": str,
    "tested": list,
    "folds": int,
    "fold_borders": list,
    "crop_or_pad": bool,
    "spacing_known": bool,
    "region": str,
    "images": str,
    "labels": str,
    "sources": list,
}
IMAGES, LABELS = "image_{id}.nii.gz", "label_{id}.nii.gz"


@dataclass(frozen=True)
class OwnFacts:
    """The content of a user's TOML file.

    `spec`: facts of the dataset; if `folds` is a number, `own_scans` replaces its fold borders. `images`,
    `labels`: patterns of file names below the folder, with {id} for the scan's id, once or more often;
    `states_spacing`: whether the file has the key `spacing_known`.
    """

    spec: DatasetSpec
    folds: int | None
    states_spacing: bool
    images: str
    labels: str


def read_own_facts(path: Path, name: str) -> OwnFacts:
    """Return the checked facts of a dataset `name` in the TOML file `path`.

    Raises `UserError` if `name` is a shipped dataset, and for a fault in the file, with key and reason.
    """
    if name in known_datasets():
        raise UserError(
            f"{name!r} is a dataset whose facts are shipped, so --spec {path} cannot change them; leave "
            "--spec out or give your dataset another name"
        )
    where, table = str(path), read_table(path)
    check_keys(where, table, REQUIRED, OPTIONAL)
    if ("folds" in table) == ("fold_borders" in table):
        raise UserError(
            f"{where}: expected either key folds, a number, or key fold_borders, a list; give one"
        )
    folds: int | None = table.get("folds")
    if folds is not None and folds < 2:
        raise UserError(f"{where}: key folds is {folds}, expected 2 or more")
    if not table["groups"]:
        raise UserError(f"{where}: key groups is empty, expected at least one group, a name = [classes]")
    images, labels = table.get("images", IMAGES), table.get("labels", LABELS)
    for key, pattern in (("images", images), ("labels", labels)):
        if "{id}" not in pattern:
            raise UserError(
                f"{where}: key {key} is {short(pattern)!r}, expected {{id}} in it, as in {IMAGES!r}"
            )
    if images == labels:
        raise UserError(f"{where}: keys images and labels are both {images!r}, expected different names")
    facts = {
        "title": name,
        "tested": list(table["classes"]),
        "fold_borders": [0, folds],
        "sources": [],
        **{key: value for key, value in table.items() if key not in ("folds", "images", "labels")},
        "name": name,
        "scans": [],
    }
    return OwnFacts(spec_from_table(facts, where), folds, "spacing_known" in table, images, labels)


def own_scans(folder: Path, facts: OwnFacts) -> tuple[DatasetSpec, dict[str, RawScan]]:
    """Return the dataset's facts with its fold borders, and its scans by id, integer ids first, in order.

    With a number of folds, fold f begins at position f * scans // folds, so the sizes of folds differ by at
    most one scan. Raises `UserError` as `paired_files`, if the folds do not fit the scans, and for a scan of
    a patient that the folder lacks.
    """
    pairs = paired_files(folder, facts.images, facts.labels)
    spec, count = facts.spec, len(pairs)
    for patient, members in spec.patients.items():
        for scan in members:
            if scan not in pairs:
                raise UserError(f"patient {patient} of {spec.name}: {unknown_name('scan', scan, pairs)}")
    if facts.folds is not None:
        if facts.folds > count:
            raise UserError(
                f"{folder} holds {count} scans, too few for {facts.folds} folds; make folds fewer"
            )
        borders = (fold * count // facts.folds for fold in range(facts.folds + 1))
        spec = replace(spec, fold_borders=tuple(borders))
    elif spec.fold_borders[-1] != count:
        raise UserError(
            f"{folder} holds {count} scans, but fold_borders of {spec.name} ends at {spec.fold_borders[-1]}; "
            "make the last border the number of scans"
        )
    scans = {scan: raw_scan(scan, *files, spec) for scan, files in pairs.items()}
    return spec if facts.states_spacing else mark_unknown_spacing(spec, scans), scans


def paired_files(folder: Path, images: str, labels: str) -> dict[str, tuple[Path, Path]]:
    """Return scan id -> (image file, label file) of the files below `folder` that match the patterns.

    If a file matches both patterns, the longer one decides. Raises `UserError` for a folder that is missing
    or has no such file, and for a file without its partner.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the one that holds {images} and {labels}")
    patterns = {"image": images, "label": labels}
    kinds = sorted(patterns, key=lambda kind: len(patterns[kind]), reverse=True)
    found: dict[str, dict[str, Path]] = {"image": {}, "label": {}}
    expressions = {kind: _expression(patterns[kind]) for kind in kinds}

    def is_scan(name: str) -> bool:
        return any(expression.fullmatch(name) for expression in expressions.values())

    for path in scan_files(folder, is_scan, below=True):
        name = path.relative_to(folder).as_posix()
        for kind in kinds:
            match = expressions[kind].fullmatch(name)
            if match is not None:
                found[kind][checked_name("scan", match["id"])] = path
                break
    if not found["image"] and not found["label"]:
        raise UserError(
            f"{folder} holds no {images} and no {labels}; give another folder, or the files' names as keys "
            "images and labels"
        )
    for kind, other in (("label", "image"), ("image", "label")):
        alone = found[other].keys() - found[kind].keys()
        if alone:
            scan = min(alone, key=id_order)
            raise UserError(
                f"{folder} holds no {patterns[kind].replace('{id}', scan)}, the partner of "
                f"{patterns[other].replace('{id}', scan)} ({len(alone)} such); add it or mend the names"
            )
    return {
        scan: (found["image"][scan], found["label"][scan]) for scan in sorted(found["image"], key=id_order)
    }


def _expression(pattern: str) -> re.Pattern[str]:
    """Return the expression of a pattern; every further {id} must repeat the first."""
    first, *rest = (re.escape(part) for part in pattern.split("{id}"))
    return re.compile(f"{first}(?P<id>[^/]+)" + "(?P=id)".join(rest))
