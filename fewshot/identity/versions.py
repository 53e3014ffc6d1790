"""Versions of the shared parts that determine results. Raise a part's version when its numbers change.

Keys and records hold these versions instead of a hash of the source, so an edited docstring or a moved file
changes no key. `tests/house` compares the code of every part with a recorded digest (`test_digests.py`) and
its numbers (`test_fingerprint.py`). After a change of code with equal numbers, record the digest again.
After a change of numbers, raise the version and name the change in CHANGELOG under "Numbers change".

A method has its own version: the class attribute `version` in its file.
"""

from __future__ import annotations

from collections.abc import Iterable

PARTS = {
    "preparation": 1,  # volumes to stores, normalisation and cropping of slices
    "pseudo_labels": 2,  # superpixels, supervoxels
    "sampling": 2,  # choice of training episodes, and their augmentation
    "encoder": 1,  # architectures, their random weights, loading of files
    "prototypes": 1,  # the base class of prototype learners, pooling, similarity, clustering
    "training": 1,  # the loop, the loss's average, the optimiser step
    "pretraining": 1,  # dense contrastive learning and its views
    "evaluation": 1,  # plans, supports, predictions, counts
}
SEGMENTATION = ("preparation", "evaluation")  # parts behind a learner that only has `segment`
INFERENCE = (*SEGMENTATION, "encoder", "prototypes")  # parts behind a prototype learner with existing weights
TRAINING = ("preparation", "pseudo_labels", "sampling", "encoder", "prototypes", "training")
SUPERVISED_TRAINING = ("preparation", "encoder", "sampling", "training")
PRETRAINING = ("preparation", "encoder", "training", "pretraining")


def versions_of(*groups: Iterable[str]) -> dict[str, int]:
    """Return part -> version for the parts in `groups`, sorted by name."""
    names = {name for group in groups for name in group}
    return {name: PARTS[name] for name in sorted(names)}
