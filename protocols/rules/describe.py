"""Protocols in plain words: the meaning of every rule, and a protocol's text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from protocols.rules.spec import Protocol, known_classes
from protocols.rules.toml_reader import PICTURE

# (rule's key, rule's name) -> one sentence
MEANINGS = {
    ("support_scan", "next-scan"): "queries are the fold's scans; the support is the scan after the fold, "
    "circular; training drops both",
    (
        "support_scan",
        "last-joined",
    ): "the last of the fold and the scan after it (circular), sorted by id, "
    "is the support, the others are queries; training drops all",
    (
        "support_scan",
        "third-joined",
    ): "the 3rd of the fold and the scan after it (circular), sorted by id, "
    "is the support, the others are queries; some scans are queried twice, some never; training drops all",
    (
        "support_scan",
        "fourth-joined",
    ): "the 4th of the fold and the scan after it (circular), sorted by id, "
    "is the support, the others are queries; training drops all",
    (
        "support_scan",
        "every-scan",
    ): "queries are the fold's scans; every scan outside the fold that shows "
    "the class is the support in turn and gives its own score; training drops the fold and the scan after it",
    ("support_scan", "listed"): "queries are the fold's scans; the file lists the support scans; training "
    "drops both",
    ("part_rule", "range-thirds"): "the range from a query's first to its last class slice is cut into equal "
    "parts; one support slice serves each part",
    ("part_rule", "list-thirds"): "the list of a query's class slices is cut into equal parts; one support "
    "slice serves each part",
    ("part_rule", "whole-scan"): "one support slice serves the whole query",
    ("scored", "class-range"): "every slice between the first and the last that show the class counts: the "
    "method knows where the organ begins and ends",
    (
        "scored",
        "class-slices",
    ): "only slices that show the class count: the method knows where the organ is",
    ("scored", "all"): "every slice counts: the method does not know where the organ is",
    ("exclusion", "union"): "setting 2 drops training slices that show any tested class of the group",
    ("exclusion", "intersection"): "setting 2 drops only training slices that show all tested classes of "
    "the group, so training still sees them",
    (
        "pseudo_labels",
        "felzenszwalb",
    ): "the family trains on 2-D superpixels; a method brings its own recipe",
    ("pseudo_labels", "supervoxels"): "the family trains on 3-D supervoxels; a method brings its own recipe",
    ("normalisation", "per-scan"): "each volume by its own mean and deviation",
    ("normalisation", "training-scans"): "by mean and deviation of the fold's training scans",
}


def protocol_text(protocol: Protocol) -> str:
    """Return the rules of a protocol, one a line, in plain words."""
    rules, training = protocol.evaluation, protocol.training
    places = ", ".join(f"{fraction:.3g}" for fraction in rules.support_fractions)
    parts = len(rules.support_fractions)
    lines = [
        f"{protocol.name} version {protocol.version}   hash {protocol.hash[:16]}",
        f"  {protocol.summary}",
        *([] if protocol.main_board else ["  FLAGGED: off the main board"]),
        "evaluation",
        *_lines("support_scan", rules.support_scan),
        f"  support slices: {parts}, at {places} of the list of class slices; "
        f"{rules.shots} shot{'s' * (rules.shots > 1)}",
        *_lines("part_rule", rules.part_rule),
        *_lines("scored", rules.scored),
        *(f"  own folds of {name}: borders {', '.join(map(str, own))}" for name, own in rules.fold_borders),
        "training",
        *_lines("exclusion", training.exclusion),
        *(
            f"  intensities of {modality.upper()}, {rule}: {MEANINGS['normalisation', rule]}"
            for modality, rule in training.normalisation.items()
            if modality != PICTURE
        ),
        *_lines("pseudo_labels", training.pseudo_labels),
        f"  steps: the family publishes {training.steps:,}",
        "groups of tested classes",
        *_groups(protocol),
        "sources",
        *(f"  {source}" for source in protocol.sources),
        "changes",
        *(f"  {change}" for change in protocol.changes),
    ]
    return "\n".join(lines)


def list_text(protocols: Sequence[Protocol]) -> str:
    """Return one line per protocol: name, version, summary and flag."""
    width = max(len(protocol.name) for protocol in protocols)
    return "\n".join(
        f"{protocol.name:<{width}}  v{protocol.version}  {protocol.summary}"
        + ("" if protocol.main_board else "  [off the main board]")
        for protocol in protocols
    )


def _lines(key: str, rule: str) -> Iterable[str]:
    yield f"  {key} {rule}: {MEANINGS[key, rule]}"


def _groups(protocol: Protocol) -> Iterable[str]:
    known = known_classes()
    for name, classes in protocol.groups.items():
        settings = protocol.published.get(name)
        numbers = f"setting {' and '.join(map(str, settings))}" if settings else "no setting"
        published = "" if settings is None else f"; published in {numbers} only, the rest is marked"
        foreign = [name for name in classes if name not in known]
        note = f"; no shipped dataset has {', '.join(foreign)}" if foreign else ""
        yield f"  {name}: {', '.join(classes)}{published}{note}"
