"""What `fewshot prepare` prints of a store: scans, grids, classes with their counts, and warnings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from episodes.prepare.audit import ScanFacts
    from episodes.store.store import Store

NUMBER = re.compile(r"[0-9][0-9., ]*")  # one number or several in a warning


def summary(store: Store, facts: Sequence[ScanFacts]) -> str:
    """Return scans, grids, classes with their counts, and warnings as lines of text."""
    from results.summary.comparability import PREPARED_BY

    index = store.index
    depth = sum(index.depths.values())
    drawable = sum(len(slices) for slices in index.superpixel_slices.values())
    lines = [
        f"{store.spec.title}: {len(index.scans)} scans, {depth} slices, {drawable} of them with superpixels",
        f"store {store.path}, hash {store.hash}, prepared by: {PREPARED_BY[store.prepared_by]}",
    ]
    raw = [(scan.raw_shape, scan.raw_spacing_mm) for scan in facts]
    prepared = [(scan.shape, scan.spacing_mm) for scan in facts]
    if raw != prepared:
        lines.append(_grids("files", raw, store.spec.spacing_known))
    lines.append(_grids("store", prepared, store.spec.spacing_known))
    inside = [(scan.in_body, scan.scan) for scan in facts if scan.in_body is not None]
    share, worst = min(inside)
    lines.append(f"labelled voxels that lie in the body: {100 * share:.1f} % or more (least in scan {worst})")
    lines.append(f"{'class':<22}{'value':>6}{'scans':>7}{'slices':>8}{'voxels':>12}")
    for name, value in store.spec.classes.items():
        shown = [len(index.slices_of(name, scan)) for scan in index.scans]
        voxels = sum(scan.voxels[name] for scan in facts)
        mark = "  tested" if name in store.spec.tested else ""
        lines.append(f"{name:<22}{value:>6}{sum(map(bool, shown)):>7}{sum(shown):>8}{voxels:>12}{mark}")
    lines += [f"warning: {text}" for text in grouped_warnings(store.warnings)]
    return "\n".join(lines)


def grouped_warnings(warnings: Sequence[str]) -> list[str]:
    """Merge warnings of one kind: "scan 1: X" and "scan 2: X" become "scans 1, 2: X".

    Warnings that differ in numbers alone are of one kind; the line then has the text of the first scan, and
    says how many scans there are.
    """
    kinds: dict[str, list[tuple[str, str]]] = {}  # text without numbers -> (scan or "", text)
    for text in warnings:
        scan, separator, rest = text.removeprefix("scan ").partition(": ")
        about_scan = bool(separator) and text.startswith("scan ")
        kind = NUMBER.sub("#", rest) if about_scan else text
        kinds.setdefault(kind, []).append((scan, rest) if about_scan else ("", text))
    lines = []
    for entries in kinds.values():
        names = [scan for scan, _text in entries if scan]
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        first = entries[0][1]
        alike = "" if len({text for _scan, text in entries}) == 1 else (
            f" (scan {names[0]}; alike in the others, {len(names)} scans)"
        )  # fmt: skip
        lines.append(f"scan{'s' * (len(names) > 1)} {shown}: {first}{alike}" if names else first)
    return lines


def _grids(what: str, grids: Sequence[tuple[tuple[int, ...], tuple[float, ...]]], known: bool) -> str:
    """Return the range of sizes and, if `known`, of spacings in mm, per axis."""
    sizes = [_range([f"{size}" for size in sorted({shape[axis] for shape, _ in grids})]) for axis in range(3)]
    if not known:
        return f"{what}: {' x '.join(sizes)} voxels (z, y, x), spacing unknown: nothing is given in mm"
    spacings = [
        _range([f"{value:.4g}" for value in sorted({spacing[axis] for _, spacing in grids})])
        for axis in range(3)
    ]
    return f"{what}: {' x '.join(sizes)} voxels of {' x '.join(spacings)} mm (z, y, x)"


def _range(values: Sequence[str]) -> str:
    return values[0] if values[0] == values[-1] else f"{values[0]}..{values[-1]}"


def facts_of(store: Store) -> list[ScanFacts]:
    """Return the facts of every scan of a store, in its order."""
    from episodes.prepare.audit import scan_facts

    facts = []
    for name in store.index.scans:
        scan = store.scan_once(name)
        facts.append(scan_facts(name, scan.image, scan.labels, store.spec, scan.spacing_mm))
    return facts
