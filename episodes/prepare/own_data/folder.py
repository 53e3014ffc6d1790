"""A user's own dataset: the scans of a folder, found and read as its facts say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from episodes.io.nifti import NiftiImage, check_pair
from episodes.io.volume_formats import count_volume_channels, read_label_volume, read_volume
from episodes.prepare.crop_pad import square_pair
from episodes.prepare.grid_rules import axial_warning, image_on_grid, label_on_grid
from episodes.prepare.own_data.facts import FileReading, OwnFacts, read_own_facts
from episodes.prepare.own_data.file_patterns import FoundFile, find_by_pattern
from episodes.prepare.own_data.label_maps import combined_masks, merged_values, onto_image, refuse_ignored
from episodes.prepare.scan import PreparedPair, RawScan, id_order, pair_of
from episodes.prepare.spacing import PLACEHOLDER
from episodes.store.dataset import DatasetSpec
from fewshot.base.errors import UserError, unknown_name

__all__ = ["OwnFacts", "own_scans", "paired_files", "read_own_facts"]

Files = tuple[Path, Mapping[str, tuple[Path, ...]]]  # image, and label files or those of each class


def own_scans(folder: Path, facts: OwnFacts) -> tuple[DatasetSpec, dict[str, RawScan]]:
    """Return the dataset's facts with its fold borders, and its scans by id, integer ids first, in order.

    With a number of folds, fold f begins at position f * scans // folds, so the sizes of folds differ by at
    most one scan. Patients that the names of files give are those of the facts.

    Raises:
        UserError: as `scan_files_of`; the folds do not fit the scans; the folder lacks a patient's scan; an
            image has several channels and none is chosen.
    """
    files, patients = scan_files_of(folder, facts.reading)
    spec, count = facts.spec, len(files)
    if patients and not spec.patients:
        spec = replace(spec, patients=patients)
    for patient, members in spec.patients.items():
        for scan in members:
            if scan not in files:
                raise UserError(f"patient {patient} of {spec.name}: {unknown_name('scan', scan, files)}")
    if facts.folds is not None:
        if facts.folds > count:
            raise UserError(
                f"{folder} holds {count} scans, too few for {facts.folds} folds; make folds fewer"
            )
        spec = replace(spec, fold_borders=_borders(list(files), facts.folds, spec.patients))
    elif spec.fold_borders[-1] != count:
        raise UserError(
            f"{folder} holds {count} scans, but fold_borders of {spec.name} ends at {spec.fold_borders[-1]}; "
            "make the last border the number of scans"
        )
    scans = {scan: _raw_scan(scan, *each, spec, facts.reading) for scan, each in files.items()}
    if not facts.states_spacing and not _has_spacing(files):
        spec = replace(spec, spacing_known=False)
        scans = {scan: _raw_scan(scan, *each, spec, facts.reading) for scan, each in files.items()}
    return spec, scans


def _borders(scans: Sequence[str], folds: int, patients: Mapping[str, tuple[str, ...]]) -> tuple[int, ...]:
    """Return even fold borders, moved to the nearest place that parts no scans of one patient.

    Scans of a patient that do not follow one another cannot be kept together so; an audit stops such folds.
    """
    owner = {scan: patient for patient, members in patients.items() for scan in members}
    places = [
        place
        for place in range(1, len(scans))
        if scans[place] not in owner or owner.get(scans[place - 1]) != owner[scans[place]]
    ]
    if len(places) < folds - 1:
        raise UserError(
            f"{len(scans)} scans of {len(places) + 1} patients are too few for {folds} folds, which must not "
            "part a patient's scans; make folds fewer"
        )
    borders, first = [0], 0
    for fold in range(1, folds):
        free = range(first, len(places) - (folds - 1 - fold))
        target = fold * len(scans) // folds
        nearest = min(free, key=[abs(place - target) for place in places].__getitem__)
        borders.append(places[nearest])
        first = nearest + 1
    return (*borders, len(scans))


def with_even_folds(spec: DatasetSpec, count: int) -> DatasetSpec:
    """Return the facts with as many folds, cut evenly among `count` scans, if the dataset lists no scans.

    A dataset whose number of scans depends on its release has such facts. Raises `UserError` for fewer scans
    than folds.
    """
    folds = len(spec.fold_borders) - 1
    if spec.scans or spec.fold_borders[-1] == count:
        return spec
    if count < folds:
        raise UserError(
            f"{spec.name}: {count} scans are too few for its {folds} folds; complete the download"
        )
    return replace(spec, fold_borders=tuple(fold * count // folds for fold in range(folds + 1)))


def paired_files(folder: Path, images: str, labels: str) -> dict[str, tuple[Path, Path]]:
    """Return scan id -> (image file, label file) of the files below `folder` that match the patterns.

    If a file matches both patterns, the longer one decides. Raises `UserError` for a folder that is missing
    or has no such file, and for a file without its partner.
    """
    found, _patients = scan_files_of(folder, FileReading(images=images, labels=labels))
    return {scan: (image, labels_of[""][0]) for scan, (image, labels_of) in found.items()}


def scan_files_of(folder: Path, reading: FileReading) -> tuple[dict[str, Files], dict[str, tuple[str, ...]]]:
    """Return the files of every scan, and patient -> scans where the names give patients with several.

    Args:
        folder: the folder of the scans.
        reading: patterns of the names.

    Raises:
        UserError: the folder is missing or has no such files; two files of one scan; an image without label,
            or a label without image.
    """
    masks = {
        f"mask {name} {place}": pattern
        for name, patterns in reading.masks.items()
        for place, pattern in enumerate(patterns)
    }
    patterns = {"image": reading.images, **(masks or {"label": reading.labels})}
    second = "masks" if masks else reading.labels
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the one that holds {reading.images} and {second}")
    channel = reading.channel if isinstance(reading.channel, str) else ""
    found = find_by_pattern(folder, patterns, channel)
    images = {file.scan: file for file in found["image"]}
    labels: dict[str, dict[str, list[Path]]] = {}
    for kind, files in found.items():
        for file in files if kind != "image" else ():
            name = kind.split(" ")[1] if masks else ""
            labels.setdefault(file.scan, {}).setdefault(name, []).append(file.path)
    if not images and not labels:
        raise UserError(
            f"{folder} holds no {reading.images} and no {second}; give another folder, or the files' names "
            "as "
            "keys images and labels"
        )
    shown = {"image": reading.images, "label": next(iter(masks.values())) if masks else reading.labels}
    for kind, alone in (("label", images.keys() - labels.keys()), ("image", labels.keys() - images.keys())):
        if alone:
            scan, other = min(alone, key=id_order), "image" if kind == "label" else "label"
            raise UserError(
                f"{folder} holds no {_named(shown[kind], scan)}, the partner of {_named(shown[other], scan)} "
                f"({len(alone)} such); add it or mend the names"
            )
    ordered = sorted(images, key=id_order)
    return {
        scan: (images[scan].path, {name: tuple(paths) for name, paths in labels[scan].items()})
        for scan in ordered
    }, _patients([images[scan] for scan in ordered])


def _named(pattern: str, scan: str) -> str:
    patient, _, session = scan.partition("_")
    return pattern.replace("{id}", scan).replace("{patient}", patient).replace("{session}", session)


def _patients(files: Sequence[FoundFile]) -> dict[str, tuple[str, ...]]:
    patients: dict[str, list[str]] = {}
    for file in files:
        if file.patient is not None:
            patients.setdefault(file.patient, []).append(file.scan)
    return {patient: tuple(scans) for patient, scans in patients.items() if len(scans) > 1}


def _check_channels(image: Path) -> None:
    """Raise `UserError` if an image whose channel is not chosen has several."""
    count = count_volume_channels(image)
    if count > 1:
        raise UserError(
            f"{image} has {count} channels or frames; choose one with --channel N, from 0 to {count - 1}"
        )


def _has_spacing(files: Mapping[str, Files]) -> bool:
    """Return whether any image has a spacing other than 1 x 1 x 1 mm; stops at the first."""
    for image, _labels in files.values():
        channel = 0 if count_volume_channels(image) > 1 else None
        if read_volume(image, channel).spacing_mm != PLACEHOLDER:
            return True
    return False


def _raw_scan(
    scan: str,
    image_file: Path,
    labels: Mapping[str, tuple[Path, ...]],
    spec: DatasetSpec,
    reading: FileReading,
) -> RawScan:
    channel = reading.channel if isinstance(reading.channel, int) else None

    def read() -> PreparedPair:
        if channel is None:
            _check_channels(image_file)
        image = read_volume(image_file, channel)
        label = onto_image(_read_label(scan, labels, spec, reading), image)
        check_pair(scan, image, label, spec.classes)
        image = replace(image, warnings=(*image.warnings, *axial_warning(image, spec)))
        pair = pair_of(image_on_grid(image, spec), label_on_grid(label, spec), image)
        return square_pair(pair, spec.image_size) if spec.crop_or_pad else pair

    images = (image_file,) if image_file.is_file() else tuple(sorted(image_file.iterdir()))
    label_files = tuple(path for paths in labels.values() for path in paths)
    return RawScan(images, label_files, read, reading.to_json())


def _read_label(
    scan: str, labels: Mapping[str, tuple[Path, ...]], spec: DatasetSpec, reading: FileReading
) -> NiftiImage:
    if reading.masks:
        return combined_masks(scan, {name: labels.get(name, ()) for name in reading.masks}, spec.classes)
    label = read_label_volume(labels[""][0])
    refuse_ignored(scan, label, reading.ignore)
    return merged_values(scan, label, reading.values, spec.classes) if reading.values else label
