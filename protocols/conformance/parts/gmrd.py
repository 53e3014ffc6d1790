"""Replay of the reference vectors of the released GMRD (December 2024)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fewshot.base.types import Episode
from fewshot.learners.logits import call_logits
from protocols.conformance.quantity import Quantity
from protocols.conformance.replays.made_state import load_episode_weights, made_state
from protocols.conformance.replays.recorded import RecordedDropout, replace_dropouts, unpack_bits
from protocols.conformance.replays.replay import (
    PIXELS,
    Known,
    largest_error,
    read_episode,
    read_vectors,
    relative,
    remember_features,
)
from protocols.conformance.replays.threshold_replay import (
    Maps,
    check_gradients,
    check_losses,
    check_mask,
    check_thresholds,
    encode_episode,
    new_learner,
)

FEATURES, DESCRIPTORS, LOGIT_MAPS = 1e-5, 3e-5, 5e-5  # of an array's largest value
PROBABILITIES = 2e-5  # absolute
PARTS = {"query": "query_loss", "alignment": "align_loss"}
DROPOUTS = {"mlp1.reduce.1": 0.2, "mlp2.reduce.1": 0.2, "decoder1.down.2": 0.1, "decoder2.down.2": 0.1}
LATER_STEPS = {"query": 1e-2, "alignment": 5e-2}  # relative, of a trajectory's second and third step

Vectors = Mapping[str, NDArray[Any]]
Facts = Mapping[str, Any]
KnownByBias = dict[float | None, Known]


def check(folder: Path) -> Iterator[Quantity]:
    """Yield every quantity of a `gmrd` folder."""
    expected, vectors = read_vectors(folder)
    learner = new_learner("gmrd")
    state = made_state(learner)
    parameters = sum(parameter.numel() for parameter in learner.parameters())
    yield Quantity(f"{folder.name}/parameters", abs(parameters - expected["parameters"]), 0)
    known: KnownByBias = {}
    for name, facts in expected.items():
        if not isinstance(facts, dict) or "eval" not in facts:
            continue
        episode = read_gmrd_episode(vectors, name, facts)
        prefix = f"{folder.name}/{name}"
        _load(learner, state, facts["eval"], known)
        yield from check_evaluation(prefix, learner.eval(), name, episode, vectors, facts["eval"])
        _load(learner, state, facts["train"], known)
        yield from check_training(prefix, learner.train(), name, episode, vectors, facts["train"])
    facts = expected["trajectory"]
    _load(learner, state, facts, {})
    yield from check_trajectory(f"{folder.name}/trajectory", learner.train(), vectors, facts)


def read_gmrd_episode(vectors: Vectors, name: str, facts: Facts) -> Episode:
    """Return the episode's inputs, maybe stored under another name; `absent` has an empty support."""
    episode = read_episode(vectors, facts.get("images_of", name))
    if name != "absent":
        return episode
    return dataclasses.replace(episode, support_masks=torch.zeros_like(episode.support_masks))


def _load(learner: Any, state: Mapping[str, Tensor], facts: Facts, known: KnownByBias) -> None:
    """Load an episode's weights, restore the learner's own draws and predictions, and switch dropout off.

    Episodes share images, and their encoders differ by the bias alone: `known` keeps the maps of each.
    """
    replaced = {"encoder.reduce1d.bias": facts["bias"]} if "bias" in facts else {}
    scales = {f"decoder{number}.down.3.weight": facts[f"scale{number}"] for number in (1, 2)}
    load_episode_weights(learner, state, replaced, scales)
    for name in ("draw_fills", "predicted"):
        vars(learner).pop(name, None)
    remember_features(learner, known.setdefault(facts.get("bias"), {}))
    replace_dropouts(learner, {name: nn.Dropout(0.0) for name in DROPOUTS})


def check_evaluation(
    prefix: str, learner: Any, name: str, episode: Episode, vectors: Vectors, facts: Facts
) -> Iterator[Quantity]:
    """Yield the evaluation quantities, with the learner's own draw and with the mean in its place."""
    with torch.no_grad():
        maps = encode_episode(learner, episode)
        yield check_thresholds(f"{prefix}/thresholds_eval", maps, facts["thresholds"])
        if f"{name}/features_eval" in vectors:
            fine = torch.cat([maps[0][0], maps[1][0]])[:, ::64, ::8, ::8]
            yield _array(f"{prefix}/features_eval", fine, vectors[f"{name}/features_eval"], FEATURES)
        for suffix, fill in (("eval", "fresh"), ("eval_mean_fill", "mean")):
            if f"{name}/prob_{suffix}" in vectors:
                learner.options = dataclasses.replace(learner.options, fill=fill)
                yield from _predictions(
                    prefix, learner, name, suffix, maps, episode.support_masks[0], vectors
                )
        learner.options = dataclasses.replace(learner.options, fill="fresh")


def check_training(
    prefix: str, learner: Any, name: str, episode: Episode, vectors: Vectors, facts: Facts
) -> Iterator[Quantity]:
    """Yield the quantities of one training step with the recorded draws, dropout and hard mask."""
    mask = torch.from_numpy(vectors[f"{name}/align_mask"] > 0)[None]
    shots = episode.support_masks.shape[1]

    def restart() -> None:
        _use_draws(learner, facts["draws"], _recorded_draws(vectors, name, len(facts["draws"])))
        _use_dropout(learner, name, vectors, facts)

    restart()
    yield from _losses(prefix, learner, episode, mask, facts)
    restart()
    with torch.no_grad():
        maps = encode_episode(learner, episode)
        yield check_thresholds(f"{prefix}/thresholds_train", maps, facts["thresholds"])
        yield from _predictions(prefix, learner, name, "train", maps, episode.support_masks[0], vectors)
    if f"{name}/fg_descriptors_align" in vectors:
        restart()
        with torch.no_grad():
            support = _describe(learner, maps[0][0], episode.support_masks[0])
            learner.maps(support, maps[1][0])
            query = _describe(learner, maps[1][0], mask)
            logit_maps = learner.maps(query, maps[0][0][:1])
        yield from _descriptors(prefix, name, "align", query, logit_maps, vectors)
        if "mse_of_june_2023" in facts and shots == 1:
            found = sum(_summary_distance(one, other) for one, other in zip(support, query, strict=True))
            yield Quantity(f"{prefix}/mse_of_june_2023", relative(found, facts["mse_of_june_2023"]), 1e-4)
    if f"{name}/align_prototype" in vectors:
        resized = nn.functional.interpolate(
            maps[1][0], size=mask.shape[-2:], mode="bilinear", align_corners=True
        )
        prototype = (resized * mask[:, None]).sum(dim=(0, 2, 3)) / (mask.sum() + 1e-5)
        yield _array(f"{prefix}/align_prototype", prototype, vectors[f"{name}/align_prototype"], DESCRIPTORS)


def _losses(prefix: str, learner: Any, episode: Episode, mask: Tensor, facts: Facts) -> Iterator[Quantity]:
    """Yield losses and gradients, with the recorded hard mask in the alignment branch."""
    encode = learner.encode
    leaf = "gradients" in facts
    fine: list[Tensor] = []

    def traced(images: Tensor) -> Maps:
        with torch.set_grad_enabled(not leaf):
            one, thresholds = encode(images)
        one = one.detach().requires_grad_() if leaf else one
        one.retain_grad()
        fine.append(one)
        return one, thresholds

    learner.encode = traced
    learner.hard_mask = lambda _prediction: mask
    learner.zero_grad(set_to_none=True)
    result = learner.loss(episode)
    yield from check_losses(prefix, result, facts, PARTS)
    result.total.backward()
    learner.encode = encode
    assert fine[0].grad is not None
    error = relative(fine[0].grad.norm().item(), facts["fine_map_gradient_norm"])
    yield Quantity(f"{prefix}/fine_map_gradient_norm", error, 1e-3)
    without = {name: value for name, value in facts.items() if name != "no_gradient"} if leaf else facts
    yield from check_gradients(prefix, learner, without)


def check_trajectory(prefix: str, learner: Any, vectors: Vectors, facts: Facts) -> Iterator[Quantity]:
    """Yield the losses before each of three optimiser steps, with recorded draws and masks, no dropout."""
    recipe = learner.recipe()
    optimiser = torch.optim.SGD(
        learner.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    draws = [vectors[f"trajectory/draw_step_{number}"] for number in range(len(facts["draws"]))]
    _use_draws(learner, facts["draws"], draws)
    for step, (name, losses) in enumerate(zip(facts["episodes"], facts["steps"], strict=True)):
        mask = torch.from_numpy(vectors[f"trajectory/align_mask_{step}"] > 0)[None]
        learner.hard_mask = lambda _prediction, mask=mask: mask
        result = learner.loss(read_episode(vectors, name))
        for part, key in PARTS.items():
            value, expected = result.parts[part].item(), losses[key]
            error = relative(value, expected) if expected else abs(value)
            yield Quantity(f"{prefix}/{step}/{key}", error, LATER_STEPS[part] if step else 1e-5)
        optimiser.zero_grad(set_to_none=True)
        result.total.backward()
        optimiser.step()
    state = learner.state_dict()
    for name, norm in facts["after_norm"].items():
        yield Quantity(f"{prefix}/after_norm/{name}", relative(state[name].norm().item(), norm), 1e-3)
    for name, head in facts["after_head"].items():
        largest = max(abs(value) for value in head)
        error = largest_error(state[name].flatten()[:8], torch.tensor(head).numpy()) / largest
        yield Quantity(f"{prefix}/after_head/{name}", error, 1e-2)


def _predictions(
    prefix: str,
    learner: Any,
    name: str,
    suffix: str,
    maps: tuple[Maps, Maps],
    masks: Tensor,
    vectors: Vectors,
) -> Iterator[Quantity]:
    """Yield descriptors, logit maps, probability and mask of the query branch."""
    support, query = maps
    if f"{name}/fg_descriptors_{suffix}" in vectors:
        descriptors = _describe(learner, support[0], masks)
        logit_maps = learner.maps(descriptors, query[0])
        yield from _descriptors(prefix, name, suffix, descriptors, logit_maps, vectors)
        resized = nn.functional.interpolate(
            torch.stack(logit_maps, dim=1), size=masks.shape[-2:], mode="bilinear", align_corners=True
        )
        probability = resized.softmax(dim=1)[0, 0]
    else:
        probability = learner.threshold_probabilities(query, masks.shape[-2:])[0]
    if not learner.training:
        scores, _defined = call_logits(learner, support, masks, query, {}, "query")
        probability = scores.softmax(dim=1)[0, 1]
    error = largest_error(probability[::8, ::8], vectors[f"{name}/prob_{suffix}"])
    yield Quantity(f"{prefix}/prob_{suffix}", error, PROBABILITIES)
    mask = "align_mask" if suffix == "train" else suffix.replace("eval", "mask_eval", 1)
    yield check_mask(f"{prefix}/{mask}", probability > 0.5, vectors[f"{name}/{mask}"], PIXELS)


def _describe(learner: Any, features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    found: tuple[Tensor, Tensor] = learner.descriptors(features, masks, learner.draw_fills(masks))
    return found


def _descriptors(
    prefix: str, name: str, suffix: str, descriptors: tuple[Tensor, Tensor], maps: tuple[Tensor, Tensor],
    vectors: Vectors,
) -> Iterator[Quantity]:  # fmt: skip
    """Yield the recorded rows and columns of both sets of descriptors, and both decoders' maps."""
    for side, every, rows, logits in zip(("fg", "bg"), (20, 120), descriptors, maps, strict=True):
        shown = torch.cat([rows[:-2][::every], rows[-2:]])[:, ::2]
        key = f"{side}_descriptors_{suffix}"
        yield _array(f"{prefix}/{key}", shown, vectors[f"{name}/{key}"], DESCRIPTORS)
        key = f"{side}_map_{suffix}"
        yield _array(f"{prefix}/{key}", logits[0, ::2, ::2], vectors[f"{name}/{key}"], LOGIT_MAPS)


def _summary_distance(support: Tensor, query: Tensor) -> float:
    """Return the mean squared difference of two summaries: mean of the generated rows, mean, ring."""
    one, other = (torch.cat([rows[:-2].mean(dim=0, keepdim=True), rows[-2:]]) for rows in (support, query))
    return float((one - other).square().mean())


def _recorded_draws(vectors: Vectors, name: str, count: int) -> list[NDArray[Any]]:
    """Return an episode's training draws; a draw that the file lacks equals that of evaluation."""
    keys = [f"{name}/draw_train_{number}" for number in range(count)]
    return [vectors[key if key in vectors else key.replace("train", "eval")] for key in keys]


def _use_draws(learner: Any, facts: Sequence[Facts], draws: Sequence[NDArray[Any]]) -> None:
    """Replace the learner's draws by the recorded samples in turn; empty samples are skipped."""
    samples = iter([(fact, draw) for fact, draw in zip(facts, draws, strict=True) if fact["drawn"]])
    learner.draw_fills = lambda pixels: learner.fills_from(pixels, _sampler(samples))


def _sampler(samples: Iterator[tuple[Facts, NDArray[Any]]]) -> Callable[[int, int], list[int]]:
    def sample(count: int, size: int) -> list[int]:
        if not size:
            return []
        fact, draw = next(samples)
        if (fact["of"], fact["drawn"]) != (count, size):
            raise ValueError(
                f"the recorded draw takes {fact['drawn']} of {fact['of']}, not {size} of {count}"
            )
        return [int(index) for index in draw]

    return sample


def _use_dropout(learner: Any, name: str, vectors: Vectors, facts: Facts) -> None:
    """Replace the learner's dropouts by an episode's recorded masks."""
    if "dropout_shapes" not in facts:
        return
    masks = [
        unpack_bits(vectors[f"{name}/dropout_{number}"], shape)
        for number, shape in enumerate(facts["dropout_shapes"])
    ]
    layers = enumerate(DROPOUTS.items())
    replace_dropouts(
        learner, {layer: RecordedDropout(masks[place::4], share) for place, (layer, share) in layers}
    )


def _array(name: str, actual: Tensor, recorded: NDArray[Any], tolerance: float) -> Quantity:
    """Return the error of an array over its largest value."""
    return Quantity(name, largest_error(actual, recorded) / (float(abs(recorded).max()) or 1.0), tolerance)
