"""Versions of the shared parts that move numbers. Raise a part's number when its numbers change.

Keys and records hold these numbers in place of a hash of the source, so an edited docstring or a moved file
changes no key. tests/test_digests.py compares every part's code with a recorded digest, and
tests/test_fingerprint.py its numbers: after a change of code either the numbers are equal and the digest is
recorded anew, or the version rises and CHANGELOG names the change under "Numbers change".

A method has a number of its own: the class attribute `version` in its file.
"""

from __future__ import annotations

from collections.abc import Iterable

PARTS = {
    "preparation": 1,  # volumes to stores, intensities and cuts of slices
    "pseudo_labels": 2,  # superpixels, supervoxels
    "sampling": 2,  # which episodes are drawn, and their augmentation
    "encoder": 1,  # architectures, their random weights, how files are loaded
    "prototypes": 1,  # the base class of prototype learners, pooling, similarity, clustering
    "training": 1,  # the loop, the loss's average, the optimiser step
    "pretraining": 1,  # dense contrastive learning and its views
    "evaluation": 1,  # plans, supports, predictions, counts
}
SEGMENTATION = ("preparation", "evaluation")  # parts behind a learner that has `segment` alone
INFERENCE = (*SEGMENTATION, "encoder", "prototypes")  # parts behind a prototype learner with given weights
TRAINING = ("preparation", "pseudo_labels", "sampling", "encoder", "prototypes", "training")
PRETRAINING = ("preparation", "encoder", "training", "pretraining")


def versions_of(*groups: Iterable[str]) -> dict[str, int]:
    """Return part -> version for the parts in `groups`, sorted by name."""
    names = {name for group in groups for name in group}
    return {name: PARTS[name] for name in sorted(names)}
