"""The difference of two protocols on a prepared dataset: every rule that differs, and its effect in counts.

Each count isolates one rule if possible. Parts and scored slices count every class slice of every scan once,
excluded slices count the whole dataset, support scans and queries count fold by fold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from episodes.plan.roles import integer_sorted, scan_roles
from episodes.plan.rules import EXCLUSIONS, PART_RULES, SCORED, ScanRoles, entry_of
from episodes.store.index import ClassSliceIndex
from episodes.store.store import Store
from protocols.rules.spec import Protocol

Json = dict[str, Any]


@dataclass(frozen=True)
class PlanPair:
    """Two protocols and the prepared dataset on which they are compared."""

    a: Protocol
    b: Protocol
    store: Store

    @property
    def index(self) -> ClassSliceIndex:
        """Return the slices that show each class."""
        return self.store.index

    @property
    def classes(self) -> tuple[str, ...]:
        """Return every class of the dataset that at least one of the two protocols tests."""
        both = (classes for side in (self.a, self.b) for classes in side.groups_for(self.store.spec).values())
        return tuple(dict.fromkeys(name for classes in both for name in classes))

    def both(self, what: Callable[[Protocol], Any]) -> Json:
        """Return a value of each protocol as {"a", "b"}."""
        return {"a": what(self.a), "b": what(self.b)}


def diff_protocols(a: Protocol, b: Protocol, store: Store) -> Json:
    """Return the rules that differ, each with the counts that it changes, and every count, as JSON values."""
    pair = PlanPair(a, b, store)
    counts: Json = {
        "support_scans": support_scans(pair),
        "queries": queries(pair),
        "excluded_slices": excluded_slices(pair),
        "scored_slices": scored_slices(pair),
        "part_assignments": part_assignments(pair),
        "normalised_scans": normalised_scans(pair),
    }
    rules = [
        {"rule": name, "a": one, "b": other, "changes": CHANGES[name]}
        for name, (one, other) in _rules(pair).items()
        if one != other
    ]
    about = {
        side: {"name": one.name, "version": one.version, "hash": one.hash, "main_board": one.main_board}
        for side, one in (("a", a), ("b", b))
    }
    shown = sum(len(pair.index.slices_of(name, scan)) for name in pair.classes for scan in pair.index.scans)
    dataset = {
        "name": store.spec.name,
        "hash": store.hash,
        "scans": len(pair.index.scans),
        "slices": sum(pair.index.depths.values()),
        "class_slices": shown,
    }
    return {**about, "dataset": dataset, "rules": rules, "counts": counts}


# rule -> the counts that it changes, or a text if no count shows the change
CHANGES = {
    "evaluation.support_scan": ["support_scans", "queries"],
    "evaluation.support_fractions": ["part_assignments"],
    "evaluation.part_rule": ["part_assignments"],
    "evaluation.scored": ["scored_slices"],
    "evaluation.shots": ["support_scans"],
    "folds": ["queries", "support_scans"],
    "supports": ["support_scans"],
    "training.exclusion": ["excluded_slices"],
    "training.normalisation": ["normalised_scans"],
    "training.pseudo_labels": ["what the family publishes; refuses no model"],
    "training.steps": ["what the family publishes; refuses no model"],
    "groups": ["excluded_slices", "trainings of setting 2"],
    "published": ["what papers report; the rest is marked"],
}


def _rules(pair: PlanPair) -> Mapping[str, tuple[Any, Any]]:
    spec = pair.store.spec

    def values(protocol: Protocol) -> list[Any]:
        rules, training = protocol.evaluation, protocol.training
        groups = {name: list(classes) for name, classes in protocol.groups_for(spec).items()}
        return [
            rules.support_scan,
            list(rules.support_fractions),
            rules.part_rule,
            rules.scored,
            rules.shots,
            list(protocol.fold_borders_for(spec)),
            [list(fold) for fold in entry_of(rules.listed_supports, spec) or ()],
            training.exclusion,
            training.normalisation[spec.modality],
            training.pseudo_labels,
            training.steps,
            groups,
            {name: list(protocol.published[name]) for name in groups if name in protocol.published},
        ]

    return dict(zip(CHANGES, zip(values(pair.a), values(pair.b), strict=True), strict=True))


def _roles(protocol: Protocol, store: Store) -> list[ScanRoles]:
    folds = len(list(pairwise(protocol.fold_borders_for(store.spec))))
    return [scan_roles(store.index.scans, store.spec, protocol.evaluation, fold) for fold in range(folds)]


def support_scans(pair: PlanPair) -> Json:
    """Return the support sets of every fold, and in how many folds they differ."""
    supports = pair.both(
        lambda rules: [[list(scans) for scans in r.supports] for r in _roles(rules, pair.store)]
    )
    return {**supports, "folds_that_differ": _count_unequal(supports["a"], supports["b"])}


def queries(pair: PlanPair) -> Json:
    """Return the scans that are a query twice or never, and how many queries only one protocol has."""
    scans = pair.both(
        lambda rules: {(n, q) for n, r in enumerate(_roles(rules, pair.store)) for q in r.queries}
    )
    times = pair.both(
        lambda rules: {
            scan: sum(scan in roles.queries for roles in _roles(rules, pair.store))
            for scan in integer_sorted(pair.index.scans)
        }
    )
    sides: Json = {
        side: {
            "count": len(scans[side]),
            "twice_or_more": [scan for scan, number in times[side].items() if number > 1],
            "never": [scan for scan, number in times[side].items() if number == 0],
        }
        for side in ("a", "b")
    }
    only = {"only_a": len(scans["a"] - scans["b"]), "only_b": len(scans["b"] - scans["a"])}
    return {**sides, **only}


def excluded_slices(pair: PlanPair) -> Json:
    """Return how many of the dataset's slices setting 2 drops, for each protocol and by every rule and group.

    `by_rule` applies every rule to every group of either protocol, which separates the effect of the rule
    from that of the groups.
    """
    groups = {**pair.a.groups_for(pair.store.spec), **pair.b.groups_for(pair.store.spec)}
    by_rule = {
        rule: {name: _count_dropped(rule, classes, pair.index) for name, classes in groups.items()}
        for rule in EXCLUSIONS
    }
    own = pair.both(
        lambda rules: {
            name: _count_dropped(rules.training.exclusion, classes, pair.index)
            for name, classes in rules.groups_for(pair.store.spec).items()
        }
    )
    return {"of": sum(pair.index.depths.values()), **own, "by_rule": by_rule}


def _count_dropped(rule: str, classes: tuple[str, ...], index: ClassSliceIndex) -> int:
    drop: Callable[[list[tuple[int, ...]]], frozenset[int]] = EXCLUSIONS[rule]
    return sum(len(drop([index.slices_of(name, scan) for name in classes])) for scan in index.scans)


def scored_slices(pair: PlanPair) -> Json:
    """Return how many (class, scan, slice) are scored, with every scan as a query once per class it shows."""

    def list_scored(protocol: Protocol) -> set[tuple[str, str, int]]:
        counts = SCORED[protocol.evaluation.scored]
        return {
            (name, scan, z)
            for name in pair.classes
            for scan in pair.index.scans
            if (shown := pair.index.slices_of(name, scan))
            for z in range(pair.index.depths[scan])
            if counts(z, shown)
        }

    found = pair.both(list_scored)
    only = {"only_a": len(found["a"] - found["b"]), "only_b": len(found["b"] - found["a"])}
    return {"a": len(found["a"]), "b": len(found["b"]), **only}


def part_assignments(pair: PlanPair) -> Json:
    """Return for how many class slices the two protocols take the support slice from different places."""

    def support_place(protocol: Protocol, z: int, shown: tuple[int, ...]) -> float:
        rules = protocol.evaluation
        part = PART_RULES[rules.part_rule](z, shown, len(rules.support_fractions))
        return rules.support_fractions[part]

    every = [
        (z, shown)
        for name in pair.classes
        for scan in pair.index.scans
        for shown in [pair.index.slices_of(name, scan)]
        for z in shown
    ]
    differ = sum(support_place(pair.a, z, shown) != support_place(pair.b, z, shown) for z, shown in every)
    return {"of": len(every), "differ": differ}


def normalised_scans(pair: PlanPair) -> Json:
    """Return for how many scans the two normalisation rules differ."""
    modality = pair.store.spec.modality
    rules = pair.both(lambda protocol: protocol.training.normalisation[modality])
    scans = len(pair.index.scans)
    return {"of": scans, "differ": scans if rules["a"] != rules["b"] else 0}


def _count_unequal(first: list[list[list[str]]], second: list[list[list[str]]]) -> int:
    return sum(a != b for a, b in zip(first, second, strict=False)) + abs(len(first) - len(second))
