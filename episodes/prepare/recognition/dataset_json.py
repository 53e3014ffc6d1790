"""Folders with a dataset.json: nnU-Net raw data, and the Medical Segmentation Decathlon."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from episodes.io.volume_formats import SUFFIXES
from episodes.prepare.own_data.facts import FileReading
from episodes.prepare.own_data.folder import scan_files_of
from episodes.prepare.recognition.draft import NamedFiles, class_name, modality_of
from fewshot.base.errors import UserError, short
from fewshot.files.input_files import read_json

NAME = "dataset.json"
CHANNEL = re.compile(r"_(\d{4})$")
REMEDY = "mend it, or write the facts by hand (docs/your-data.md)"


def names_from_json(folder: Path) -> NamedFiles:
    """Return what dataset.json and the names in imagesTr and labelsTr say.

    nnU-Net names a file CASE_0000 and so on, one for each channel; the decathlon has one file a scan, with
    its channels as frames. Raises `UserError` for a dataset.json of another form and for missing files.
    """
    path = folder / NAME
    content = read_json(path, REMEDY)
    if not isinstance(content, dict) or not isinstance(content.get("labels"), dict):
        raise UserError(f"{path} has no table of labels, expected that of nnU-Net or the decathlon; {REMEDY}")
    ending = _ending(folder, content)
    stems = [path.name.removesuffix(ending) for path in sorted((folder / "imagesTr").glob(f"*{ending}"))
             if not path.name.startswith(".")]  # fmt: skip
    named = _channel_names(content)
    classes, ignore, notes = _classes(path, content["labels"])
    is_nnunet = bool(stems) and all(CHANNEL.search(stem) for stem in stems)
    channels: dict[str, int | str]
    if is_nnunet:
        numbers = sorted({match[1] for stem in stems if (match := CHANNEL.search(stem))})
        channels = {named.get(int(number), number): number for number in numbers}
        images = "imagesTr/{id}_" + ("{channel}" if len(channels) > 1 else numbers[0]) + ending
        channels = channels if len(channels) > 1 else {}
    else:
        images = "imagesTr/{id}" + ending
        channels = {name: number for number, name in named.items()} if len(named) > 1 else {}
    labels = "labelsTr/{id}" + ending
    first = next(iter(channels.values()), None) if is_nnunet else None
    files, _patients = scan_files_of(folder, FileReading(images=images, labels=labels, channel=first))
    modalities = {modality_of(name) for name in named.values()}
    return NamedFiles(
        layout="nnU-Net raw data" if is_nnunet else "Medical Segmentation Decathlon",
        images=images,
        labels=labels,
        scans={scan: (image, each[""]) for scan, (image, each) in files.items()},
        channels=channels,
        classes=classes,
        ignore=ignore,
        modality=modalities.pop() if len(modalities) == 1 else "",
        title=str(content.get("name", "")),
        licence=str(content.get("licence", content.get("license", ""))),
        notes=notes,
    )


def _ending(folder: Path, content: Mapping[str, Any]) -> str:
    if isinstance(content.get("file_ending"), str):
        return str(content["file_ending"])
    for ending in SUFFIXES:
        if any((folder / "imagesTr").glob(f"*{ending}")):
            return ending
    raise UserError(f"{folder} holds no volumes in imagesTr, expected those that {NAME} names; complete it")


def _channel_names(content: Mapping[str, Any]) -> dict[int, str]:
    """Return number -> name of the channels; nnU-Net 2 calls them channel_names, older forms modality."""
    table = content.get("channel_names", content.get("modality", {}))
    if not isinstance(table, dict):
        return {}
    return {
        int(number): class_name(str(name))
        for number, name in sorted(table.items(), key=lambda item: str(item[0]).zfill(4))
        if str(number).isdecimal()
    }


def _classes(
    path: Path, labels: Mapping[str, Any]
) -> tuple[dict[str, list[int]], tuple[int, ...], tuple[str, ...]]:
    """Return class -> values, ignored values, and notes; both directions of the table occur."""
    by_name: dict[str, list[int]] = {}
    for key, value in labels.items():
        if str(key).isdecimal() and isinstance(value, str):
            by_name[value] = [int(key)]
        elif type(value) is int:
            by_name[key] = [value]
        elif isinstance(value, list) and all(type(each) is int for each in value):
            by_name[key] = list(value)
        else:
            raise UserError(
                f"{path}: label {short(key)!r} is {short(repr(value))}, expected a number; {REMEDY}"
            )
    ignore = tuple(value for name, values in by_name.items() if name == "ignore" for value in values)
    classes: dict[str, list[int]] = {}
    notes, taken = [], set[int]()
    for name, values in sorted(by_name.items(), key=lambda item: (len(item[1]), item[1])):
        if name == "ignore" or values in ([0], []):
            continue
        if taken & set(values):
            notes.append(
                f"region {name} = {values} overlaps with another; a voxel has one class here, so it is "
                "left out"
            )
            continue
        taken |= set(values)
        classes[class_name(name)] = values
    return classes, ignore, tuple(notes)
