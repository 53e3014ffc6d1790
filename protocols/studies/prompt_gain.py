"""Prompt gain: Dice of a text-supervised method with the true sentence, and with three others.

A trained model segments each query slice with its own sentence, with the sentences of the fold shuffled over
its slices, with the sentence of another slice that differs, and with the empty one. The gain is the true
sentence's Dice minus another's. All four share model, slices and counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from episodes.plan.plan import EvaluationPlan
from episodes.store.slices import Normalisation, Scans, SliceReader
from fewshot.base.errors import UserError
from fewshot.base.seeds import seed_for
from fewshot.base.types import SliceRef
from fewshot.identity.regimes import needs_of
from protocols.cells.evaluate import evaluate
from protocols.regimes.labelled import sentence_kind
from protocols.request import Request
from protocols.runs.runner import run, training_data, validate_and_plan
from protocols.training.method import MethodConfig
from protocols.training.models import open_model
from results.comparison.prompt_table import prompt_table
from results.inference.interval import t_quantile
from results.records.files import read_record

PROMPTS = ("true", "shuffled", "other", "empty")


class PromptReader(SliceReader):
    """A reader whose slices have the sentences of `replaced` in place of their own."""

    def __init__(self, store: Scans, intensities: Normalisation, replaced: Mapping[SliceRef, str]) -> None:
        super().__init__(store, intensities)
        self._replaced = replaced

    def sentences(self, refs: Sequence[SliceRef], kind: str, classes: Sequence[str]) -> tuple[str, ...]:
        """Return the replaced sentence of each slice."""
        return tuple(self._replaced[ref] for ref in refs)


def replace_sentences(true: Mapping[SliceRef, str], prompt: str, *names: str | int) -> dict[SliceRef, str]:
    """Return the sentence of each slice under a prompt of `PROMPTS`.

    "shuffled": a random permutation over the slices, which may leave a slice its own. "other": the sentence
    of a random slice whose sentence differs; a slice keeps its own if all are equal.

    Args:
        true: slice -> its own sentence.
        prompt: one of `PROMPTS`.
        names: seed the draws.
    """
    refs, texts = list(true), list(true.values())
    draw = np.random.Generator(np.random.PCG64(seed_for("prompt", prompt, *names)))
    if prompt == "shuffled":
        texts = [texts[place] for place in draw.permutation(len(texts))]
    elif prompt == "other":
        others = [[other for other in texts if other != text] or [text] for text in texts]
        texts = [str(choices[draw.integers(len(choices))]) for choices in others]
    elif prompt == "empty":
        texts = [""] * len(texts)
    return dict(zip(refs, texts, strict=True))


@dataclass(frozen=True)
class PromptDice:
    """Mean Dice in [0,1] of every fold under each prompt: prompt -> fold -> mean; NaN if none is defined."""

    method: str
    dataset: str
    text: str  # recipe and options that differ between studies
    folds: dict[str, dict[int, float]]

    def gain(self, prompt: str) -> tuple[float, float, float]:
        """Return the mean over folds of true minus `prompt`, and its 95 % t interval; NaN for one fold."""
        true, other = self.folds["true"], self.folds[prompt]
        differences = np.array([true[fold] - other[fold] for fold in true])
        return interval_of(differences)

    def table(self) -> str:
        """Return the lines of the table of means and gains."""
        means = {prompt: float(np.mean(list(each.values()))) for prompt, each in self.folds.items()}
        gains = {prompt: None if prompt == "true" else self.gain(prompt) for prompt in PROMPTS}
        rows = [(prompt, means[prompt], gains[prompt]) for prompt in PROMPTS]
        return prompt_table(f"{self.method} on {self.dataset}: {self.text}", rows)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> PromptDice:
        """Return the means in the JSON values of `to_json`."""
        folds = {
            prompt: {int(fold): float(dice) for fold, dice in each.items()}
            for prompt, each in plain["dice"].items()
        }
        return cls(plain["method"], plain["dataset"], plain["text"], folds)

    def to_json(self) -> dict[str, Any]:
        """Return the means as plain JSON values."""
        folds = {
            prompt: {str(fold): dice for fold, dice in each.items()} for prompt, each in self.folds.items()
        }
        return {"method": self.method, "dataset": self.dataset, "text": self.text, "dice": folds}


def interval_of(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float, float]:
    """Return mean, low and high of the 95 % t interval of a mean over folds; NaN bounds for one fold."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = t_quantile(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def measure_prompts(request: Request, method: MethodConfig) -> PromptDice:
    """Train the missing models as `fewshot run` does, then measure every fold under every prompt.

    Raises:
        UserError: the method needs no sentence; as `run`.
    """
    if not needs_of(method.learner).sentence:
        raise UserError(f"{method.name} needs no sentence, so it has no prompt gain; choose mptpn")
    models = {}
    for path in run(request, method):
        record = read_record(path)
        models[record.fold, record.group] = str(record.model.key)
    found: dict[str, dict[int, list[float]]] = {prompt: {} for prompt in PROMPTS}
    for fold, cells in validate_and_plan(request, method).items():
        for cell in cells:
            plan = cell.plan.evaluation
            folder = request.work / "models" / models[fold, plan.group]
            model = open_model(folder, request.device, method.name)[2]
            intensities = training_data(request, cell.plan)[1]
            true = _true_sentences(request, intensities, plan, method)
            for prompt in PROMPTS:
                texts = replace_sentences(true, prompt, fold, plan.group, method.seed)
                reader = PromptReader(request.store, intensities, texts)
                (scores,) = evaluate(
                    model.learner, [plan], reader, device=request.device, batch=request.batch,
                    precision=request.eval_precision,
                )  # fmt: skip
                dices = [score.dice for score in scores.scores if score.dice is not None]
                found[prompt].setdefault(fold, []).extend(dices)
    means = {
        prompt: {fold: float(np.mean(dices)) if dices else math.nan for fold, dices in each.items()}
        for prompt, each in found.items()
    }
    assert method.recipe is not None
    options = method.description["options"]
    recipe = method.recipe
    text = f"{recipe.encoder}, {recipe.steps} steps, batch {recipe.batch}, rate {recipe.learning_rate:g}, "
    text += f"seed {method.seed}, " + ", ".join(f"{name} {value}" for name, value in options.items() if value)
    return PromptDice(method.name, request.store.spec.name, text, means)


def _true_sentences(
    request: Request, intensities: Normalisation, plan: EvaluationPlan, method: MethodConfig
) -> dict[SliceRef, str]:
    """Return the own sentence of every query slice of a plan."""
    reader = SliceReader(request.store, intensities)
    refs = sorted({ref for task in plan.tasks for ref in task.queries})
    return dict(zip(refs, reader.sentences(refs, sentence_kind(method.options), plan.classes), strict=True))
