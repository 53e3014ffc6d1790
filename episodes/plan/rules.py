"""The named rules a protocol is made of: who supports whom, which part, which slices count, what is dropped.

A protocol names its rules; a new rule is a new function and a line in a dictionary, never a branch. P-1 and
so on are rules of docs/protocols.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fewshot.base.errors import UserError


@dataclass(frozen=True)
class Fold:
    """What a rule of support scans is told: all scans in order, and the fold's positions start .. stop-1.

    `listed`: positions of the fold's support scans where a protocol names them itself, else ().
    """

    scans: Sequence[str]
    start: int
    stop: int
    shots: int
    listed: tuple[int, ...] = ()

    @property
    def own(self) -> tuple[str, ...]:
        """Return the scans of the fold."""
        return tuple(self.scans[self.start : self.stop])

    @property
    def following(self) -> tuple[str, ...]:
        """Return as many scans after the fold as there are shots, circular."""
        return tuple(self.scans[(self.stop + shot) % len(self.scans)] for shot in range(self.shots))


@dataclass(frozen=True)
class ScanRoles:
    """Which scans of one fold are asked, which support them, and which are kept out of training.

    `supports` holds one tuple of scans for every support set in turn; a set of S scans gives S shots.
    `admissible_only`: a set that does not show the class is left out; else it is an error.
    """

    queries: tuple[str, ...]
    supports: tuple[tuple[str, ...], ...]
    held_out: frozenset[str]
    admissible_only: bool = False


def next_scan(fold: Fold) -> ScanRoles:
    """Queries are the fold's scans, the support is the scan after it (shots: the next ones), circular.

    Training drops fold and support (SSL-ALPNet family, P-1).
    """
    return ScanRoles(fold.own, (fold.following,), frozenset(fold.own) | frozenset(fold.following))


def last_joined(fold: Fold) -> ScanRoles:
    """Of the fold and the next scan (shots: the next ones), sorted, the last is the support (ADNet).

    Only where the next scan is the first of all does this differ from `next_scan`.
    """
    return _joined(fold, len(fold.own) + 1)


def third_joined(fold: Fold) -> ScanRoles:
    """Of the fold and the next scan, sorted, the 3rd is the support, the rest are queries (Q-Net).

    So some scans are queried twice over the folds and some never (P-1). With S shots the set has the next
    S scans and the supports are the 3rd and those after it.
    """
    return _joined(fold, 3)


def fourth_joined(fold: Fold) -> ScanRoles:
    """As `third_joined`, the support being the 4th (CAT-Net)."""
    return _joined(fold, 4)


def _joined(fold: Fold, nth: int) -> ScanRoles:
    positions = {number % len(fold.scans) for number in range(fold.start, fold.stop + fold.shots)}
    scans = tuple(fold.scans[position] for position in sorted(positions))
    support = scans[nth - 1 : nth - 1 + fold.shots]
    queries = tuple(scan for scan in scans if scan not in support)
    if len(support) < fold.shots or not queries:
        raise UserError(
            f"the fold of scans {', '.join(fold.own)} and the next {fold.shots} are {len(scans)} scans; "
            f"wanted number {nth} and {fold.shots - 1} after it for support, and a query; make folds larger"
        )
    return ScanRoles(queries, (support,), frozenset(scans))


def every_scan(fold: Fold) -> ScanRoles:
    """Queries are the fold's scans; every scan outside that shows the class is the support in turn (open-ep).

    With S shots a support set is such a scan and the next S-1 outside the fold, circular. Training drops the
    fold and the scan after it, as under `next_scan`, so that one training serves both.
    """
    outside = [*fold.scans[fold.stop :], *fold.scans[: fold.start]]
    supports = tuple(
        tuple(outside[(number + shot) % len(outside)] for shot in range(fold.shots))
        for number in range(len(outside))
    )
    return ScanRoles(fold.own, supports, frozenset(fold.own) | frozenset(fold.following), True)


def listed_scans(fold: Fold) -> ScanRoles:
    """Queries are the fold's scans, supports those that the protocol lists for it; training drops both."""
    if len(fold.listed) < fold.shots:
        raise UserError(
            f"the protocol lists {len(fold.listed)} support scans for the fold of {', '.join(fold.own)}, "
            f"wanted {fold.shots}, one per shot; list more or ask for fewer shots"
        )
    support = tuple(fold.scans[position] for position in fold.listed[: fold.shots])
    return ScanRoles(fold.own, (support,), frozenset(fold.own) | frozenset(support))


def range_thirds(z: int, class_slices: Sequence[int], parts: int) -> int:
    """Return int((z - z_min) // ((z_max - z_min) / parts)) clipped to 0..parts-1; 0 for a single slice.

    z_min and z_max are the query's own first and last class slice (SSL-ALPNet family, P-4).
    """
    first, last = class_slices[0], class_slices[-1]
    if first == last:
        return 0
    return min(max(int((z - first) // ((last - first) / parts)), 0), parts - 1)


def list_thirds(z: int, class_slices: Sequence[int], parts: int) -> int:
    """Return the part p with floor(p n / parts) <= i < floor((p + 1) n / parts), i = z's place in the list.

    Equal parts of the query's n class slices, truncated as `numpy.linspace(0, n, parts + 1).astype(int)` is
    (Q-Net family, P-4): of a single slice the last part. A slice that does not show the class goes with
    the next that does, and after the last with it.
    """
    count = len(class_slices)
    place = min(bisect_left(class_slices, z), count - 1)
    return next(part for part in range(parts) if place < (part + 1) * count // parts)


def whole_scan(z: int, class_slices: Sequence[int], parts: int) -> int:
    """Return 0: one part, whose support slice serves every slice (ADNet's second protocol, open-ep)."""
    return 0


def class_range(z: int, class_slices: Sequence[int]) -> bool:
    """Every slice between the first and the last that show the class counts, gaps included (P-2)."""
    return class_slices[0] <= z <= class_slices[-1]


def class_slices(z: int, class_slices: Sequence[int]) -> bool:
    """Only slices that show the class count (Q-Net family, P-2)."""
    return z in class_slices


def all_slices(z: int, class_slices: Sequence[int]) -> bool:
    """Every slice of the scan counts: the method is not told where the organ is (ADNet's EP2, P-2)."""
    return True


def union(shown: Sequence[Iterable[int]]) -> frozenset[int]:
    """Slices that show any tested class are dropped from training (P-5)."""
    return frozenset(z for slices in shown for z in slices)


def intersection(shown: Sequence[Iterable[int]]) -> frozenset[int]:
    """Only slices that show every tested class are dropped (the Q-Net family's released code, P-5)."""
    return frozenset.intersection(*(frozenset(slices) for slices in shown))


SUPPORT_SCANS: dict[str, Callable[[Fold], ScanRoles]] = {
    "next-scan": next_scan,
    "last-joined": last_joined,
    "third-joined": third_joined,
    "fourth-joined": fourth_joined,
    "every-scan": every_scan,
    "listed": listed_scans,
}
PART_RULES: dict[str, Callable[[int, Sequence[int], int], int]] = {
    "range-thirds": range_thirds,
    "list-thirds": list_thirds,
    "whole-scan": whole_scan,
}
ODD_PARTS = frozenset({"range-thirds", "list-thirds"})  # the middle of a list must have a part of its own
ONE_PART = frozenset({"whole-scan"})
SCORED: dict[str, Callable[[int, Sequence[int]], bool]] = {
    "class-range": class_range,
    "class-slices": class_slices,
    "all": all_slices,
}
EXCLUSIONS: dict[str, Callable[[Sequence[Iterable[int]]], frozenset[int]]] = {
    "union": union,
    "intersection": intersection,
}


@dataclass(frozen=True)
class EvaluationRules:
    """Names of the rules above that make up a protocol's questions.

    `support_fractions`: one support slice per part, at index int(fraction * length) of the support's
    list of class slices; `shots`: support scans per answer; `fold_borders`: (dataset, borders) of a
    protocol that has folds of its own; `listed_supports`: (dataset, positions of every fold's support scans)
    of one that lists them.
    """

    support_scan: str = "next-scan"
    support_fractions: tuple[float, ...] = (1 / 6, 1 / 2, 5 / 6)
    part_rule: str = "range-thirds"
    scored: str = "class-range"
    exclusion: str = "union"
    shots: int = 1
    fold_borders: tuple[tuple[str, tuple[int, ...]], ...] = ()
    listed_supports: tuple[tuple[str, tuple[tuple[int, ...], ...]], ...] = ()


def parts_fault(part_rule: str, parts: int) -> str | None:
    """Return in words why a part rule can't have so many parts, or None."""
    if part_rule in ONE_PART and parts != 1:
        return f"gives {parts} parts, but rule {part_rule} has exactly one"
    if part_rule in ODD_PARTS and parts % 2 == 0:
        return f"gives {parts} parts, but rule {part_rule} wants an odd number"
    return None


def middles(parts: int) -> tuple[float, ...]:
    """Return the middles of equal parts of a list, (2 p + 1) / (2 parts): 1/6, 1/2, 5/6 for three."""
    return tuple((2 * part + 1) / (2 * parts) for part in range(parts))
