"""Facts of datasets: classes, stored values, fold borders and modality, parsed strictly from TOML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from fewshot.base.errors import UserError, listed, short, unknown_name
from fewshot.files.input_files import read_toml
from fewshot.files.names import checked_name

HOME = Path(__file__).resolve().parent.parent / "datasets"
MODALITIES = ("mr", "ct", "picture")
REGIONS = ("abdomen", "heart")
ORIENTATIONS = ("as-is", "axial")
SLICE_AXES = ("z", "y", "x")
AUTO = "auto"  # a patient_threshold relative to the grey values of each scan
MOST_SPACING_MM = 100.0
MOST_SIZE = 4096  # pixels a side of a model's input
TYPES: dict[str, type] = {
    "name": str,
    "title": str,
    "modality": str,
    "classes": dict,
    "tested": list,
    "scans": list,
    "fold_borders": list,
    "image_size": int,
    "patient_threshold": float,
    "superpixel_min_size": int,
    "sources": list,
}
# keys with their defaults; `to_json`, and so every hash, omits a key with its default
OPTIONAL: dict[str, Any] = {
    "groups": {},
    "patients": {},
    "spacing_known": True,
    "crop_or_pad": False,
    "region": "abdomen",
    "channels": [],
    "orientation": "as-is",
    "slice_axis": "z",
    "resample_mm": [],
    "in_plane_mm": 0.0,
}


@dataclass(frozen=True)
class DatasetSpec:
    """Facts of a dataset, independent of its files.

    `classes`: class name -> stored value, ascending, all values of a label file; `tested`: classes that
    protocols may test; `scans`: ids of the complete set, () for any; `fold_borders`: positions in the
    integer-sorted ids; `image_size`: a model sees volume[:, :image_size, :image_size]; `patient_threshold`: a
    pixel above it may be patient, "auto" for one relative to each scan (`episodes/pseudo_labels/
    patient_threshold.py`); `superpixel_min_size`: smallest superpixel in pixels.

    Optional: `groups`: group name -> tested classes, in addition to the groups of a protocol;
    `spacing_known`: False if the spacing in the files is a placeholder, which rules out results in mm;
    `crop_or_pad`: whether preparation crops or pads slices to `image_size` about their centre; `region`:
    abdomen or heart, for methods with constants for each; `patients`: patient -> scan ids, for patients with
    several scans, which folds must not separate; `channels`: names of registered channels, at least two, for
    methods that need more than the grey image; () for one.

    Optional, on the grid, for a user's own dataset (`episodes/prepare/grid_rules.py`): `orientation`: "axial"
    turns the axes of every scan to left, back and up, "as-is" keeps those of the file; `slice_axis`: the axis
    of the array along which slices lie; `resample_mm`: spacing (z,y,x) of the slices, 0 for an axis that
    stays, () for no resampling; `in_plane_mm`: pixel size to which the prepared slices of any dataset are
    resampled, 0 for none, in which case the name ends in it.
    """

    name: str
    title: str
    modality: str
    classes: Mapping[str, int]
    tested: tuple[str, ...]
    scans: tuple[str, ...]
    fold_borders: tuple[int, ...]
    image_size: int
    patient_threshold: float | str
    superpixel_min_size: int
    sources: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    patients: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    spacing_known: bool = True
    crop_or_pad: bool = False
    region: str = "abdomen"
    channels: tuple[str, ...] = ()
    orientation: str = "as-is"
    slice_axis: str = "z"
    resample_mm: tuple[float, ...] = ()
    in_plane_mm: float = 0.0

    @property
    def base_name(self) -> str:
        """The name without the pixel size of `in_plane_mm`: rules that name a dataset hold for both."""
        return self.name.removesuffix(in_plane_ending(self.in_plane_mm)) if self.in_plane_mm else self.name

    def to_json(self) -> dict[str, Any]:
        """Return the facts as plain JSON values, without defaults; `spec_from_table` parses them."""
        plain = asdict(self)
        for key in ("groups", "patients"):
            plain[key] = {name: list(items) for name, items in getattr(self, key).items()}
        plain["channels"] = list(self.channels)
        plain["resample_mm"] = list(self.resample_mm)
        for key, default in OPTIONAL.items():
            if plain[key] == default:
                del plain[key]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


def in_plane_ending(in_plane_mm: float) -> str:
    """Return the ending of the name of a dataset whose slices are resampled to `in_plane_mm`, as -2.5mm."""
    return f"-{in_plane_mm:g}mm"


def known_datasets() -> tuple[str, ...]:
    """Return the names of the shipped datasets."""
    return tuple(sorted(path.stem for path in HOME.glob("*.toml")))


def load_dataset_spec(name: str) -> DatasetSpec:
    """Return the facts of a shipped dataset; an unknown name raises `UserError` with similar names."""
    if name not in known_datasets():
        raise unknown_name("dataset", name, known_datasets())
    return read_dataset_spec(HOME / f"{name}.toml")


def read_dataset_spec(path: Path) -> DatasetSpec:
    """Return the facts in a TOML file; `UserError` with file, key and reason for a fault."""
    return spec_from_table(read_table(path), str(path))


def read_table(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file; `UserError` if it cannot be read."""
    return read_toml(path)


def spec_from_table(table: Mapping[str, Any], where: str) -> DatasetSpec:
    """Return the checked facts of a parsed TOML table; `where` names its source in errors."""
    numbers = {**table, "patient_threshold": 0.0} if table.get("patient_threshold") == AUTO else table
    check_keys(where, numbers, TYPES, {key: type(default) for key, default in OPTIONAL.items()})
    _check_list(where, "tested", table["tested"], str)
    _check_list(where, "scans", table["scans"], str)
    _check_list(where, "sources", table["sources"], str)
    _check_list(where, "fold_borders", table["fold_borders"], int)
    _check_list(where, "channels", table.get("channels", []), str)
    _check_list(where, "classes", list(table["classes"].values()), int)
    spec = DatasetSpec(
        name=checked_name("dataset", table["name"]),
        title=table["title"],
        modality=table["modality"],
        classes={
            checked_name("class", name): value
            for name, value in sorted(table["classes"].items(), key=lambda item: item[1])
        },
        tested=tuple(table["tested"]),
        scans=tuple(checked_name("scan", scan) for scan in table["scans"]),
        fold_borders=tuple(table["fold_borders"]),
        image_size=table["image_size"],
        patient_threshold=AUTO if numbers is not table else float(table["patient_threshold"]),
        superpixel_min_size=table["superpixel_min_size"],
        sources=tuple(table["sources"]),
        groups=_named_lists(where, "group", table.get("groups", {})),
        patients=_named_lists(where, "patient", table.get("patients", {})),
        spacing_known=table.get("spacing_known", True),
        crop_or_pad=table.get("crop_or_pad", False),
        region=table.get("region", "abdomen"),
        channels=tuple(checked_name("channel", name) for name in table.get("channels", [])),
        orientation=table.get("orientation", "as-is"),
        slice_axis=table.get("slice_axis", "z"),
        resample_mm=_spacing_mm(where, table.get("resample_mm", [])),
        in_plane_mm=float(table.get("in_plane_mm", 0.0)),
    )
    _check_sense(where, spec)
    return spec


def check_keys(
    where: str, table: Mapping[str, Any], required: Mapping[str, type], optional: Mapping[str, type]
) -> None:
    """Raise `UserError` for unknown and missing keys and wrong types; an integer is valid as a float.

    Args:
        where: source of the table, for messages.
        table: the parsed table.
        required: key -> type of the required keys.
        optional: key -> type of the optional keys.
    """
    known = {**required, **optional}
    for key in table:
        if key not in known:
            raise UserError(f"{where}: {unknown_name('key', key, known)}")
    for key, kind in known.items():
        if key not in table:
            if key in required:
                raise UserError(f"{where}: key {key} is missing; give a {kind.__name__}")
            continue
        value = table[key]
        fits = type(value) is kind or (kind is float and type(value) is int)
        if not fits:
            raise UserError(f"{where}: key {key} is {short(repr(value))}, expected a {kind.__name__}")
        if kind is float and not (math.isfinite(value) if type(value) is float else abs(value) < 1e300):
            raise UserError(f"{where}: key {key} is {short(repr(value))}, expected a finite number")


def _named_lists(where: str, kind: str, table: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return group -> classes, or patient -> scans, in the order of the file."""
    element = {"group": "class", "patient": "scan"}[kind]
    for name, items in table.items():
        checked_name(kind, name)
        if not isinstance(items, list) or not items or len(set(map(str, items))) != len(items):
            raise UserError(
                f"{where}: {kind} {name} is {short(repr(items))}, expected a list of at least one {element}, "
                "each once"
            )
        _check_list(where, f"{kind}s.{name}", items, str)
        for item in items:
            checked_name(f"{where}: {element}", item)
    return {name: tuple(items) for name, items in table.items()}


def _spacing_mm(where: str, values: list[Any]) -> tuple[float, ...]:
    numbers = [value for value in values if type(value) in (int, float) and 0 <= value <= MOST_SPACING_MM]
    if len(numbers) != len(values) or len(values) not in (0, 3):
        raise UserError(
            f"{where}: key resample_mm is {short(repr(values))}, expected three numbers [z, y, x] in mm up "
            "to "
            f"{MOST_SPACING_MM:g}, 0 for an axis that stays"
        )
    return tuple(float(value) for value in numbers)


def _check_list(where: str, key: str, values: list[Any], kind: type) -> None:
    for value in values:
        if type(value) is not kind:
            raise UserError(
                f"{where}: key {key} holds {short(repr(value))}, expected each to be a {kind.__name__}"
            )


def _check_sense(where: str, spec: DatasetSpec) -> None:
    borders = spec.fold_borders
    if spec.modality not in MODALITIES:
        raise UserError(
            f"{where}: key modality is {spec.modality!r}, expected one of {', '.join(MODALITIES)}"
        )
    if spec.region not in REGIONS:
        raise UserError(f"{where}: key region is {spec.region!r}, expected one of {', '.join(REGIONS)}")
    for key, choice, known in (
        ("orientation", spec.orientation, ORIENTATIONS),
        ("slice_axis", spec.slice_axis, SLICE_AXES),
    ):
        if choice not in known:
            raise UserError(f"{where}: key {key} is {choice!r}, expected one of {', '.join(known)}")
    if not 0 <= spec.in_plane_mm <= MOST_SPACING_MM:
        raise UserError(
            f"{where}: key in_plane_mm is {spec.in_plane_mm:g}, expected 0 to {MOST_SPACING_MM:g}"
        )
    values = list(spec.classes.values())
    if not values or len(set(values)) != len(values) or min(values) < 1 or max(values) > 255:
        raise UserError(
            f"{where}: key classes gives values [{listed(values)}], expected distinct ones from 1 to 255"
        )
    if len(set(spec.tested)) != len(spec.tested):
        raise UserError(f"{where}: key tested is {listed(spec.tested)}, expected each class once")
    if len(set(spec.scans)) != len(spec.scans):
        raise UserError(f"{where}: key scans holds an id twice, expected each once")
    if len(spec.channels) == 1 or len(set(spec.channels)) != len(spec.channels):
        raise UserError(
            f"{where}: key channels is [{listed(spec.channels)}], expected at least two different names; "
            "leave the key out for one channel"
        )
    for name in spec.tested:
        if name not in spec.classes:
            raise UserError(f"{where}: key tested: {unknown_name('class', name, spec.classes)}")
    for name, classes in spec.groups.items():
        for member in classes:
            if member not in spec.tested:
                raise UserError(f"{where}: group {name}: {unknown_name('tested class', member, spec.tested)}")
    owners: dict[str, str] = {}
    for patient, scans in spec.patients.items():
        for scan in scans:
            if owners.setdefault(scan, patient) != patient:
                raise UserError(
                    f"{where}: scan {scan} is of patient {owners[scan]} and {patient}, expected one"
                )
            if spec.scans and scan not in spec.scans:
                raise UserError(f"{where}: patient {patient}: {unknown_name('scan', scan, spec.scans)}")
    if len(borders) < 2 or borders[0] != 0 or any(b <= a for a, b in pairwise(borders)):
        raise UserError(
            f"{where}: key fold_borders is [{listed(borders)}], expected 0 first, then ascending numbers"
        )
    if spec.scans and borders[-1] != len(spec.scans):
        raise UserError(
            f"{where}: key fold_borders ends at {borders[-1]}, but {len(spec.scans)} scans are listed; "
            "make the last border the number of scans"
        )
    if not 8 <= spec.image_size <= MOST_SIZE or spec.image_size % 8:
        raise UserError(
            f"{where}: key image_size is {short(spec.image_size)}, expected a multiple of 8 up to {MOST_SIZE}"
        )
    if not 1 <= spec.superpixel_min_size <= MOST_SIZE**2:
        raise UserError(
            f"{where}: key superpixel_min_size is {short(spec.superpixel_min_size)}, expected 1 or more, up "
            f"to {MOST_SIZE**2}"
        )
