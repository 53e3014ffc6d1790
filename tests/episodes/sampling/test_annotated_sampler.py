"""Annotated episodes: who supports whom by the plan's rules, and what of the labels is ever read."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from episodes.plan.plan import CellPlan, make_plan
from episodes.sampling.annotated import (
    AnnotatedEpisodes,
    AnnotatedPair,
    MixedEpisodes,
    annotated_pairs,
    fold_supports,
)
from episodes.store.index import ClassSliceIndex
from episodes.store.slices import SliceReader, normalisation
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef
from protocols.rules.spec import load_protocol

UPPER, LOWER = ("liver", "spleen"), ("right-kidney", "left-kidney")


def plan_of(
    store: Store, setting: int = 1, name: str = "alpnet-ep1", classes: tuple[str, ...] = UPPER
) -> CellPlan:
    rules = load_protocol(name).evaluation
    return make_plan(store.index, store.spec, store.hash, rules, setting, 0, "group", classes)


def reader_of(store: Store) -> SliceReader:
    return SliceReader(store, normalisation(store, "per-scan", ()))


def with_slices(store: Store, **slices: tuple[int, ...]) -> ClassSliceIndex:
    """Return the store's index with other slices of some classes, in every scan."""
    named = {name.replace("_", "-"): some for name, some in slices.items()}
    every = {name: dict.fromkeys(store.index.scans, some) for name, some in named.items()}
    return dataclasses.replace(store.index, class_slices={**store.index.class_slices, **every})


def test_supports_are_those_of_the_plans_rules(store: Store) -> None:
    """Kidneys lie on slices 3-6: parts of 3-4, 5 and 6, supported by 3, 5 and 6 of scan 2 (fold 0: 0, 1)."""
    found = annotated_pairs(store.index, store.spec, plan_of(store))
    assert tuple(found) == LOWER
    for pairs in found.values():
        supports = {pair.query: pair.supports for pair in pairs}
        assert set(supports) == {SliceRef(str(scan), z) for scan in range(3, 10) for z in range(3, 7)}
        assert supports == {ref: (SliceRef("2", {3: 3, 4: 5, 5: 6, 6: 6}[ref.z]),) for ref in supports}


def test_the_supports_equal_those_that_a_plan_of_that_class_asks(store: Store) -> None:
    asked = plan_of(store, classes=LOWER)
    wanted = {(task.class_name, z.z): task.support for task in asked.evaluation.tasks for z in task.queries}
    found = annotated_pairs(store.index, store.spec, plan_of(store))
    shown = [(name, pair) for name, pairs in found.items() for pair in pairs]
    assert shown and all(pair.supports == wanted[name, pair.query.z] for name, pair in shown)


def test_in_setting_2_neither_slice_shows_a_tested_class(store: Store) -> None:
    """Liver and spleen lie on 1-4, so 5 and 6 alone are left; part 0 takes 5, the nearest, for 3."""
    plan = plan_of(store, 2)
    for pairs in annotated_pairs(store.index, store.spec, plan).values():
        assert {pair.query.z for pair in pairs} == {5, 6}
        assert {ref.z for pair in pairs for ref in pair.supports} <= {5, 6}
    index = with_slices(store, liver=(4, 5), spleen=(4,), left_kidney=(2, 3, 4, 5, 6), right_kidney=(4, 5))
    rules = load_protocol("alpnet-ep1").evaluation
    plan = make_plan(index, store.spec, "0" * 64, rules, 2, 0, "group", UPPER)
    found = annotated_pairs(index, store.spec, plan)
    assert tuple(found) == ("left-kidney",)  # of the right one no slice is left
    supports = {pair.query.z: pair.supports for pair in found["left-kidney"]}
    # 2, 4 and 6 are the plan's; 4 shows the liver, and of 3 and 5 the latter does too
    assert supports == {2: (SliceRef("2", 2),), 3: (SliceRef("2", 2),), 6: (SliceRef("2", 6),)}
    plan = make_plan(index, store.spec, "0" * 64, dataclasses.replace(rules, support_fractions=(0.5,)), 2, 0,
                     "group", UPPER)  # fmt: skip
    supports = {
        pair.query.z: pair.supports for pair in annotated_pairs(index, store.spec, plan)["left-kidney"]
    }
    assert set(supports.values()) == {(SliceRef("2", 3),)}


def test_supports_in_turn_leave_out_the_querys_own_scan_and_what_validation_holds_out(store: Store) -> None:
    plan = plan_of(store, name="open-ep")
    pairs = annotated_pairs(store.index, store.spec, plan)["left-kidney"]
    for pair in pairs:
        assert {ref.scan for ref in pair.supports} == set("23456789") - {pair.query.scan}
    held = dataclasses.replace(plan, training=plan.training.without_scan("9"))
    pairs = annotated_pairs(store.index, store.spec, held)["left-kidney"]
    assert "9" not in {ref.scan for pair in pairs for ref in (pair.query, *pair.supports)}


@pytest.mark.parametrize(("without", "stands_in"), [("2", "3"), ("234", "5")])
def test_a_training_scan_stands_in_where_the_folds_support_has_no_slice(
    store: Store, without: str, stands_in: str
) -> None:
    """Scan 2 supports fold 0; where all of its slices show the liver, the next training scan supports."""
    index = with_slices(store, liver=(1, 2, 3, 4))
    liver = {**index.class_slices["liver"], **dict.fromkeys(without, tuple(range(8)))}
    index = dataclasses.replace(index, class_slices={**index.class_slices, "liver": liver})
    rules = load_protocol("alpnet-ep1").evaluation
    plan = make_plan(index, store.spec, "0" * 64, rules, 2, 0, "upper", UPPER)
    assert fold_supports(index, store.spec, plan) == ("2",)
    for pairs in annotated_pairs(index, store.spec, plan).values():
        assert {ref.scan for pair in pairs for ref in pair.supports} == {stands_in}
        assert {pair.query.scan for pair in pairs} == set("3456789") - set(without) - {stands_in}
        assert {ref.z for pair in pairs for ref in (pair.query, *pair.supports)} == {5, 6}
    held = dataclasses.replace(plan, training=dataclasses.replace(plan.training, scans=(), slices=()))
    with pytest.raises(UserError, match="no annotated episode for group upper in fold 0, setting 2"):
        annotated_pairs(index, store.spec, held)


def test_no_training_group_and_no_slice_are_refused(store: Store) -> None:
    with pytest.raises(UserError, match="group group tests every class of dataset tiny"):
        annotated_pairs(store.index, store.spec, plan_of(store, classes=(*UPPER, *LOWER)))
    index = with_slices(store, liver=tuple(range(8)))
    rules = load_protocol("alpnet-ep1").evaluation
    plan = make_plan(index, store.spec, "0" * 64, rules, 2, 0, "upper", UPPER)
    with pytest.raises(UserError, match="no annotated episode for group upper in fold 0, setting 2"):
        annotated_pairs(index, store.spec, plan)


def episodes_of(store: Store, pairs: dict[str, tuple[AnnotatedPair, ...]], **more: Any) -> AnnotatedEpisodes:
    options = {"seed": 3, "augmentation": "none", **more}
    return AnnotatedEpisodes(reader_of(store), pairs, store.spec.classes, **options)


def test_an_episode_is_two_slices_and_their_masks(store: Store) -> None:
    pairs = annotated_pairs(store.index, store.spec, plan_of(store))
    episode = episodes_of(store, pairs).episode(4)
    word, name, scan, z, query_scan, query_z = episode.label.split(":")
    assert word == "annotated" and (scan, query_scan) == ("2", query_scan)
    reader = reader_of(store)
    support, query = SliceRef(scan, int(z)), SliceRef(query_scan, int(query_z))
    value = store.spec.classes[name]
    assert torch.equal(episode.support_masks[0, 0], torch.from_numpy(reader.mask(support, value)))
    assert torch.equal(episode.query_masks[0, 0], torch.from_numpy(reader.mask(query, value)))
    for image, ref in ((episode.support_images, support), (episode.query_images, query)):
        torch.testing.assert_close(image[0, 0, 0], torch.from_numpy(reader.image(ref)), rtol=0, atol=1e-3)
    assert episode.support_masks.any() and episode.query_masks.any()


def test_the_step_alone_decides_and_both_views_are_random(store: Store) -> None:
    pairs = annotated_pairs(store.index, store.spec, plan_of(store))
    one, other = (episodes_of(store, pairs, augmentation="published", batch=2) for _ in range(2))
    first = other.episode(9)
    one.episode(1)
    again = one.episode(9)
    assert first.label == again.label and torch.equal(first.query_images, again.query_images)
    assert first.support_images.shape == (2, 1, 1, 64, 64) and len(first.label.split()) == 2
    plain = episodes_of(store, pairs, batch=2).episode(9)
    assert not torch.equal(plain.support_images, first.support_images)
    assert not torch.equal(plain.query_images, first.query_images)


def test_classes_are_drawn_alike_and_then_slices(store: Store) -> None:
    pairs = annotated_pairs(store.index, store.spec, plan_of(store))
    few = {"left-kidney": pairs["left-kidney"][:2], "right-kidney": pairs["right-kidney"][:9]}
    labels = [episodes_of(store, few).episode(step).label for step in range(300)]
    classes = Counter(label.split(":")[1] for label in labels)
    assert abs(classes["left-kidney"] - 150) < 4 * 75**0.5
    assert len(set(labels)) == 11


class OneScan:
    """Records what is read of a scan's labels."""

    def __init__(self, scan: Any, values: set[int]) -> None:
        self._scan, self._values = scan, values

    def __getattr__(self, name: str) -> Any:
        if name != "labels":
            return getattr(self._scan, name)
        labels = np.array(self._scan.labels)
        labels[~np.isin(labels, list(self._values))] = 255
        return labels


def test_masks_are_equal_where_the_tested_classes_are_garbage(store: Store) -> None:
    pairs = annotated_pairs(store.index, store.spec, plan_of(store))
    values = {store.spec.classes[name] for name in LOWER}

    class Garbled:
        spec, index = store.spec, store.index

        def scan(self, scan_id: str) -> Any:
            return OneScan(store.scan(scan_id), values)

    garbled: Any = Garbled()
    reader = SliceReader(garbled, normalisation(store, "per-scan", ()))
    other = AnnotatedEpisodes(reader, pairs, store.spec.classes, seed=3, augmentation="none")
    for step in range(12):
        one, two = episodes_of(store, pairs).episode(step), other.episode(step)
        assert one.label == two.label and torch.equal(one.query_masks, two.query_masks)
        assert torch.equal(one.support_masks, two.support_masks)


def test_a_share_of_the_steps_is_annotated() -> None:
    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def episode(self, step: int) -> Any:
            return f"{self.name} {step}"

    mixed = MixedEpisodes(Named("annotated"), Named("other"), 0.25, seed=1)
    drawn = [str(mixed.episode(step)) for step in range(400)]
    assert abs(sum(one.startswith("annotated") for one in drawn) - 100) < 4 * 75**0.5
    assert [one.split()[1] for one in drawn] == [str(step) for step in range(400)]
    assert drawn == [str(mixed.episode(step)) for step in range(400)]
    always = MixedEpisodes(Named("annotated"), Named("other"), 1.0, seed=1)
    assert all(str(always.episode(step)).startswith("annotated") for step in range(50))
