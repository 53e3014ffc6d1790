"""Numbers of every registered method on fixed inputs: three steps of training, answers, counts of pixels.

The networks are narrow: width moves no formula, and full width takes five times as long.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fingerprint_inputs import block_plan, block_store, disc_episode, discs, reader_of, waves
from fingerprint_statistics import Numbers, losses_of, score_numbers, tensor_numbers
from narrow_networks import narrow_networks
from torch import Tensor

from baselines.dspnet import fspa
from fewshot.base.seeds import seed_for
from fewshot.base.types import Support
from fewshot.learners.learner import PrototypeLearner
from fewshot.learners.logits import predict_logit_difference
from fewshot.learners.prototypes import resize_masks
from fewshot.learners.recipe import Recipe
from fewshot.learners.registry import METHODS, resolve_method, trains
from fewshot.training.optimizer_step import Stepper
from protocols.cells.evaluate import evaluate
from protocols.training.method_config import build_method_config
from protocols.training.models import build_learner
from protocols.training.stages import has_stages

CPU = torch.device("cpu")
METHOD_NUMBERS = tuple(METHODS)
SIZES = {"dspnet": 144}  # pixels a side: seeds need 150 positions of foreground at stride 8
SIZE = 64
STEPS = 3
# a step, a task and a slice of each kind: a slice of these methods takes seconds
ONCE = ("gmrd", "register-support", "universeg")
# At the published rates rounding errors of 1e-7 become differences of 1e-1 within three steps.
RATE, STAGE_RATE = "1e-6", "1e-7"
# stage 1 takes 3 steps, so the stages have different numbers of steps
STAGES = f"""--encoder resnet18 --steps 2 --option learning_rate={STAGE_RATE} --option stage3_steps=4
    --option stage3_rate={STAGE_RATE} --option annotated=0.5 --option densecl_epochs=1
    --option densecl_batch=16 --option densecl_queue=16 --option densecl_size=32
    --option densecl_learning_rate={STAGE_RATE}"""


def method_numbers(name: str, folder: Path) -> Numbers:
    """Return the numbers of a method with its published options on a narrow random ResNet-18."""
    with narrow_networks():
        return _method_numbers(name, folder)


def _method_numbers(name: str, folder: Path) -> Numbers:
    learner_class = resolve_method(name)
    store, size = block_store(folder / "store"), SIZES.get(name, SIZE)
    method = (
        build_method_config(name, {"learning_rate": RATE}, encoder="resnet18")
        if trains(learner_class)
        else None
    )
    learner: Any = learner_class(learner_class.Options()) if method is None else build_learner(method).eval()
    plan, steps, slices = block_plan(store).evaluation, STEPS, 2
    if name in ONCE:
        plan, steps, slices = dataclasses.replace(plan, tasks=plan.tasks[:1]), 1, 1
    (result,) = evaluate(learner, [plan], reader_of(store), device=CPU)
    found: Numbers = {
        "answer": _answer_numbers(learner, size, slices),
        "evaluation": score_numbers(result.scores) | {"fallback slices": result.fallback_slices},
    }
    if name in MODULES:
        found["modules"] = MODULES[name]()
    if method is not None and has_stages(method):
        return found | _stage_numbers(name, folder, store.path)
    if method is not None:
        found["training"] = _training_numbers(learner.train(), method.recipe, size, steps)
    return found


def dspnet_modules() -> Numbers:
    """Return numbers of DSPNet's seeds, of clusters that still move in the last round, attention and fusion.

    The answers of a whole network hardly depend on them.
    """
    support, query = waves(2, 6, 24, 24), waves(3, 6, 24, 24).flip(-1)
    masks = torch.zeros(2, 192, 192, dtype=torch.bool)
    masks[0, 10:150, 20:180], masks[1, 60:180, 30:170] = True, True
    shares = resize_masks(masks, (24, 24))
    seeds = fspa.seeds_of_masks(masks)
    clusters = fspa.soft_clusters(support * 10, shares, seeds)
    small = support.flatten(2) / 50, query.flatten(2) / 50
    found = {f"clusters {name}": tensor_numbers(one) for name, one in clusters._asdict().items()}
    details = clusters.centres, clusters.counts
    for name, given in (("with", details), ("without", None)):
        fused = fspa.semantic_prototypes(support, shares, query, given)
        found[f"semantic prototypes {name} details"] = tensor_numbers(fused)
    return found | {
        "seeds": [seeds["seeds"].flatten(1).tolist(), seeds["seeded"].sum(1).tolist()],
        "attention of small features": tensor_numbers(fspa.attention(*small).square()),
        "steep softmax": tensor_numbers(fspa.steep_softmax(waves(3, 50) * 100)),
    }


MODULES: dict[str, Callable[[], Numbers]] = {"dspnet": dspnet_modules}


def _training_numbers(learner: Any, recipe: Recipe, size: int, steps: int) -> Numbers:
    before = _weights(learner)
    stepper = Stepper(learner, recipe, CPU, "float32", async_readback=False)
    found: Numbers = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for("fingerprint"))  # of the draws that a method takes in training
        for step in range(steps):
            (done,) = stepper.take(disc_episode(learner, step, size), step + 1, recipe.rate_after(step))
            found[f"step {step}"] = {**done.parts, "total": done.total, "defined": done.defined}
    after = _weights(learner)
    return found | {
        "norm of weights": float(after.norm()),
        "change of weights": float((after - before).norm()),
    }


def _weights(learner: torch.nn.Module) -> Tensor:
    return torch.cat([one.detach().flatten().double() for one in learner.parameters()])


def _answer_numbers(learner: Any, size: int, slices: int) -> Numbers:
    """Return the difference of logits for support and query `slices`; of a yardstick, probabilities.

    A prototype learner answers to its encoder's features and, given several slices, to small features made by
    a formula, on which refinement has an effect.
    """
    images, masks = discs(7, 2 * slices, size)
    support, query = Support(images[:slices], masks[:slices]), images[slices:]
    if not isinstance(learner, PrototypeLearner):
        with torch.inference_mode():
            return tensor_numbers(learner.segment(support, query))
    prepared = learner.prepare(support.masks)
    with torch.inference_mode(not learner.adapts):
        maps: Any = [learner.encode(some) for some in (support.images, query)]
        kinds = {"encoded": maps} if slices == 1 else {"encoded": maps, "made": [_made(one) for one in maps]}
        found = {}
        for kind, (ours, theirs) in kinds.items():
            difference, _defined = predict_logit_difference(
                learner, ours, support.masks, theirs, prepared, (size, size)
            )
            found[f"{kind} features"] = tensor_numbers(difference.detach())
    return found


def _made(maps: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    return waves(*maps.shape) if isinstance(maps, Tensor) else tuple(waves(*one.shape) for one in maps)


def _stage_numbers(name: str, folder: Path, store: Path) -> Numbers:
    """Return the losses of every stage of a method, trained by `fewshot run` at the smallest sizes."""
    from fewshot.commands.main import main

    work = folder / "work"
    shutil.copytree(store, work / "stores" / "tiny")
    command = ["run", "--work", str(work), "--dataset", "tiny", "--folds", "0", "--groups", "upper"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main([*command, "--method", name, *STAGES.split()]) == 0
    trainings = {path: losses_of(path.parent) for path in work.rglob("losses.csv")}
    stages = {f"stage of {len(losses['step'])} steps": losses for losses in trainings.values()}
    assert len(stages) == len(trainings) == 3
    return stages
