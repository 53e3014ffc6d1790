"""The TOML text of a draft, with comments for its user to mend."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from episodes.prepare.recognition.draft import FolderDraft
from fewshot.base.errors import UserError, listed, unknown_name

BARE = re.compile(r"[A-Za-z0-9_-]+")
MOST_FOLDS = 5


def draft_text(draft: FolderDraft, name: str, folder: Path, channel: str | None = None) -> str:
    """Return the facts of a draft as TOML with comments.

    Args:
        draft: what was understood.
        name: name of the dataset.
        folder: the folder, for the first comment.
        channel: name or number of the channel; None: the first of several, with a comment.

    Raises:
        UserError: no such channel, or fewer than two scans.
    """
    if draft.count < 2:
        raise UserError(f"{folder} holds {draft.count} scan, expected at least 2: a support and a query")
    lines = [
        f"# Facts of {name}, as `fewshot prepare --init-spec` understood {folder.name}: {draft.layout}, "
        f"{draft.count} scans.",
        "# Read every line and mend what is wrong. All keys: docs/your-data.md.",
        *(f"# Note: {note}." for note in draft.notes),
        "",
        f"title = {_text(draft.names.title or name)}",
        f"modality = {_text(draft.modality)}  # guessed from {draft.modality_from}",
        f"region = {_text(draft.region)}",
        *_grid(draft),
        f"folds = {min(MOST_FOLDS, draft.patients)}  # of {draft.count} scans",
        'patient_threshold = "auto"  # relative to each scan; a number in stored units is possible',
        f"images = {_text(draft.names.images)}",
        *([] if draft.names.masks else [f"labels = {_text(draft.names.labels)}"]),
    ]
    if draft.names.ignore:
        lines.append(f"ignore = {list(draft.names.ignore)}  # scans with such voxels are refused")
    if draft.names.licence:
        lines.append(f"sources = [{_text('licence: ' + draft.names.licence)}]")
    lines += _channel_lines(draft, channel)
    if draft.names.masks:
        lines += ["", "[masks]  # one file an organ; a list of files makes one class of several"]
        lines += [f"{_key(key)} = {_text(pattern)}" for key, pattern in draft.names.masks.items()]
    else:
        lines += ["", "[classes]  # values in the label files; a list merges several into one class"]
        lines += list(_classes(draft.classes))
    lines += [
        "",
        "# [groups]  # classes that are tested together; left out, one group has them all",
        f"# all = [{', '.join(_text(key) for key in (draft.names.masks or draft.classes))}]",
    ]
    return "\n".join(lines) + "\n"


def _grid(draft: FolderDraft) -> list[str]:
    lines = [
        f"image_size = {draft.image_size}  # the model sees a square of that many pixels, a multiple of 8",
        "crop_or_pad = true  # other sizes are cut or padded about their centre",
        f"orientation = {_text(draft.orientation)}  # or "
        + (
            '"as-is"'
            if draft.orientation == "axial"
            else '"axial", which turns every scan to left, back and up'
        ),
    ]
    if draft.in_plane_mm:
        mm = f"{draft.in_plane_mm:g}"
        lines.append(f"resample_mm = [0, {mm}, {mm}]  # [z, y, x]; so that large slices fit; 0: as it is")
    return lines


def _channel_lines(draft: FolderDraft, channel: str | None) -> Iterator[str]:
    if not draft.channels:
        if channel is not None:
            raise UserError(f"--channel {channel}: images have one channel; leave it out")
        return
    names = list(draft.channels)
    if channel is not None and channel not in names:
        if not channel.isdecimal() or int(channel) >= len(names):
            raise unknown_name("channel", channel, names)
        channel = names[int(channel)]
    yield f"channel = {_text(channel or names[0])}  # one of {listed(names)}"
    yield ""
    yield "[channels]  # " + (
        "text of {channel} in the names"
        if "{channel}" in draft.names.images
        else "number in the file, from 0"
    )
    yield from (f"{_key(name)} = {json.dumps(value)}" for name, value in draft.channels.items())


def _classes(classes: Mapping[str, object]) -> Iterator[str]:
    for name, values in classes.items():
        numbers = list(values) if isinstance(values, (list, tuple)) else [values]
        yield f"{_key(name)} = {numbers[0] if len(numbers) == 1 else numbers}"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if BARE.fullmatch(name) else _text(name)
