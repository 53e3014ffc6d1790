"""Patterns of file names, matched below a folder: `{id}`, `{patient}`, `{session}`, `{channel}` and `*`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from episodes.io.volume_formats import is_slice, suffix_of_volume
from episodes.prepare.listing import list_folder, scan_files
from episodes.prepare.scan import id_order
from fewshot.base.errors import UserError, short
from fewshot.files.names import checked_name

FIELD = re.compile(r"\{(\w*)\}|\*")
FIELDS = ("id", "patient", "session", "channel")


@dataclass(frozen=True)
class FoundFile:
    """A file that matches a pattern: the id of its scan, and its patient where the pattern names one."""

    scan: str
    patient: str | None
    path: Path


def check_pattern(where: str, key: str, pattern: str, example: str) -> None:
    """Raise `UserError` unless a pattern names a scan by {id}, or by {patient} and {session}.

    Args:
        where: source of the pattern, for messages.
        key: its key.
        pattern: the pattern.
        example: a pattern that is right.
    """
    names = {match[1] for match in FIELD.finditer(pattern) if match[1] is not None}
    unknown = names - set(FIELDS)
    if ("id" in names) == ({"patient", "session"} <= names) or unknown:
        raise UserError(
            f"{where}: key {key} is {short(pattern)!r}, expected {{id}} in it, as in {example!r}, or "
            f"{{patient}} "
            "and {session}; * stands for any letters"
        )


def pattern_expression(pattern: str, channel: str = "") -> re.Pattern[str]:
    """Return the expression of a pattern; a field that stands again must repeat its first text.

    `{id}` and the others match a text without `/`, `*` matches any letters but `/`, and `{channel}` is the
    text `channel`.
    """
    parts, last, seen = [], 0, set()
    for match in FIELD.finditer(pattern):
        parts.append(re.escape(pattern[last : match.start()]))
        last, name = match.end(), match[1]
        if name is None:
            parts.append("[^/]*")
        elif name == "channel":
            parts.append(re.escape(channel))
        elif name in seen:
            parts.append(f"(?P={name})")
        else:
            seen.add(name)
            parts.append(f"(?P<{name}>[^/]+)" if name == "id" else f"(?P<{name}>[^/_]+)")
    return re.compile("".join(parts) + re.escape(pattern[last:]))


def scan_of(match: re.Match[str]) -> tuple[str, str | None]:
    """Return the scan's id and the patient of a matched name; PATIENT_SESSION where both are named."""
    fields = match.groupdict()
    if "id" in fields:
        return checked_name("scan", fields["id"]), None
    patient = checked_name("patient", fields["patient"])
    return checked_name("scan", f"{patient}_{fields['session']}"), patient


def find_by_pattern(
    folder: Path, patterns: Mapping[str, str], channel: str = ""
) -> dict[str, list[FoundFile]]:
    """Return kind -> its files below `folder`; a file belongs to the longest pattern that it matches.

    Args:
        folder: an existing folder.
        patterns: kind, such as "image" -> pattern. A pattern that ends in / is a folder of DICOM slices.
        channel: text of {channel}.

    Raises:
        UserError: as `scan_files`; two files of one kind and scan.
    """
    expressions = {kind: pattern_expression(text.rstrip("/"), channel) for kind, text in patterns.items()}
    longest = sorted(patterns, key=lambda kind: len(patterns[kind]), reverse=True)
    found: dict[str, dict[str, FoundFile]] = {kind: {} for kind in patterns}
    files = [kind for kind in longest if not patterns[kind].endswith("/")]
    series = [kind for kind in longest if patterns[kind].endswith("/")]

    def add(path: Path, kinds: Iterable[str]) -> None:
        name = path.relative_to(folder).as_posix()
        for kind in kinds:
            match = expressions[kind].fullmatch(name)
            if match is not None:
                scan, patient = scan_of(match)
                if scan in found[kind]:
                    raise UserError(
                        f"{folder} holds {found[kind][scan].path.relative_to(folder)} and {name}, both "
                        f"{kind} of "
                        f"scan {scan}; keep one of them, or make the pattern {patterns[kind]} narrower"
                    )
                found[kind][scan] = FoundFile(scan, patient, path)
                return

    if files:
        for path in scan_files(folder, lambda name: _matches(name, expressions, files), below=True):
            add(path, files)
    if series:
        for path in list_folder(folder, below=True):
            if path.is_dir():
                add(path, series)
    return {kind: sorted(each.values(), key=lambda file: id_order(file.scan)) for kind, each in found.items()}


def volume_files(folder: Path) -> list[str]:
    """Return the volumes below a folder as paths relative to it, sorted; a folder of slices ends in /."""
    found: set[str] = set()
    for path in list_folder(folder, below=True):
        name = path.relative_to(folder)
        if any(part.startswith(".") for part in name.parts):
            continue
        if suffix_of_volume(path) is not None and not path.is_dir():
            found.add(name.as_posix())
        elif f"{name.parent.as_posix()}/" not in found and is_slice(path):
            found.add(f"{name.parent.as_posix()}/")
    return sorted(found)


def _matches(name: str, expressions: Mapping[str, re.Pattern[str]], kinds: Iterable[str]) -> bool:
    return any(expressions[kind].fullmatch(name) for kind in kinds)
