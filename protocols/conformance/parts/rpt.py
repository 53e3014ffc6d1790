"""Replay of the reference vectors of the released RPT of March 2024 and of September 2023."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from protocols.conformance.quantity import Quantity
from protocols.conformance.replays.made_state import load_episode_weights, made_state
from protocols.conformance.replays.recorded import (
    RecordedDropout,
    replace_dropouts,
    unpack_bits,
    without_dropout,
)
from protocols.conformance.replays.replay import (
    PIXELS,
    episode_names,
    largest_error,
    read_episode,
    read_vectors,
    relative_error,
    remember_features,
)
from protocols.conformance.replays.threshold_replay import (
    check_gradients,
    check_losses,
    check_mask,
    encode_episode,
    new_learner,
)

BIAS, SCALED = "encoder.reduce1d.bias", "encoder.reduce1.weight"
PROBABILITIES = 2e-5  # absolute
ARRAYS = {"eval": 2e-5, "train": 6e-5}  # of an array's largest value
# a ring below ROUNDING is the difference of two equal probabilities: which of its pixels are above 0 differs
# between processors and numbers of threads, by up to 0.010 of the loss
ROUNDING, RING_OF_ROUNDING = 1e-6, 2e-2
PARTS = {
    "query": "query_loss", "periphery": "periphery_loss", "alignment": "align_loss", "distance": "mse_loss",
    "self": "self_loss",
}  # fmt: skip
PARTS_2023 = {"query": "query_loss", "boundary": "boundary_loss", "dice": "dice_loss"}
STEP_OF_ETA = 200_000  # after 40 rounds the weight of the dice loss is 0.6, as recorded
TRAJECTORY = (("query_loss", "query", 1e-2), ("align_loss", "alignment", 5e-2), ("self_loss", "self", 5e-2))

INPUTS = ("support_image", "support_mask", "query_image", "query_mask")

Vectors = Mapping[str, NDArray[Any]]


def check(folder: Path) -> Iterator[Quantity]:
    """Yield every quantity of an `rpt` folder."""
    expected, vectors = read_vectors(folder)
    learner = new_learner("rpt")
    state = made_state(learner)
    yield _parameters(folder.name, learner, expected)
    for name in episode_names(vectors):
        facts = expected[name]
        scales = {SCALED: facts["reduce1_scale"]}
        prefix = f"{folder.name}/{name}"
        _load(learner, state, facts["bias_eval"], scales)
        yield from check_evaluation(prefix, learner.eval(), name, vectors, facts)
        _load(learner, state, facts["bias_train"], scales)
        yield from check_training(prefix, learner.train(), name, vectors, facts)
    _load(learner, state, expected["trajectory"]["bias"], {})
    yield from check_trajectory(f"{folder.name}/trajectory", learner.train(), vectors, expected["trajectory"])


def check_2023(folder: Path) -> Iterator[Quantity]:
    """Yield every quantity of an `rpt_2023` folder; its images lie in the `rpt` folder beside it."""
    expected, vectors = read_vectors(folder)
    _, recorded = read_vectors(folder.parent / "rpt")
    images = {key: recorded[key] for key in recorded if key.endswith(INPUTS)}
    learner = new_learner("rpt", variant="2023")
    state = made_state(learner)
    yield _parameters(folder.name, learner, expected)
    for name in episode_names(vectors):
        prefix = f"{folder.name}/{name}"
        for mode in ("eval", "train"):
            facts = expected[name][mode]
            _load(learner, state, facts["bias"], {SCALED: facts["reduce1_scale"]})
            learner.train(mode == "train")
            vars(learner).pop("first_centre", None)
            _use_dropout(learner, name, vectors, {})
            if mode == "train":
                learner.begin_step(STEP_OF_ETA)
                yield from _losses(prefix, learner, name, images, facts, facts["first_index"], PARTS_2023)
            yield from _passes(prefix, learner, name, {**images, **vectors}, facts, mode)


def _load(learner: Any, state: Mapping[str, Tensor], bias: float, scales: Mapping[str, float]) -> None:
    """Load an episode's weights."""
    load_episode_weights(learner, state, {BIAS: bias}, scales)
    remember_features(learner)


def _parameters(family: str, learner: nn.Module, expected: Mapping[str, Any]) -> Quantity:
    parameters = sum(parameter.numel() for parameter in learner.parameters())
    return Quantity(f"{family}/parameters", abs(parameters - expected["parameters"]), 0)


def check_evaluation(
    prefix: str, learner: Any, name: str, vectors: Vectors, facts: Mapping[str, Any]
) -> Iterator[Quantity]:
    """Yield the quantities of the partition and of the passes in evaluation mode."""
    vars(learner).pop("first_centre", None)  # the learner's own rule
    _use_dropout(learner, name, vectors, {})
    episode = read_episode(vectors, name)
    with torch.no_grad():
        fine = torch.cat([maps[0] for maps in encode_episode(learner, episode)])
        yield _array(
            f"{prefix}/features_eval", fine[:, ::64, ::4, ::4], vectors[f"{name}/features_eval"], "eval"
        )
        parted = learner.part_mask(episode.support_masks[0, 0], (fine.shape[-2], fine.shape[-1]))
    yield Quantity(f"{prefix}/points", abs(int(parted.count) - facts["points"]), 0)
    region_map = torch.where(parted.cells, parted.owners, -1).reshape(fine.shape[-2:])
    yield Quantity(
        f"{prefix}/region_map", largest_error(region_map, vectors[f"{name}/region_map"].astype(int)), 0
    )
    width = fine.shape[-1]
    centres = torch.stack([parted.centres // width, parted.centres % width], dim=1)
    yield Quantity(f"{prefix}/centres", largest_error(centres, vectors[f"{name}/centres"].astype(int)), 0)
    yield from _passes(prefix, learner, name, vectors, facts, "eval")


def check_training(
    prefix: str, learner: Any, name: str, vectors: Vectors, facts: Mapping[str, Any]
) -> Iterator[Quantity]:
    """Yield passes, losses and gradients of one training step, with recorded dropout or none."""
    _use_dropout(learner, name, vectors, facts)
    yield from _losses(prefix, learner, name, vectors, facts["train"], facts["first_index"], PARTS)
    _use_dropout(learner, name, vectors, facts)
    yield from _passes(prefix, learner, name, vectors, facts, "train")
    with torch.no_grad():
        _use_dropout(learner, name, vectors, facts)
        episode = read_episode(vectors, name)
        support, query = encode_episode(learner, episode)
        mask = episode.support_masks[0]
        prototype = torch.from_numpy(vectors[f"{name}/prototype_train"])[None]
        ring = learner.ring(support, mask, prototype)
        wanted = vectors[f"{name}/periphery_train"]
        scale = max(float(abs(wanted).max()), 1e-3)
        yield Quantity(f"{prefix}/periphery_train", largest_error(ring[0, ::4, ::4], wanted) / scale, 5e-3)
        yield _prototype(prefix, name, "query_prototype_true", vectors, query[0], episode.query_masks[0])
        if f"{name}/align_prototype" in vectors:
            predicted = torch.from_numpy(vectors[f"{name}/align_mask"] > 0)[None]
            yield _prototype(prefix, name, "align_prototype", vectors, query[0], predicted)


def check_trajectory(
    prefix: str, learner: Any, vectors: Vectors, facts: Mapping[str, Any]
) -> Iterator[Quantity]:
    """Yield the losses before each of three optimiser steps, with recorded draws, without dropout."""
    without_dropout(learner)
    recipe = learner.recipe()
    optimiser = torch.optim.SGD(
        learner.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    for step, (name, losses, draw) in enumerate(
        zip(facts["episodes"], facts["steps"], facts["draws"], strict=True)
    ):
        _use_first_centre(learner, draw["first_index"])
        result = learner.loss(read_episode(vectors, name))
        for key, part, tolerance in TRAJECTORY:
            error = abs(result.parts[part].item() - losses[key]) / max(losses[key], 1e-6)
            yield Quantity(f"{prefix}/{step}/{key}", error, tolerance if step else 1e-5)
        optimiser.zero_grad(set_to_none=True)
        result.total.backward()
        optimiser.step()
    bias = learner.encoder.reduce1d.bias.item()
    yield Quantity(f"{prefix}/reduce1d_bias_after", abs(bias - facts["reduce1d_bias_after"]), 1e-3)
    state = learner.state_dict()
    for name, norm in facts["after_norm"].items():
        yield Quantity(f"{prefix}/after_norm/{name}", abs(state[name].norm().item() - norm) / norm, 1e-5)
    for name, head in facts["after_head"].items():
        error = relative_error(state[name].flatten()[:8], head)
        yield Quantity(f"{prefix}/after_head/{name}", error, 1e-3)


def _passes(
    prefix: str, learner: Any, name: str, vectors: Vectors, facts: Mapping[str, Any], mode: str
) -> Iterator[Quantity]:
    """Yield every recorded quantity of the passes in one mode; the learner must be in that mode."""
    episode = read_episode(vectors, name)
    mask = episode.support_masks[0, 0]
    if mode == "train":
        _use_first_centre(learner, facts["first_index"])
    with torch.no_grad():
        support, query = encode_episode(learner, episode)
        thresholds = torch.cat([support[1], query[1]]).flatten().tolist()
        recorded = facts["thresholds" if "thresholds" in facts else f"thresholds_{mode}"]
        yield Quantity(f"{prefix}/thresholds_{mode}", _spread_error(thresholds, recorded), 1e-4)
        prototype = learner.prototype(support[0], mask[None])
        regions = learner.region_features(support[0][0], mask, prototype[0])
        passes = learner.passes(support[0][0], mask, query)
        first = learner.probabilities(query[0], prototype, query[1])
    grown = nn.functional.max_pool2d(mask[None].float(), 3, stride=1, padding=1)
    wide = learner.prototype(support[0], grown).detach()
    every = 25 if len(regions) == 100 else 1
    arrays = {
        "prototype": prototype[0],
        "prototype_dilated": wide[0],
        "regions": regions[::every],
        "query_prototypes": torch.cat([one.query_prototypes for one in passes]),
        "affinity": torch.cat([one.affinities for one in passes]),
        "fused_prototypes": torch.cat([one.prototypes for one in passes]),
        "normed": torch.cat([one.normed for one in passes])[:, ::33],
        "attended": torch.cat([one.attended for one in passes])[:, ::33],
        "blocks": torch.cat([one.regions for one in passes])[:, ::33],
    }
    for key, value in arrays.items():
        if f"{name}/{key}_{mode}" in vectors:
            yield _array(f"{prefix}/{key}_{mode}", value, vectors[f"{name}/{key}_{mode}"], mode)
    probability = _resized(passes[-1].probabilities, mask)
    grids = torch.cat([first, *(one.probabilities for one in passes)])
    apart = 2 if len(mask) > 128 else 1
    for key, value in (("prob", probability[::4, ::4]), ("prob_grid", grids[:, ::apart, ::apart])):
        if f"{name}/{key}_{mode}" in vectors:
            error = largest_error(value, vectors[f"{name}/{key}_{mode}"])
            yield Quantity(f"{prefix}/{key}_{mode}", error, PROBABILITIES)
    mask_name = "mask_eval" if mode == "eval" else "align_mask"
    if f"{name}/{mask_name}" in vectors:
        yield check_mask(f"{prefix}/{mask_name}", probability > 0.5, vectors[f"{name}/{mask_name}"], PIXELS)
    if mode == "eval" and "eval" in facts and "periphery_loss" in facts["eval"]:
        with torch.no_grad():
            loss = learner.periphery_loss(support, mask[None], prototype).item()
            ring = learner.ring(support, mask[None], prototype).abs().max().item()
        wanted = facts["eval"]["periphery_loss"]
        tolerance = 6e-4 if ring > ROUNDING else RING_OF_ROUNDING
        yield Quantity(f"{prefix}/periphery_loss_eval", abs(loss - wanted) / wanted, tolerance)
        yield from _cuts(f"{prefix}/cut_eval", arrays["affinity"], facts["eval"])
    if mode == "train" and "train" in facts:
        yield from _cuts(f"{prefix}/cut_train", arrays["affinity"], facts["train"])


def _cuts(name: str, affinities: Tensor, facts: Mapping[str, Any]) -> Iterator[Quantity]:
    """Yield the cut of every pass and the number of regions under it, both exact."""
    cuts = torch.floor((affinities.amin(dim=1) + affinities.mean(dim=1)) / 2)
    yield Quantity(name, _spread_error(cuts.tolist(), facts["cut"]), 0)
    under = (affinities < cuts[:, None]).sum(dim=1)
    yield Quantity(f"{name}/regions", _spread_error(under.tolist(), facts["regions_cut"]), 0)


def _losses(
    prefix: str, learner: Any, name: str, vectors: Vectors, facts: Mapping[str, Any], first: int,
    parts: Mapping[str, str],
) -> Iterator[Quantity]:  # fmt: skip
    """Yield losses and gradients of one training step."""
    _use_first_centre(learner, first)
    learner.zero_grad(set_to_none=True)
    result = learner.loss(read_episode(vectors, name))
    yield from check_losses(prefix, result, facts, parts)
    result.total.backward()
    yield from check_gradients(prefix, learner, facts)


def _prototype(
    prefix: str, name: str, key: str, vectors: Vectors, features: Tensor, mask: Tensor
) -> Quantity:
    """Return the error of the prototype of a map under a mask at image size."""
    resized = nn.functional.interpolate(features, size=mask.shape[-2:], mode="bilinear", align_corners=False)
    found = (resized * mask[:, None]).sum(dim=(0, 2, 3)) / (mask.sum() + 1e-5)
    return _array(f"{prefix}/{key}", found, vectors[f"{name}/{key}"], "train")


def _resized(grid: Tensor, mask: Tensor) -> Tensor:
    """Return probabilities (1,h,w) at the mask's size (H,W); corner cells lie on corner pixels."""
    size = mask.shape[-2:]
    return nn.functional.interpolate(grid[None], size=size, mode="bilinear", align_corners=True)[0, 0]


def _array(name: str, actual: Tensor, recorded: NDArray[Any], mode: str) -> Quantity:
    """Return the error of an array over its largest value; for an array of zeros the absolute error."""
    largest = float(abs(recorded).max()) or 1.0
    return Quantity(name, largest_error(actual, recorded) / largest, ARRAYS[mode])


def _spread_error(actual: Any, recorded: Any) -> float:
    return float(max(abs(a - b) for a, b in zip(actual, recorded, strict=True)))


def _use_first_centre(learner: Any, first: int) -> None:
    """Make the learner choose candidate `first` as the first centre in either mode."""
    learner.first_centre = lambda count, _most: torch.full_like(count, first)


def _use_dropout(learner: Any, name: str, vectors: Vectors, facts: Mapping[str, Any]) -> None:
    """Replace the learner's dropouts by an episode's recorded masks, or switch dropout off."""
    if "dropout_shapes" not in facts:
        off = {f"MHA.{part}_dropout": nn.Dropout(0.0) for part in ("attention", "output")}
        replace_dropouts(learner, off)
        return
    masks = {
        part: unpack_bits(vectors[f"{name}/dropout_{part}"], shape)
        for part, shape in facts["dropout_shapes"].items()
    }
    replace_dropouts(
        learner, {f"MHA.{part}_dropout": RecordedDropout(mask, 0.1) for part, mask in masks.items()}
    )
