"""Numbers of the shared parts on fixed inputs: one function a part (`fewshot/identity/versions.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from fingerprint_episodes import preparation, pseudo_labels, sampling
from fingerprint_inputs import (
    ColourPictures,
    PlainLearner,
    SmallEncoder,
    block_plan,
    block_store,
    disc_episode,
    reader_of,
    waves,
)
from fingerprint_statistics import Numbers, losses_of, score_numbers, tensor_numbers
from tiny import tiny_spec
from toy_training import ToyEpisodes, ToyLearner, toy_train

from episodes.contrastive.batches import ContrastBatches
from episodes.contrastive.images import open_slices
from episodes.plan.plan import make_plan
from episodes.store.index import ClassSliceIndex
from episodes.store.slices import normalisation
from fewshot.base.types import Support
from fewshot.encoders.encoder import ARCHITECTURES, TwoScaleEncoder, build_backbone, build_encoder
from fewshot.learners import prototypes as pooling
from fewshot.learners.logits import predict_logit_difference
from fewshot.learners.nearest import k_means, nearest
from fewshot.learners.recipe import Recipe
from fewshot.pretraining.densecl import DenseCL, DenseCLRecipe
from protocols.cells.evaluate import evaluate
from protocols.rules.spec import known_protocols, load_protocol
from protocols.training.pretraining import Cosine
from results.metrics.counts import count

CPU = torch.device("cpu")


def encoder(folder: Path) -> Numbers:
    images = waves(2, 1, 64, 64)
    found: Numbers = {}
    with torch.no_grad():
        for name in ARCHITECTURES:
            found[name] = tensor_numbers(build_encoder(name, seed=0).eval()(images[:1]))
        found["resnet18 training"] = tensor_numbers(build_encoder("resnet18", seed=1).train()(images))
        for number, values in enumerate(TwoScaleEncoder("resnet18").eval()(images)):
            found[f"resnet18 of two scales, output {number}"] = tensor_numbers(values)
        found["plain resnet18"] = tensor_numbers(
            build_backbone("resnet18").eval()(images.expand(-1, 3, -1, -1))
        )
    return found


def prototypes(folder: Path) -> Numbers:
    support, query = waves(2, 6, 24, 24), waves(3, 6, 24, 24).flip(-1)
    masks = torch.zeros(2, 192, 192, dtype=torch.bool)
    masks[0, 10:150, 20:180], masks[1, 60:180, 30:170] = True, True
    shares = pooling.resize_masks(masks[:, 3:, 5:], (24, 24))
    candidates = pooling.pooled_cells(support, (4, 3))
    distances = pooling.similarities(candidates, query, 20.0)
    members = (waves(2, len(candidates)) > 0).float()
    own = waves(3, 2, 6)
    found: Numbers = {
        "masks resized": tensor_numbers(shares),
        "masked average": tensor_numbers(pooling.masked_average(support, shares)),
        "average of a small mask": tensor_numbers(pooling.masked_average(support, shares * 1e-7)),
        "cells": tensor_numbers(candidates),
        "similarities": tensor_numbers(distances),
        "similarities of small features": tensor_numbers(
            pooling.similarities(candidates, query * 1e-5, 20.0)
        ),
        "own similarities": tensor_numbers(pooling.own_similarities(own, query, 20.0)),
        "set scores": tensor_numbers(pooling.set_scores(distances, members, 20.0)),
    }
    points = torch.nn.functional.normalize(waves(60, 4), dim=1)
    centres, assigned = k_means(points, 4, iterations=5, seed=3)
    found["k-means"] = {"centres": tensor_numbers(centres), "assigned": assigned.bincount().tolist()}
    found["nearest"] = tensor_numbers(nearest(points[:9], points[9:], 3)[1])
    return found | _base_class()


def _base_class() -> Numbers:
    learner = PlainLearner(SmallEncoder()).train()
    result = learner.loss(disc_episode(learner, 1, 64, batch=2))
    parts = {name: part.detach() for name, part in (*result.parts.items(), ("total", result.total))}
    learner.eval()
    with torch.inference_mode():
        episode = disc_episode(learner, 2, 64, batch=2)
        support = Support(episode.support_images[:, 0], episode.support_masks[:, 0])
        maps = [learner.encode(images[:, 0]) for images in (episode.support_images, episode.query_images)]
        difference, _defined = predict_logit_difference(
            learner, maps[0], support.masks, maps[1], {}, (64, 64)
        )
        probabilities = learner.segment(support, episode.query_images[:, 0])
    return {
        "loss": {name: float(part) for name, part in parts.items()},
        "answer": tensor_numbers(difference),
        "segment": tensor_numbers(probabilities),
    }


def training(folder: Path) -> Numbers:
    learner = ToyLearner()
    before = torch.cat([one.detach().flatten() for one in learner.parameters()])
    result = toy_train(folder, ToyEpisodes({3: "undefined"}), learner=learner)
    after = torch.cat([one.detach().flatten() for one in learner.parameters()])
    recipe, cosine = Recipe(), Cosine(100, 0.03, 0.9, 1e-4)
    return {
        "steps": [result.steps, result.skipped],
        "losses": losses_of(folder),
        "weights": tensor_numbers(after),
        "change of weights": float((after - before).norm()),
        "running mean": tensor_numbers(learner.body[1].running_mean),
        "rates": [recipe.rate_after(moves) for moves in (0, 999, 1000, 25_000)],
        "cosine rates": [cosine.rate_after(moves) for moves in (0, 1, 50, 99)],
    }


def pretraining(folder: Path) -> Numbers:
    store = block_store(folder / "store")
    slices = open_slices(store, store.index.scans[:2], normalisation(store, "per-scan", ()))
    coloured = ContrastBatches(ColourPictures(), batch=8, size=48, seed=1).batch(0)
    batches = ContrastBatches(slices, batch=8, size=48, seed=0)
    recipe = DenseCLRecipe(batch=8, queue=16, size=48, hidden=16, out=8)
    encoders = [SmallEncoder(16, inputs=3, name=name) for name in (0, 1)]
    learner = DenseCL(*encoders, 8, recipe, seed=0).train()
    found: Numbers = {"slices": len(slices), "colour views": tensor_numbers(coloured.views)}
    for step in range(3):
        pair = batches.batch(step)
        loss = learner.loss(pair)
        parts = {name: float(value.detach()) for name, value in loss.parts.items() if not value.isnan()}
        found[f"batch {step}"] = {
            "label": pair.label,
            "views": tensor_numbers(pair.views),
            "boxes": pair.boxes.sum((0, 1)).tolist(),
            "loss": parts,
        }
    found["queues"] = {name: tensor_numbers(getattr(learner, name)) for name in ("queue", "queue2")}
    return found


def evaluation(folder: Path) -> Numbers:
    store = block_store(folder / "store")
    found: Numbers = {}
    for protocol in known_protocols():
        for setting in (1, 2):
            found[f"plan {protocol} setting {setting}"] = _plan_numbers(protocol, setting)
    plan = block_plan(store)
    learner = PlainLearner(SmallEncoder()).eval()
    (result,) = evaluate(learner, [plan.evaluation], reader_of(store), device=CPU)
    found["fallback slices"] = result.fallback_slices
    masks = waves(2, 40, 40) > 0
    found["counts"] = [int(one) for one in count(masks[:1], masks[1:])]
    return found | score_numbers(result.scores)


def _plan_numbers(name: str, setting: int) -> Numbers:
    """Return the plan of twelve scans' last fold of four; slices of a class are no row without gaps."""
    scans = tuple(map(str, range(12)))
    shown = {
        name: {scan: tuple(z for z in range(first, 43) if (z + int(scan)) % (first + 3)) for scan in scans}
        for first, name in enumerate(tiny_spec().classes)
    }
    index = ClassSliceIndex(scans, dict.fromkeys(scans, 45), shown, dict.fromkeys(scans, tuple(range(45))))
    facts = replace(tiny_spec(), fold_borders=(0, 4, 8, 12))
    protocol = load_protocol(name)
    group, classes = next(iter(protocol.groups_for(facts).items()))
    made = make_plan(index, facts, "0" * 16, protocol.evaluation, setting, 2, group, classes)
    plan, split = made.evaluation, made.training
    return {
        "scans": " ".join((*plan.query_scans, "from", *plan.support_scans, "trained", *split.scans)),
        "tasks": len(plan.tasks),
        "supports": [sum(ref.z * (n + 1) for ref in task.support) for n, task in enumerate(plan.tasks)],
        "queries": [sum(ref.z for ref in task.queries) for task in plan.tasks],
        "scored": sum(sum(task.scored) for task in plan.tasks),
        "training slices": len(split.slices),
    }


PARTS: dict[str, Callable[[Path], Numbers]] = {
    "preparation": preparation,
    "pseudo_labels": pseudo_labels,
    "sampling": sampling,
    "encoder": encoder,
    "prototypes": prototypes,
    "training": training,
    "pretraining": pretraining,
    "evaluation": evaluation,
}
