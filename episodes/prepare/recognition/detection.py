"""Recognise the layout of a folder of scans, and draft the facts of its dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from episodes.io.volume_formats import SUFFIXES, count_volume_channels, read_label_volume, suffix_of_volume
from episodes.prepare.own_data.file_patterns import volume_files
from episodes.prepare.recognition.dataset_json import NAME, names_from_json
from episodes.prepare.recognition.draft import FolderDraft, NamedFiles, class_name, draft_of, modality_of
from episodes.prepare.recognition.name_patterns import (
    Guess,
    bids_guess,
    file_guess,
    folder_guess,
    grouped,
    image_and_label_patterns,
    varying_part,
)
from episodes.prepare.scan import id_order
from fewshot.base.errors import UserError, listed

MOST_DEPTH = 4


def recognise_folder(folder: Path) -> FolderDraft:
    """Return the draft of the facts of a folder's dataset.

    In this order: a dataset.json (nnU-Net, decathlon), sub-LABEL in the names (BIDS-like, with or without
    ses-LABEL), one folder a subject (one label map, or one mask file an organ), files beside one another.

    Raises:
        UserError: the folder is missing, has no volumes, or none of these layouts; a volume is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the one that holds the volumes")
    if (folder / NAME).is_file() and (folder / "imagesTr").is_dir():
        return draft_of(names_from_json(folder))
    names = volume_files(folder)
    if not names:
        raise UserError(
            f"{folder} holds no volumes ({', '.join(SUFFIXES)}, or folders of DICOM slices); give another "
            "folder"
        )
    for layout, guess in _guesses():
        patterns = grouped(names, guess)
        images, labels = image_and_label_patterns(patterns)
        if images and labels:
            return draft_of(_named_files(folder, layout, patterns, images, labels))
    raise UserError(
        f"{folder}: no layout was recognised in {len(names)} volumes ({listed(names, 4)}): no name says "
        "what is "
        "a label (such as label, seg or mask); write the facts by hand (docs/your-data.md)"
    )


def _guesses() -> list[tuple[str, Callable[[str], Guess | None]]]:
    def at_depth(depth: int) -> Callable[[str], Guess | None]:
        return lambda name: folder_guess(name, depth)

    return [
        ("BIDS-like, with sessions", lambda name: bids_guess(name, True)),
        ("BIDS-like", lambda name: bids_guess(name, False)),
        *(
            (f"one folder a subject{', below others' * (depth > 0)}", at_depth(depth))
            for depth in range(MOST_DEPTH)
        ),
        ("files beside one another", _beside),
    ]


def _beside(name: str) -> Guess | None:
    return file_guess(name, suffix_of_volume(Path(name)) or "")


def _named_files(
    folder: Path,
    layout: str,
    patterns: Mapping[str, Mapping[str, str]],
    images: Sequence[str],
    labels: Sequence[str],
) -> NamedFiles:
    notes = []
    label_files = {pattern: [folder / name for name in patterns[pattern].values()] for pattern in labels}
    are_masks = len(labels) > 1 and all(_is_mask(files[0]) for files in label_files.values())
    if len(labels) > 1 and not are_masks:
        labels = sorted(labels, key=lambda pattern: (-len(patterns[pattern]), pattern))
        notes.append(f"several patterns of labels; {labels[0]} is used, not {listed(labels[1:], 5)}")
        labels = labels[:1]
    image, channels, more = _channels(images, patterns)
    notes += more
    annotated = {scan for pattern in labels for scan in patterns[pattern]}
    complete = [scan for scan in patterns[images[0]] if scan in annotated]
    alone = len({scan for pattern in images for scan in patterns[pattern]} ^ set(complete))
    if alone:
        notes.append(f"{alone} scans lack an image or a label; prepare refuses them until they are complete")
    scans = {
        scan: (
            folder / patterns[images[0]][scan],
            tuple(folder / patterns[pattern][scan] for pattern in labels if scan in patterns[pattern]),
        )
        for scan in sorted(complete, key=id_order)
    }
    modalities = {modality_of(text) for text in (image, *channels)} - {""}
    return NamedFiles(
        layout=f"{layout}, one mask file an organ" if are_masks else layout,
        images=image,
        labels="" if are_masks else labels[0],
        scans=scans,
        masks={_organ(pattern): pattern for pattern in labels} if are_masks else {},
        channels=channels,
        modality=modalities.pop() if len(modalities) == 1 else "",
        notes=tuple(notes),
    )


def _channels(
    images: Sequence[str], patterns: Mapping[str, Mapping[str, str]]
) -> tuple[str, dict[str, int | str], list[str]]:
    """Return the pattern of images, their channels by name, and notes, of one or several patterns."""
    if len(images) == 1:
        return images[0], {}, []
    around = varying_part(images)
    if around is None:
        most = max(images, key=lambda pattern: (len(patterns[pattern]), -len(pattern)))
        rest = [pattern for pattern in images if pattern != most]
        return most, {}, [f"several patterns of images; {most} is used, not {listed(rest, 5)}"]
    before, after = around
    parts = [pattern[len(before) : len(pattern) - len(after)] for pattern in images]
    return f"{before}{{channel}}{after}", {class_name(part): part for part in parts}, []


def _is_mask(path: Path) -> bool:
    """Return whether a label map holds one value besides 0, or none."""
    return count_volume_channels(path) == 1 and len(np.unique(read_label_volume(path).array)) <= 2


def _organ(pattern: str) -> str:
    name = PurePosixPath(pattern).name
    stem = name.removesuffix(suffix_of_volume(Path(name)) or "")
    return class_name(stem.replace("{id}", "").replace("sub-", "").strip("_-."))
