"""The TOML file of a user's own dataset: facts, and how its files are named and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from episodes.prepare.own_data.file_patterns import check_pattern
from episodes.store.dataset import (
    AUTO,
    DatasetSpec,
    check_keys,
    known_datasets,
    read_table,
    spec_from_table,
)
from fewshot.base.errors import UserError, listed, short, unknown_name
from fewshot.files.names import checked_name

REQUIRED: dict[str, type] = {"modality": str, "image_size": int}
OPTIONAL: dict[str, type] = {
    "classes": dict,
    "masks": dict,
    "groups": dict,
    "patient_threshold": float,
    "superpixel_min_size": int,
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
    "channels": dict,
    "ignore": list,
    "orientation": str,
    "slice_axis": str,
    "resample_mm": list,
    "sources": list,
}
NOT_FACTS = ("folds", "images", "labels", "classes", "masks", "channels", "channel", "ignore")
IMAGES, LABELS = "image_{id}.nii.gz", "label_{id}.nii.gz"
REFERENCE_SIZE, REFERENCE_MIN_SIZE = 256, 400  # the published superpixel_min_size and its slices


@dataclass(frozen=True)
class FileReading:
    """How the files of a dataset are read; a store keeps it, since equal files read otherwise differ.

    `images`, `labels`: patterns of names; `masks`: class -> patterns of its mask files, in place of `labels`;
    `values`: class -> values in the label files, empty if they are the stored ones; `channels`: name ->
    number of a channel in the file, or text of {channel} in the name; `channel`: the one that is read;
    `ignore`: label values that say nothing.
    """

    images: str = IMAGES
    labels: str = LABELS
    masks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    values: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    channels: Mapping[str, int | str] = field(default_factory=dict)
    channel: str | int | None = None
    ignore: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what changes voxels, as plain JSON values without defaults."""
        plain: dict[str, Any] = {}
        if self.masks:
            plain["masks"] = {name: list(patterns) for name, patterns in self.masks.items()}
        if self.values:
            plain["values"] = {name: list(values) for name, values in self.values.items()}
        if self.channel is not None:
            plain["channel"] = self.channel
        return plain


@dataclass(frozen=True)
class OwnFacts:
    """The content of a user's TOML file.

    `spec`: facts of the dataset; if `folds` is a number, `own_scans` replaces its fold borders;
    `states_spacing`: whether the file has the key `spacing_known`; `reading`: names and channels of files.
    """

    spec: DatasetSpec
    folds: int | None
    states_spacing: bool
    reading: FileReading


def read_own_facts(path: Path, name: str, channel: str | None = None) -> OwnFacts:
    """Return the checked facts of a dataset.

    Args:
        path: TOML file of the facts.
        name: name of the dataset.
        channel: name or number of the channel, in place of the file's key `channel`.

    Raises:
        UserError: `name` is a shipped dataset, or the file has a fault, with key and reason.
    """
    if name in known_datasets():
        raise UserError(
            f"{name!r} is a dataset whose facts are shipped, so --spec {path} cannot change them; leave "
            "--spec out or give your dataset another name"
        )
    where, table = str(path), read_table(path)
    _check_keys(where, table)
    if ("folds" in table) == ("fold_borders" in table):
        raise UserError(
            f"{where}: expected either key folds, a number, or key fold_borders, a list; give one"
        )
    folds: int | None = table.get("folds")
    if folds is not None and folds < 2:
        raise UserError(f"{where}: key folds is {folds}, expected 2 or more")
    classes, values, masks = _classes(where, table)
    tested = table.get("tested", list(classes))
    groups = table.get("groups", {"all": tested})
    if not groups:
        raise UserError(f"{where}: key groups is empty, expected at least one group, a name = [classes]")
    size = table["image_size"]
    facts = {
        "title": name,
        "tested": tested,
        "fold_borders": [0, folds],
        "sources": [],
        "patient_threshold": AUTO,
        "superpixel_min_size": max(1, round(REFERENCE_MIN_SIZE * (size / REFERENCE_SIZE) ** 2)),
        **{key: value for key, value in table.items() if key not in NOT_FACTS},
        "groups": groups,
        "classes": classes,
        "name": name,
        "scans": [],
    }
    reading = _reading(where, table, values, masks, channel)
    return OwnFacts(spec_from_table(facts, where), folds, "spacing_known" in table, reading)


def _check_keys(where: str, table: dict[str, Any]) -> None:
    """Check keys and types; a threshold may be "auto", a channel a name or a number, one value a list."""
    plain = {key: value for key, value in table.items() if key != "channel"}
    if plain.get("patient_threshold") == AUTO:
        del plain["patient_threshold"]
    if type(plain.get("ignore")) is int:
        plain["ignore"] = table["ignore"] = [plain["ignore"]]
    known = {**REQUIRED, **OPTIONAL, "channel": str}
    check_keys(where, plain, REQUIRED, {key: kind for key, kind in known.items() if key not in REQUIRED})
    if "channel" in table and type(table["channel"]) not in (str, int):
        raise UserError(f"{where}: key channel is {short(repr(table['channel']))}, expected a name or number")
    if "classes" not in table and "masks" not in table:
        raise UserError(f"{where}: key classes is missing; give a dict")


def _classes(
    where: str, table: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, tuple[int, ...]], dict[str, tuple[str, ...]]]:
    """Return class -> stored value, class -> values in the files, and class -> patterns of its masks."""
    if "masks" in table:
        for key in ("classes", "labels", "ignore"):
            if key in table:
                raise UserError(f"{where}: expected either key {key} or key masks; give one")
        masks = {name: _texts(where, name, patterns) for name, patterns in table["masks"].items()}
        return {name: number for number, name in enumerate(masks, start=1)}, {}, masks
    listed_values = {
        name: value if isinstance(value, list) else [value] for name, value in table["classes"].items()
    }
    everything = [value for each in listed_values.values() for value in each]
    plain = all(not isinstance(value, list) for value in table["classes"].values())
    if not all(type(value) is int for value in everything) or (plain and max(everything, default=0) <= 255):
        return dict(table["classes"]), {}, {}  # `spec_from_table` checks them
    if len(set(everything)) != len(everything) or min(everything) < 1 or not all(listed_values.values()):
        raise UserError(
            f"{where}: key classes gives values [{listed(everything)}], expected distinct ones from 1"
        )
    values = {name: tuple(each) for name, each in listed_values.items()}
    stored = {name: each[0] for name, each in values.items()}
    if max(stored.values()) > 255:
        stored = {name: number for number, name in enumerate(stored, start=1)}
    return stored, values, {}


def _texts(where: str, name: str, patterns: Any) -> tuple[str, ...]:
    checked_name("class", name)
    texts = patterns if isinstance(patterns, list) else [patterns]
    for text in texts:
        if type(text) is not str:
            raise UserError(
                f"{where}: mask {name} is {short(repr(patterns))}, expected names of files with {{id}}"
            )
        check_pattern(where, f"masks.{name}", text, "{id}/segmentations/liver.nii.gz")
    return tuple(texts)


def _reading(
    where: str,
    table: Mapping[str, Any],
    values: dict[str, tuple[int, ...]],
    masks: dict[str, tuple[str, ...]],
    channel: str | None,
) -> FileReading:
    images, labels = table.get("images", IMAGES), table.get("labels", LABELS)
    check_pattern(where, "images", images, IMAGES)
    if not masks:
        check_pattern(where, "labels", labels, IMAGES)
        if images == labels:
            raise UserError(f"{where}: keys images and labels are both {images!r}, expected different names")
    ignore = table.get("ignore", [])
    stored = [value for value in table.get("classes", {}).values() if type(value) is int]
    for value in ignore:
        if type(value) is not int or value in stored or any(value in each for each in values.values()):
            raise UserError(
                f"{where}: key ignore holds {short(repr(value))}, expected an integer of no class"
            )
    chosen = _channel(where, table, images, channel)
    return FileReading(images, labels, masks, values, table.get("channels", {}), chosen, tuple(ignore))


def _channel(where: str, table: Mapping[str, Any], images: str, typed: str | None) -> str | int | None:
    """Return the number of the channel in the file, or the text of {channel}; None for the only one."""
    channels: Mapping[str, Any] = table.get("channels", {})
    kinds = str if "{channel}" in images else int
    for name, value in channels.items():
        if type(value) is not kinds:
            expected = (
                "the text of {channel} in the names" if kinds is str else "a number in the file, from 0"
            )
            raise UserError(f"{where}: channel {name} is {short(repr(value))}, expected {expected}")
    choice = typed if typed is not None else table.get("channel")
    if choice is None:
        if len(channels) > 1 or ("{channel}" in images and not channels):
            raise UserError(
                f"{where}: images have the channels {listed(channels) or 'that {channel} stands for'}; "
                "choose one "
                "with --channel NAME or the key channel"
            )
        return next(iter(channels.values())) if channels else None
    if choice in channels:
        found: str | int = channels[choice]
        return found
    text = str(choice)
    if text.isdecimal() and channels and int(text) < len(channels):
        numbered: str | int = list(channels.values())[int(text)]
        return numbered
    if channels:
        raise unknown_name(f"channel of {where}", text, channels)
    if kinds is int and not text.isdecimal():
        raise UserError(
            f"{where}: channel {short(repr(text))} has no number; name the channels in a table [channels], "
            "or "
            "give a number from 0"
        )
    return text if kinds is str else int(text)
