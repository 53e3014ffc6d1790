"""Checks of learners that train: loss, falling loss, repeatability, state_dict, empty predictions."""

from __future__ import annotations

import copy
import dataclasses
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewshot.base.types import Episode
from fewshot.contract.subject import ContractError, NotApplicableError, Subject, gap, random_state
from fewshot.contract.synthetic_inputs import episode, odd_masks, segment_inputs
from fewshot.learners.learner import LossResult, PrototypeLearner
from fewshot.learners.logits import call_logits
from fewshot.learners.recipe import Recipe
from fewshot.training.loop import train

STEPS = 8
EPISODES = ("first", "second")  # trained on in turn
MEMBERS = (("total", torch.float32), ("defined", torch.bool), ("skipped", torch.int64))


def empty_prediction(subject: Subject) -> None:
    """Given an all-background mask in the alignment branch of logits."""
    _trained_only(subject)
    learner = subject.build().train()
    if not isinstance(learner, PrototypeLearner):
        raise NotApplicableError("not a PrototypeLearner: no alignment branch")
    inputs = segment_inputs("empty", queries=1)
    with torch.no_grad():
        maps = learner.encode(torch.cat([inputs[0].images, inputs[1]]))
    several = [maps] if isinstance(maps, Tensor) else list(maps)
    leaves = [one.detach().requires_grad_() for one in several]
    halves = [tuple(one[part] for one in leaves) for part in (slice(0, 1), slice(1, 2))]
    query, support = (half[0] if isinstance(maps, Tensor) else half for half in halves)
    mask = torch.zeros(1, *several[0].shape[-2:], dtype=torch.bool)
    with random_state(0):
        scores, _defined = call_logits(learner, support, mask, query, {}, "alignment")
    scores.sum().backward()  # type: ignore[no-untyped-call]
    gradients = [one.grad for one in leaves if one.grad is not None]
    for kind, tensors in (("scores", [scores]), ("gradients of the features", gradients)):
        if not all(bool(torch.isfinite(one).all()) for one in tensors):
            raise ContractError(
                f"given an empty mask {tuple(mask.shape)} in the alignment branch; {kind} came back NaN or "
                "infinite; allowed: finite ones (with defined = False for an episode without a prediction)"
            )


def loss(subject: Subject) -> None:
    """Given episodes with an ordinary, a one-pixel and a full mask, and one without background."""
    _trained_only(subject)
    for name, mask in {"ordinary mask": None, **odd_masks()}.items():
        learner, example, kept = subject.build().train(), episode("loss", mask), episode("loss", mask)
        with random_state(0):
            result = learner.loss(_prepared(learner, example))
        _check_members(name, result)
        if not torch.equal(example.query_images, kept.query_images) or not torch.equal(
            example.support_images, kept.support_images
        ):
            raise ContractError(
                f"given an episode with a {name}; loss changed its images; allowed: left as they are"
            )
        if not bool(result.defined):
            continue
        result.total.backward()
        gradients = [p.grad for p in learner.parameters() if p.grad is not None]
        if not bool(torch.isfinite(result.total)) or not all(bool(g.isfinite().all()) for g in gradients):
            raise ContractError(
                f"given an episode with a {name}; loss {result.total.item():.4g} or its gradients came back "
                "NaN or infinite; allowed: finite ones, or defined = False"
            )


def _check_members(name: str, result: Any) -> None:
    if not isinstance(result, LossResult):
        raise ContractError(
            f"given an episode; loss gave a {type(result).__name__}; allowed: fewshot.LossResult"
        )
    for member, kind in MEMBERS:
        value = getattr(result, member)
        if not isinstance(value, Tensor) or value.ndim or value.dtype != kind:
            found = f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else repr(value)
            raise ContractError(
                f"given an episode with a {name}; {member} came back as {found}; allowed: 0-dim {kind}"
            )


def training(subject: Subject) -> None:
    """Given 8 training steps on two episodes with its own recipe."""
    _trained_only(subject)
    before = _own_loss(subject.build())
    after = _own_loss(_trained(subject))
    if not after < before:
        raise ContractError(
            f"given {STEPS} training steps on {len(EPISODES)} episodes with its own recipe; its loss on them "
            f"went from {before:.6g} to {after:.6g}; allowed: a lower one"
        )


def repeatable(subject: Subject) -> None:
    """Given the same training twice, under two global random states of numpy and Python."""
    _trained_only(subject)
    here, there = _trained(subject).state_dict(), _train(subject, draws=2).state_dict()
    differing = [name for name in here if not torch.equal(here[name], there[name])]
    if differing:
        raise ContractError(
            f"given the same training of {STEPS} steps twice; {len(differing)} of {len(here)} entries of the "
            f"state_dict differ, first {differing[0]!r}; allowed: none (torch's default generator is "
            "seeded for a training, those of numpy and random are not)"
        )


def save_and_load(subject: Subject) -> None:
    """Given a trained learner's state_dict, loaded into one of other initial weights."""
    if not isinstance(subject.build(), nn.Module):
        raise NotApplicableError("not a torch module: it has no weights to save")
    learner = _trained(subject) if subject.trains else subject.build()
    stream = io.BytesIO()
    torch.save(learner.state_dict(), stream)
    stream.seek(0)
    other = subject.build(seed=1)
    other.load_state_dict(torch.load(stream, weights_only=True))
    difference = gap(
        subject.segment(segment_inputs("saved"), copy.deepcopy(learner).eval()),
        subject.segment(segment_inputs("saved"), other),
    )
    if difference > 0:
        raise ContractError(
            f"given the state_dict of a trained learner; the learner that loaded it predicts otherwise, "
            f"by up to {difference:.2g}; allowed: 0 (keep what training changes in parameters and buffers)"
        )


def _trained_only(subject: Subject) -> None:
    if not subject.trains:
        raise NotApplicableError("nothing to train")


def _trained(subject: Subject) -> nn.Module:
    """Return the trained learner; the first call trains it."""
    if subject.trained is None:
        subject.trained = _train(subject, draws=1)
    return subject.trained


def _train(subject: Subject, draws: int) -> nn.Module:
    learner: nn.Module = subject.build()
    published: Recipe = subject.method.recipe()
    recipe = dataclasses.replace(published, steps=STEPS, snapshot_every=0, batch=1)

    def episodes(steps: range) -> Iterator[Episode]:
        for step in steps:
            yield _prepared(learner, episode(EPISODES[step % len(EPISODES)]))

    with tempfile.TemporaryDirectory() as folder, random_state(draws):
        train(
            learner, recipe, Path(folder), seed=0, device=torch.device("cpu"), episodes=episodes,
            checkpoint_every=STEPS, title="check",
        )  # fmt: skip
    return learner


def _own_loss(learner: nn.Module) -> float:
    """Return the mean loss on the training episodes in training mode; the learner stays unchanged."""
    copied: Any = copy.deepcopy(learner).train()
    with torch.no_grad(), random_state(0):
        return sum(float(copied.loss(_prepared(copied, episode(name))).total) for name in EPISODES) / len(
            EPISODES
        )


def _prepared(learner: Any, example: Episode) -> Episode:
    """Return the episode with the tensors of the learner's `prepare`, as the sampler adds them."""
    values = learner.prepare(example.support_masks[0]) if hasattr(learner, "prepare") else {}
    return dataclasses.replace(example, prepared={name: value[None] for name, value in values.items()})
