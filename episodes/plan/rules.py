"""The named rules of a protocol: support scans, parts, scored slices, and excluded training slices.

A protocol names its rules; a new rule is a new function and a dictionary entry, never a branch. P-1 and so on
refer to docs/protocols.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from fewshot.base.errors import UserError, unknown_name

Rule = TypeVar("Rule")
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Fold:
    """The input of a rule for support scans: all scans in order; the fold has positions start .. stop-1.

    `shots`: number of support scans; `listed`: positions of the support scans that a protocol lists for the
    fold, else ().
    """

    scans: Sequence[str]
    start: int
    stop: int
    shots: int
    listed: tuple[int, ...] = ()

    @property
    def members(self) -> tuple[str, ...]:
        """Return the scans of the fold."""
        return tuple(self.scans[self.start : self.stop])

    @property
    def following(self) -> tuple[str, ...]:
        """Return the `shots` scans after the fold, circular."""
        return tuple(self.scans[(self.stop + shot) % len(self.scans)] for shot in range(self.shots))


@dataclass(frozen=True)
class ScanRoles:
    """The query scans of one fold, its support sets, and the scans held out from training.

    `supports`: one tuple of scans for each support set; S scans give S shots. `admissible_only`: skip a
    support set that does not show the class; otherwise such a set is an error.
    """

    queries: tuple[str, ...]
    supports: tuple[tuple[str, ...], ...]
    held_out: frozenset[str]
    admissible_only: bool = False


def next_scan(fold: Fold) -> ScanRoles:
    """Queries are the scans of the fold; supports are the next scans after it, one per shot, circular.

    Training excludes the fold and the supports (SSL-ALPNet family, P-1).
    """
    return ScanRoles(fold.members, (fold.following,), frozenset(fold.members) | frozenset(fold.following))


def last_joined(fold: Fold) -> ScanRoles:
    """Sort the fold and the next scans, one per shot; the last of them are the supports (ADNet).

    This differs from `next_scan` only if the next scan is the first of the dataset.
    """
    return _joined(fold, len(fold.members) + 1)


def third_joined(fold: Fold) -> ScanRoles:
    """Sort the fold and the next scan; the 3rd scan is the support, the others are queries (Q-Net).

    So over all folds some scans are queried twice and some never (P-1). With S shots the set has the next S
    scans, and the supports are the 3rd scan and those after it.
    """
    return _joined(fold, 3)


def fourth_joined(fold: Fold) -> ScanRoles:
    """As `third_joined`, but the 4th scan is the support (CAT-Net)."""
    return _joined(fold, 4)


def _joined(fold: Fold, nth: int) -> ScanRoles:
    positions = {number % len(fold.scans) for number in range(fold.start, fold.stop + fold.shots)}
    scans = tuple(fold.scans[position] for position in sorted(positions))
    support = scans[nth - 1 : nth - 1 + fold.shots]
    queries = tuple(scan for scan in scans if scan not in support)
    if len(support) < fold.shots or not queries:
        raise UserError(
            f"the fold of scans {', '.join(fold.members)} and the next {fold.shots} are {len(scans)} scans; "
            f"expected number {nth} and {fold.shots - 1} after it for support, and a query; make folds larger"
        )
    return ScanRoles(queries, (support,), frozenset(scans))


def every_scan(fold: Fold) -> ScanRoles:
    """Queries are the scans of the fold; each scan outside that shows the class is a support (open-ep).

    With S shots a support set is a scan and the next S-1 outside the fold, circular. Training excludes the
    fold and the scans after it, as under `next_scan`, so that one training serves both rules.
    """
    outside = [*fold.scans[fold.stop :], *fold.scans[: fold.start]]
    supports = tuple(
        tuple(outside[(number + shot) % len(outside)] for shot in range(fold.shots))
        for number in range(len(outside))
    )
    return ScanRoles(fold.members, supports, frozenset(fold.members) | frozenset(fold.following), True)


def listed_scans(fold: Fold) -> ScanRoles:
    """Queries are the scans of the fold, supports those the protocol lists for it; training excludes both."""
    if len(fold.listed) < fold.shots:
        raise UserError(
            f"the protocol lists {len(fold.listed)} support scans for the fold of {', '.join(fold.members)}, "
            f"expected {fold.shots}, one per shot; list more or give fewer shots"
        )
    support = tuple(fold.scans[position] for position in fold.listed[: fold.shots])
    return ScanRoles(fold.members, (support,), frozenset(fold.members) | frozenset(support))


def range_thirds(z: int, class_slices: Sequence[int], parts: int) -> int:
    """Return int((z - z_min) // ((z_max - z_min) / parts)) clipped to 0..parts-1; 0 for a single slice.

    z_min and z_max are the first and last slice of the query that show the class (SSL-ALPNet family, P-4).
    """
    first, last = class_slices[0], class_slices[-1]
    if first == last:
        return 0
    return min(max(int((z - first) // ((last - first) / parts)), 0), parts - 1)


def list_thirds(z: int, class_slices: Sequence[int], parts: int) -> int:
    """Return the part p with floor(p n / parts) <= i < floor((p + 1) n / parts), i = index of z in the list.

    The rule divides the n class slices of the query into equal parts, truncated as
    `numpy.linspace(0, n, parts + 1).astype(int)` (Q-Net family, P-4); a single slice is in the last part. A
    slice that does not show the class belongs to the part of the next one that does, or else of the last one.
    """
    count = len(class_slices)
    place = min(bisect_left(class_slices, z), count - 1)
    return next(part for part in range(parts) if place < (part + 1) * count // parts)


def whole_scan(z: int, class_slices: Sequence[int], parts: int) -> int:
    """Return 0: every slice uses the same support (ADNet's second protocol, open-ep)."""
    return 0


def class_range(z: int, class_slices: Sequence[int]) -> bool:
    """Score every slice from the first to the last that show the class, gaps included (P-2)."""
    return class_slices[0] <= z <= class_slices[-1]


def class_slices(z: int, class_slices: Sequence[int]) -> bool:
    """Score only slices that show the class (Q-Net family, P-2)."""
    return z in class_slices


def all_slices(z: int, class_slices: Sequence[int]) -> bool:
    """Score every slice of the scan, so the method does not know the organ's range (ADNet's EP2, P-2)."""
    return True


def union(shown: Sequence[Iterable[int]]) -> frozenset[int]:
    """Exclude from training the slices that show any tested class (P-5)."""
    return frozenset(z for slices in shown for z in slices)


def intersection(shown: Sequence[Iterable[int]]) -> frozenset[int]:
    """Exclude only the slices that show every tested class (released code of the Q-Net family, P-5)."""
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
ODD_PARTS = frozenset({"range-thirds", "list-thirds"})  # need an odd number of parts, for a middle part
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
    """Names of the rules above that define the evaluation tasks of a protocol.

    `support_fractions`: one support slice per part, at index int(fraction * length) of the support's list of
    class slices; `shots`: support scans per task; `fold_borders`: (dataset, borders) if the protocol has its
    own folds; `listed_supports`: (dataset, positions of the support scans of every fold) if it lists them.
    """

    support_scan: str = "next-scan"
    support_fractions: tuple[float, ...] = (1 / 6, 1 / 2, 5 / 6)
    part_rule: str = "range-thirds"
    scored: str = "class-range"
    exclusion: str = "union"
    shots: int = 1
    fold_borders: tuple[tuple[str, tuple[int, ...]], ...] = ()
    listed_supports: tuple[tuple[str, tuple[tuple[int, ...], ...]], ...] = ()


class Named(Protocol):
    """A dataset by its name."""

    @property
    def name(self) -> str: ...


def entry_of(entries: Iterable[tuple[str, Entry]], dataset: Named) -> Entry | None:
    """Return the entry of a protocol for a dataset; None without one.

    A dataset with smaller slices (`DatasetSpec.base_name`) has the entry of the dataset that it was made of.
    """
    table = dict(entries)
    return table.get(dataset.name, table.get(getattr(dataset, "base_name", dataset.name)))


def named_rule(kind: str, rules: Mapping[str, Rule], name: str) -> Rule:
    """Return the rule of that name; an unknown name raises `UserError` with the kind and similar names."""
    if name not in rules:
        raise unknown_name(kind, name, rules)
    return rules[name]


def parts_fault(part_rule: str, parts: int) -> str | None:
    """Return the reason why a part rule cannot have this number of parts, or None."""
    if part_rule in ONE_PART and parts != 1:
        return f"gives {parts} parts, but rule {part_rule} has exactly one"
    if part_rule in ODD_PARTS and parts % 2 == 0:
        return f"gives {parts} parts, but rule {part_rule} wants an odd number"
    return None


def middles(parts: int) -> tuple[float, ...]:
    """Return the centres of equal parts of a list, (2 p + 1) / (2 parts): 1/6, 1/2, 5/6 for three."""
    return tuple((2 * part + 1) / (2 * parts) for part in range(parts))
