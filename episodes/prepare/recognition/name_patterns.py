"""Patterns of names guessed from a listing: BIDS-like, one folder a subject, or files beside one another."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

Guess = tuple[str, str]  # pattern, id of the scan
SUBJECT = re.compile(r"(?<![A-Za-z0-9])sub-([A-Za-z0-9]+)")
SESSION = re.compile(r"(?<![A-Za-z0-9])ses-([A-Za-z0-9]+)")
LABEL_WORD = re.compile(
    r"(?i)(^|[^a-z])(labels?|labelstr|segs?|segmentations?|dseg|masks?|gt|manual|roi|annotations?|ground|truth|"
    r"groundtruth|contours?)($|[^a-z])"
)
KIND_WORD = re.compile(
    r"(?i)(images?|img|im|vol|volume|labels?|seg|segmentation|masks?|gt|manual)(?=[_.\-]|\d|$)"
)
SEPARATORS = "_-./"


def bids_guess(name: str, sessions: bool) -> Guess | None:
    """Return pattern and scan of a name with sub-LABEL, and ses-LABEL if `sessions`; else None."""
    subject, session = SUBJECT.search(name), SESSION.search(name)
    if subject is None or (session is None) == sessions:
        return None
    if session is None:
        return _replaced(name, SUBJECT, subject[1], "sub-{id}"), subject[1]
    pattern = _replaced(name, SUBJECT, subject[1], "sub-{patient}")
    return _replaced(pattern, SESSION, session[1], "ses-{session}"), f"{subject[1]}_{session[1]}"


def folder_guess(name: str, depth: int) -> Guess | None:
    """Return pattern and scan of a name whose folder at `depth` is the scan; None for a shorter path."""
    parts = name.rstrip("/").split("/")
    if len(parts) <= depth + (0 if name.endswith("/") else 1):
        return None
    scan = parts[depth]
    if KIND_WORD.fullmatch(scan) or LABEL_WORD.search(scan):
        return None
    parts = [*parts[:depth], "{id}", *(part.replace(scan, "{id}") for part in parts[depth + 1 :])]
    return "/".join(parts) + ("/" if name.endswith("/") else ""), scan


def file_guess(name: str, suffix: str) -> Guess | None:
    """Return pattern and scan of a file whose name is the scan's id and a word such as image or seg."""
    folder, _, file = name.rpartition("/")
    stem = file.removesuffix(suffix) if suffix else file
    scan = KIND_WORD.sub("", stem).strip(SEPARATORS)
    if not scan or scan not in stem:
        return None
    pattern = stem.replace(scan, "{id}", 1) + suffix
    return (f"{folder}/{pattern}" if folder else pattern), scan


def grouped(names: Iterable[str], guess: Callable[[str], Guess | None]) -> dict[str, dict[str, str]]:
    """Return pattern -> scan -> name of the names for which `guess` has a pattern."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        pair = guess(name)
        if pair is not None:
            found[pair[0]][pair[1]] = name
    return dict(found)


def image_and_label_patterns(
    patterns: Mapping[str, Mapping[str, str]],
) -> tuple[list[str], list[str]]:
    """Return patterns of images and of labels, by their words, which share scans."""
    labels = [pattern for pattern in patterns if LABEL_WORD.search(pattern)]
    images = [pattern for pattern in patterns if pattern not in labels]
    annotated = {scan for pattern in labels for scan in patterns[pattern]}
    images = [pattern for pattern in images if len(annotated & patterns[pattern].keys()) >= 1]
    pictured = {scan for pattern in images for scan in patterns[pattern]}
    return images, [pattern for pattern in labels if pictured & patterns[pattern].keys()]


def varying_part(patterns: Sequence[str]) -> tuple[str, str] | None:
    """Return what stands before and after the part in which patterns differ, at separators; None without.

    ["{id}_T1.nii", "{id}_T2.nii"] gives ("{id}_", ".nii").
    """
    shortest = min(patterns, key=len)
    start = next(
        (place for place, letter in enumerate(shortest) if any(each[place] != letter for each in patterns)),
        len(shortest),
    )
    while start and patterns[0][start - 1] not in SEPARATORS:
        start -= 1
    rests = [pattern[start:] for pattern in patterns]
    end = 0
    while end < min(map(len, rests)) and len({rest[len(rest) - end - 1] for rest in rests}) == 1:
        end += 1
    while end and rests[0][len(rests[0]) - end] not in SEPARATORS:
        end -= 1
    parts = [rest[: len(rest) - end] for rest in rests]
    if not all(parts) or any(set(part) & set("/{}*") for part in parts):
        return None
    return patterns[0][:start], rests[0][len(rests[0]) - end :] if end else ""


def _replaced(name: str, field: re.Pattern[str], value: str, replacement: str) -> str:
    return field.sub(lambda match: replacement if match[1] == value else match[0], name)
