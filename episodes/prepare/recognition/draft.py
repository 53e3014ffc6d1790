"""The draft of a dataset's facts: what a folder's names and a sample of its volumes say."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from episodes.io.nifti import NiftiImage
from episodes.io.volume_formats import count_volume_channels, read_label_volume, read_volume
from episodes.prepare.grid_rules import axial_axes, lacks_axes

MOST_SAMPLES = 8  # images that are read for sizes and grey values
MOST_LABELS = 50  # label maps that are read for their values
MOST_VALUES = 255
LARGE = 320  # pixels a side; larger slices are drafted with resampling
SIDE = 256
HEART = re.compile(
    r"(?i)(^|[^a-z])(lv|rv|la|ra|myo|myocardium|lvm|lvbp)($|[^a-z])|ventric|atri|heart|myocard"
)
AIR = -500  # an image with lower values is a CT
NUMBERED = re.compile(r"(.*?)([0-9]+)")
NOT_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class NamedFiles:
    """What the names of a folder say.

    `layout`: for the user; `images`, `labels`: patterns; `masks`: class -> pattern of its mask files;
    `channels`: name -> number in the file, or text of {channel}; `classes`: class -> values, empty if no file
    names them; `ignore`: values that say nothing; `modality`: mr, ct or "" if no name says so; `scans`: scan
    -> (image, label files); `notes`: what the user should look at.
    """

    layout: str
    images: str
    labels: str
    scans: Mapping[str, tuple[Path, tuple[Path, ...]]]
    masks: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, int | str] = field(default_factory=dict)
    classes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    ignore: tuple[int, ...] = ()
    modality: str = ""
    title: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FolderDraft:
    """The names of a folder, and what a sample of its volumes adds.

    `modality_from`: reason for the modality; `image_size` in pixels; `in_plane_mm`: pixel size of large
    slices after resampling, 0 for none; `orientation`: axial if the slices of a sample are not.
    """

    names: NamedFiles
    classes: Mapping[str, Sequence[int]]
    modality: str
    modality_from: str
    region: str
    image_size: int
    in_plane_mm: float
    orientation: str
    channels: Mapping[str, int | str]
    notes: tuple[str, ...]

    @property
    def layout(self) -> str:
        """Name of the layout, for the user."""
        return self.names.layout

    @property
    def count(self) -> int:
        """Number of scans."""
        return len(self.names.scans)

    @property
    def patients(self) -> int:
        """Number of patients, whose scans must lie in one fold."""
        if "{patient}" not in self.names.images:
            return self.count
        return len({scan.partition("_")[0] for scan in self.names.scans})


def draft_of(names: NamedFiles) -> FolderDraft:
    """Return the draft of a folder; reads a few images, and label maps if no file names the classes.

    Raises `UserError` for a volume that cannot be read.
    """
    names = with_numbers(names)
    scans = list(names.scans.values())
    channels = dict(names.channels)
    first = scans[0][0]
    if not channels:
        count = count_volume_channels(first)
        channels = {f"channel-{number}": number for number in range(count)} if count > 1 else {}
    in_file = 0 if any(type(value) is int for value in channels.values()) else None
    samples = [read_volume(image, in_file) for image, _labels in spread(scans, MOST_SAMPLES)]
    classes, notes = dict(names.classes), list(names.notes)
    if not classes and not names.masks:
        values = sorted(_values([labels[0] for _image, labels in spread(scans, MOST_LABELS)]))
        classes = {f"class-{value}": [value] for value in values if value}
        notes.append("no file names the classes; they are called after their values")
        if len(scans) > MOST_LABELS:
            notes.append(f"label values are those of {MOST_LABELS} of {len(scans)} scans")
    modality, reason = names.modality, "its name"
    if not modality:
        lowest = min(float(sample.array.min()) for sample in samples)
        modality = "ct" if lowest < AIR else "mr"
        reason = f"the lowest grey value {lowest:g} of a sample"
    region = "heart" if any(HEART.search(name) for name in (*classes, *names.masks)) else "abdomen"
    orientation = "axial" if region != "heart" and not all(map(_is_axial, samples)) else "as-is"
    if orientation == "axial":
        samples = [axial_axes(sample) for sample in samples]
        notes.append("slices along the third axis of the files are not axial; orientation turns them")
    size, in_plane_mm = _slices(samples)
    return FolderDraft(
        names, classes, modality, reason, region, size, in_plane_mm, orientation, channels, tuple(notes)
    )


def with_numbers(names: NamedFiles) -> NamedFiles:
    """Return the names with numbers as ids, if every id is one common text and a number.

    Numbers are ordered by value, so case_2 comes before case_10. The text then stands in the patterns.
    """
    parts = [NUMBERED.fullmatch(scan) for scan in names.scans]
    prefixes = {match[1] for match in parts if match is not None}
    if "{id}" not in names.images or None in parts or len(prefixes) != 1:
        return names
    prefix = prefixes.pop()
    numbered = {scan.removeprefix(prefix): files for scan, files in names.scans.items()}
    return replace(
        names,
        images=names.images.replace("{id}", prefix + "{id}"),
        labels=names.labels.replace("{id}", prefix + "{id}"),
        masks={name: pattern.replace("{id}", prefix + "{id}") for name, pattern in names.masks.items()},
        scans=dict(sorted(numbered.items(), key=lambda item: int(item[0]))),
    )


def spread(items: Sequence[tuple[Path, tuple[Path, ...]]], most: int) -> list[tuple[Path, tuple[Path, ...]]]:
    """Return up to `most` items, evenly spread from the first to the last."""
    if len(items) <= most:
        return list(items)
    return [items[int(place)] for place in np.linspace(0, len(items) - 1, most)]


def class_name(text: str) -> str:
    """Return a text as a class's name: letters, digits, dots, dashes and underscores."""
    name = NOT_NAME.sub("-", text).strip("-._")
    return name[:64] or "class"


def modality_of(text: str) -> str:
    """Return ct or mr if a text such as "CT" or "T2 MRI" names one, else ""."""
    if re.search(r"(?i)(^|[^a-z])ct($|[^a-z])", text):
        return "ct"
    return (
        "mr"
        if re.search(r"(?i)(^|[^a-z])(mri?|t1|t2|flair|dwi|adc|bssfp|lge|t1w|t2w)($|[^a-z])", text)
        else ""
    )


def _values(labels: Sequence[Path]) -> set[int]:
    found: set[int] = set()
    for path in labels:
        found |= {int(value) for value in np.unique(read_label_volume(path).array) if value == int(value)}
    return found


def _is_axial(volume: NiftiImage) -> bool:
    return lacks_axes(volume) or int(np.abs(np.reshape(volume.direction, (3, 3))[:, 2]).argmax()) == 2


def _slices(samples: Sequence[NiftiImage]) -> tuple[int, float]:
    """Return pixels a side that hold every sample's slices, and the pixel size of large slices, or 0."""
    side = max(max(sample.array.shape[1:]) for sample in samples)
    if side <= LARGE:
        return max(8, 8 * math.ceil(side / 8)), 0.0
    extent = max(
        count * mm
        for sample in samples
        for count, mm in zip(sample.array.shape[1:], sample.spacing_mm[1:], strict=True)
    )
    return SIDE, math.ceil(extent / SIDE * 100) / 100
