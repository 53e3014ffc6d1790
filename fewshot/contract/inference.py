"""Checks of the predictions of `segment`. Each check's docstring states the inputs of the learner."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from fewshot.base.types import Support
from fewshot.contract.subject import (
    ContractError,
    ContractWarning,
    NotApplicableError,
    Subject,
    describe,
    fault,
    gap,
    not_finite,
    out_of_range,
    random_state,
    takes_options,
    wrong_dtype,
    wrong_shape,
)
from fewshot.contract.synthetic_inputs import (
    WIDE,
    Inputs,
    odd_masks,
    segment_inputs,
    with_mask,
    with_unlike_queries,
)

TOLERANCE = 1e-4  # of a probability: the order of sums in float32, after logits of up to 20
SHOTS_AND_QUERIES = ((1, 1), (1, 3), (2, 3))  # shots, query slices


def build(subject: Subject) -> None:
    """Given an encoder (if it trains) and its default options."""
    if not takes_options(subject.method):
        raise ContractError(
            f"{subject.method.__name__} has no class Options; allowed: a nested frozen dataclass with "
            "defaults (empty if there are none)"
        )
    one, other = subject.build(draws=1), subject.build(draws=2)
    if not callable(getattr(one, "segment", None)):
        raise ContractError(
            f"{subject.method.__name__} has no method segment; allowed: segment(support, query)"
        )
    if isinstance(one, nn.Module):
        here, there = one.state_dict(), other.state_dict()
        differing = [name for name in here if not torch.equal(here[name], there[name])]
        if differing:
            raise ContractError(
                f"given the same encoder and options twice; came back with other weights ({differing[0]!r}); "
                "allowed: initial weights drawn by torch, which is seeded here, not by numpy or Python"
            )


def shape(subject: Subject) -> None:
    """Given one or two shots and one or three query slices."""
    _each(subject, wrong_shape)


def dtype(subject: Subject) -> None:
    """Given float32 slices."""
    _each(subject, lambda prediction, _inputs: wrong_dtype(prediction))


def finite(subject: Subject) -> None:
    """Given ordinary discs on noise."""
    _each(subject, lambda prediction, _inputs: not_finite(prediction))
    if not subject.has_logits:
        return
    for shots, queries in SHOTS_AND_QUERIES:
        inputs = segment_inputs("ordinary", shots=shots, queries=queries)
        logits = subject.logits(inputs)
        count = int((~logits.isfinite()).sum())
        if count:
            raise ContractError(
                f"given {describe(inputs)}; logits gave {count} of {logits.numel()} values NaN or infinite, "
                "which probabilities hide and evaluation refuses; allowed: finite values"
            )


def scores(subject: Subject) -> None:
    """Given ordinary discs on noise; softmax turns the scores of logits into probabilities."""
    if not subject.has_logits:
        raise NotApplicableError("not a PrototypeLearner: it has no logits")
    logits = subject.logits(segment_inputs("ordinary"))
    least, most = float(logits.min()), float(logits.max())
    if least < 0 or most > 1 or least == most:
        return
    total = logits.sum(dim=1)
    summing = " and sum to 1" if bool(((total - 1).abs() < 1e-3).all()) else ""
    raise ContractWarning(
        f"logits gave scores from {least:.3g} to {most:.3g}{summing}, which look like probabilities; scores "
        "go through softmax, so no pixel gets a probability above 0.73: return logarithms of probabilities, "
        "or scaled similarities"
    )


def in_range(subject: Subject) -> None:
    """Given ordinary discs on noise."""
    _each(subject, lambda prediction, _inputs: out_of_range(prediction))


def _each(subject: Subject, fault_in: Callable[[Tensor, Inputs], str | None]) -> None:
    """Call `segment` on inputs of several sizes; raise `ContractError` for the first fault."""
    for shots, queries in SHOTS_AND_QUERIES:
        inputs = segment_inputs("ordinary", shots=shots, queries=queries)
        reason = fault_in(subject.segment(inputs), inputs)
        if reason:
            raise ContractError(f"given {describe(inputs)}; {reason}")


def unchanged_inputs(subject: Subject) -> None:
    """Given tensors that must equal their copies afterwards."""
    (support, query), (same_support, same_query) = segment_inputs("inputs"), segment_inputs("inputs")
    subject.segment((support, query))
    pairs = {
        "support.images": (support.images, same_support.images),
        "support.masks": (support.masks, same_support.masks),
        "query": (query, same_query),
    }
    changed = [name for name, (now, then) in pairs.items() if not torch.equal(now, then)]
    if changed:
        raise ContractError(
            f"given {describe((support, query))}; {' and '.join(changed)} came back changed; "
            "allowed: inputs left as they are (no in-place operation on them)"
        )


def repeatable(subject: Subject) -> None:
    """Given the same inputs under two global random states."""
    one, other = (subject.segment(segment_inputs("repeat"), draws=draws) for draws in (1, 2))
    if gap(one, other) > 0:
        raise ContractError(
            f"given {describe(segment_inputs('repeat'))} under two global random states; predictions differ "
            f"by up to {gap(one, other):.2g}; allowed: draws from a generator seeded with seed_for alone"
        )
    learner, inputs = subject.build(), segment_inputs("repeat")
    with random_state(3):
        before = (torch.get_rng_state(), random.getstate(), str(np.random.get_state()))  # noqa: NPY002
        with torch.no_grad() if not subject.adapts else torch.enable_grad():
            learner.segment(*inputs)
        after = (torch.get_rng_state(), random.getstate(), str(np.random.get_state()))  # noqa: NPY002
    if not torch.equal(before[0], after[0]) or before[1:] != after[1:]:
        raise ContractError(
            f"given {describe(inputs)}; the global random state changed; allowed: draws from a generator of "
            "the learner's own"
        )


def stateless(subject: Subject) -> None:
    """Given inputs A, then B, then A again, and B first to a new learner."""
    learner = subject.build()
    a, b, again = (subject.segment(segment_inputs(name, shots=2), learner) for name in ("A", "B", "A"))
    fresh = subject.segment(segment_inputs("B", shots=2))
    worst = max(gap(a, again), gap(b, fresh))
    if worst > 0:
        raise ContractError(
            f"given inputs A, then B, then A again, and B to a new learner; predictions for the same inputs "
            f"differ by up to {worst:.2g}; allowed: 0 (no earlier call may change a prediction)"
        )


def batch(subject: Subject) -> None:
    """Given three query slices of unlike brightness at once and one by one."""
    if subject.query_mode == "alone":
        support, query = with_unlike_queries(segment_inputs("batch"))
        together = subject.segment((support, query.clone()))
        single = torch.cat([subject.segment((support, one[None].clone())) for one in query])
        if gap(together, single) > TOLERANCE:
            raise _depends_on_batch("predictions", "", gap(together, single))
    if subject.has_logits:
        _logits_of_batch(subject)
    elif subject.query_mode == "together":
        raise NotApplicableError("transductive: query slices may change each other's masks")


def _logits_of_batch(subject: Subject) -> None:
    """Compare logits of three query slices in one batch with those of each slice by itself.

    A transductive learner gets all three in one call of `logits` both times; only `encode` gets them at once
    or one by one.
    """
    support, query = with_unlike_queries(segment_inputs("batch"))
    together = subject.logits((support, query), encode_alone=False)
    if subject.query_mode == "together":
        single, how = subject.logits((support, query)), ", each encoded alone"
    else:
        single, how = torch.cat([subject.logits((support, one[None])) for one in query]), ""
    largest = float(together.abs().max())
    if gap(together, single) > TOLERANCE * largest:
        raise _depends_on_batch(f"logits of up to {largest:.3g}", how, gap(together, single))


def _depends_on_batch(values: str, how: str, difference: float) -> ContractError:
    return ContractError(
        f"given three query slices of unlike brightness, then its slices one by one{how}; {values} differ by "
        f"up to {difference:.2g}; allowed: {TOLERANCE:g} (of the largest logit), or the class attribute "
        "transductive = True (logits and segment then get all query slices of a part; encode still must not "
        "mix slices)"
    )


def support_order(subject: Subject) -> None:
    """Given two shots, and the same two shots in the other order."""
    support, query = segment_inputs("order", shots=2)
    turned = Support(support.images.flip(0), support.masks.flip(0))
    difference = gap(subject.segment((support, query)), subject.segment((turned, query.clone())))
    if difference > TOLERANCE and not subject.order_matters:
        raise ContractError(
            f"given two shots and then the same two the other way round; predictions differ by up to "
            f"{difference:.2g}; allowed: {TOLERANCE:g}, or the class attribute support_order_matters = True"
        )


def odd_mask(name: str) -> Callable[[Subject], None]:
    """Return the check that a prediction from a support mask of this kind has no fault."""

    def check(subject: Subject) -> None:
        inputs = with_mask(segment_inputs("odd"), odd_masks()[name])
        reason = fault(subject.segment(inputs), inputs)
        if reason:
            raise ContractError(f"given a {name} in {describe(inputs)}; {reason}")

    check.__doc__ = f"Given a support mask of this kind: {name}."
    return check


def non_square(subject: Subject) -> None:
    """Given slices of 64 x 96 pixels."""
    inputs = segment_inputs("wide", size=WIDE)
    reason = fault(subject.segment(inputs), inputs)
    if reason:
        raise ContractError(f"given {describe(inputs)}; {reason}")
