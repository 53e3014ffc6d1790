"""The named rules a protocol is made of: who supports whom, which part, which slices count, what is dropped.

A protocol names its rules; a new rule is a new function and a line in a dictionary, never a branch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ScanRoles:
    """Which scans of one fold are asked, which support them, and which are kept out of training.

    `supports` holds one tuple of scans for every support set in turn; a set of S scans gives S shots.
    """

    queries: tuple[str, ...]
    supports: tuple[tuple[str, ...], ...]
    held_out: frozenset[str]


def next_scan(scans: Sequence[str], start: int, stop: int, shots: int) -> ScanRoles:
    """Queries are the fold's scans, the support is the scan after it (shots: the next ones), circular.

    Training drops fold and support (SSL-ALPNet family, PROTOCOLS.md rule 1).
    """
    queries = tuple(scans[start:stop])
    support = tuple(scans[(stop + shot) % len(scans)] for shot in range(shots))
    return ScanRoles(queries, (support,), frozenset(queries) | frozenset(support))


def range_thirds(z: int, class_slices: Sequence[int], parts: int) -> int:
    """Return int((z - z_min) // ((z_max - z_min) / parts)) clipped to 0..parts-1; 0 for a single slice.

    z_min and z_max are the query's own first and last class slice (SSL-ALPNet family, rule 4).
    """
    first, last = class_slices[0], class_slices[-1]
    if first == last:
        return 0
    return min(max(int((z - first) // ((last - first) / parts)), 0), parts - 1)


def class_range(z: int, class_slices: Sequence[int]) -> bool:
    """Every slice between the first and the last that show the class counts, gaps included (rule 2)."""
    return class_slices[0] <= z <= class_slices[-1]


def union(shown: Sequence[Iterable[int]]) -> frozenset[int]:
    """Slices that show any tested class are dropped from training (rule 5)."""
    return frozenset(z for slices in shown for z in slices)


def intersection(shown: Sequence[Iterable[int]]) -> frozenset[int]:
    """Only slices that show every tested class are dropped (the Q-Net family's released code, rule 5)."""
    return frozenset.intersection(*(frozenset(slices) for slices in shown))


SUPPORT_SCANS: dict[str, Callable[[Sequence[str], int, int, int], ScanRoles]] = {"next-scan": next_scan}
PART_RULES: dict[str, Callable[[int, Sequence[int], int], int]] = {"range-thirds": range_thirds}
SCORED: dict[str, Callable[[int, Sequence[int]], bool]] = {"class-range": class_range}
EXCLUSIONS: dict[str, Callable[[Sequence[Iterable[int]]], frozenset[int]]] = {
    "union": union,
    "intersection": intersection,
}


@dataclass(frozen=True)
class EvaluationRules:
    """Names of the rules above that make up a protocol's questions.

    `support_fractions`: one support slice per part, at index int(fraction * length) of the support's
    list of class slices; `shots`: support scans per answer; `fold_borders`: (dataset, borders) of a
    protocol that has folds of its own.
    """

    support_scan: str = "next-scan"
    support_fractions: tuple[float, ...] = (1 / 6, 1 / 2, 5 / 6)
    part_rule: str = "range-thirds"
    scored: str = "class-range"
    exclusion: str = "union"
    shots: int = 1
    fold_borders: tuple[tuple[str, tuple[int, ...]], ...] = ()
