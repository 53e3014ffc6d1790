"""Headings and notes of a table: the configuration behind its numbers and the caveats of its records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fewshot.recipes.named_recipe import recipe_name
from results.records.record import Record
from results.records.record_parts import ModelPart
from results.summary.comparability import prepared_by_text
from results.summary.configuration_result import ConfigurationResult
from results.summary.frame import spread_of_folds
from results.summary.machines import machine_notes
from results.summary.support_sensitivity import several_supports

LABELS = {
    "none": "",
    "training-group": "uses labels of the training group",
    "target": "uses labels of the tested classes",
    "external": "uses weights trained elsewhere, with masks or in an unknown way",
}


def heading(result: ConfigurationResult) -> str:
    """Return method, dataset, setting and protocol of a result."""
    record = result.record
    protocol = f"{record.protocol.name} version {record.protocol.version}"
    trained = record.train_dataset
    data = record.dataset.name + (f" (trained on {trained.name})" if trained else "")
    return f"{record.method.name} on {data}, setting {record.setting}, {protocol}"


def subheading(result: ConfigurationResult) -> str:
    """Return model, seed, checkpoint policy, shots, parts, options and configuration id of a result."""
    record, model = result.record, result.record.model
    texts = [training_text(record)]
    texts += [f"seed {model.seed}", f"checkpoint {model.checkpoint}"]
    texts += [f"{record.shots} shot" + "s" * (record.shots > 1), f"{record.parts} parts"]
    if record.method.options:
        options = (f"{name}={value}" for name, value in sorted(record.method.options.items()))
        texts.append(f"options {' '.join(options)}")
    return "; ".join([*texts, f"configuration {result.configuration_id}"])


def labels_text(record: Record) -> str:
    """Return the labels that training used, in words; "" without any."""
    text, labels = LABELS[record.method.labels_used], record.model.labels
    if labels is None or labels.sentences is None:
        return text
    regime = record.method.options.get("encoder_regime")
    return f"{text}; sentences {labels.sentences}" + (f"; encoder {regime}" if regime else "")


def key_notes(result: ConfigurationResult) -> list[str]:
    """Return the line that names every cell and its model by the first digits of their keys."""
    groups: dict[int, list[str]] = {}
    for (fold, group), record in result.cells.items():
        if record.key is not None:
            model = "no model" if record.model.key is None else f"model {_short(record.model.key)}"
            groups.setdefault(fold, []).append(f"{group} {record.key[:8]} ({model})")
    folds = "; ".join(f"fold {fold} {', '.join(cells)}" for fold, cells in groups.items())
    return [f"cells: {folds}"] if folds else []


def _short(key: str) -> str:
    """Return the first digits of a model's key, as commands accept them."""
    return key[:8] if not key.startswith("external-") else key[: len("external-") + 8]


def stand_in_notes(result: ConfigurationResult) -> list[str]:
    """Return a line on the cells whose training took annotated supports from another scan than the fold's."""
    replacements = []
    for (fold, group), record in result.cells.items():
        labels = record.model.labels
        if labels is not None and labels.in_place_of:
            scans, others = ", ".join(labels.support_scans), ", ".join(labels.in_place_of)
            replacements.append(f"fold {fold} {group}: scan {scans} for {others}")
    if not replacements:
        return []
    why = "no slice of the fold's shows a training class without a tested one"
    return [f"annotated episodes supported by another scan, since {why}: {'; '.join(replacements)}"]


def row_label(result: ConfigurationResult) -> str:
    """Return a short name of a result's configuration, for a row of a summary."""
    record, model = result.record, result.record.model
    texts = [record.method.name]
    if model.encoder is not None:
        texts.append(f"({training_text(record)}, seed {model.seed}, {model.checkpoint})")
    texts += [f"[{labels_text(record)}]"] if labels_text(record) else []
    marks = ["!"] if record.audits else []
    return " ".join([*texts, *marks])


def notes(result: ConfigurationResult) -> list[str]:
    """Return the lines under the table of a result: units, weights, labels, excluded, undefined, missing."""
    record = result.record
    lines = ["Dice in percent, mean over query scans; ± is the standard deviation over folds (n-1)."]
    if several_supports(result):
        lines.append(
            "supports in turn: the mean is over supports, then scans; worst and spread (n-1) are over "
            "supports, mean over classes"
        )
    lines += [weights_note(record.model), prepared_by_text(result.cells.values())]
    lines.append(labels_text(record) or "labels used in training: none")
    order = "/".join(result.groups)
    split = f" ({order} where groups differ)" if len(result.groups) > 1 else ""
    lines.append(f"excluded: training slices dropped by the setting; skipped: training episodes{split}")
    lines += stand_in_notes(result)
    lines += _selection_notes(result)
    lines += _undefined_notes(result)
    lines += key_notes(result)
    fallback = sum(cell.fallback_slices for cell in result.cells.values())
    if fallback:
        lines.append(f"segmented by the method's fallback: {fallback} query slices")
    lines += machine_notes(result.cells.values())
    lines += [f"MARKED: {mark}" for mark in record.audits]
    if result.missing:
        folds = {group: [str(f) for f, other in result.missing if other == group] for group in result.groups}
        names = "; ".join(f"{group}: fold {', '.join(gone)}" for group, gone in folds.items() if gone)
        lines.append(f"INCOMPLETE: {len(result.missing)} cells are missing: {names}")
        lines += partial_notes(result)
    return lines


def partial_notes(result: ConfigurationResult) -> list[str]:
    """Return the mean of a trial over some folds, marked PARTIAL: all classes, else group by group."""
    if not result.missing:
        return []
    whole = [fold for fold in result.folds if result.fold_dice(fold) is not None]
    if whole:
        return _partial_note(result, "", whole, result.means.of_all(whole))
    lines = []
    for group in result.groups:
        present = [fold for fold in result.folds if (fold, group) in result.cells]
        lines += _partial_note(result, f" of {group}", present, result.means.of_group(present, group))
    return lines


def _partial_note(
    result: ConfigurationResult, group: str, folds: Sequence[int], dices: Sequence[float]
) -> list[str]:
    spread = spread_of_folds(dices)
    if spread is None:
        return []
    numbers = ", ".join(map(str, folds))
    deviation = f" ± {100 * spread.std:.2f}" if spread.std is not None else ""
    return [
        f"PARTIAL: mean{group} {100 * spread.mean:.2f}{deviation} over fold {numbers} of {len(result.folds)} "
        "folds: for a trial; a result needs every fold"
    ]


def training_text(record: Record) -> str:
    """Return recipe, encoder, initial weights, name and steps, and every precision other than float32.

    A recipe of several methods stands by its name; the published one and numbers without a name do not.
    """
    model = record.model
    if model.encoder is None:
        return "made elsewhere" if model.checkpoint == "external" else "nothing trained"
    weights = model.initial_weights
    texts = [model.encoder, f"{weights.name} weights" if weights else "given weights"]
    named = _recipe_of(record)
    if named is not None:
        texts.insert(0, f"recipe {named}")
    if model.name is not None:
        texts[-1] += f" {model.name}"
    if model.steps is not None:
        texts.append("untrained" if model.steps == 0 else f"{model.steps} steps")
    if model.precision not in (None, "float32"):
        texts.append(f"trained in {model.precision}")
    if model.compiled:
        texts.append("compiled")
    if model.answer_precision is not None:
        texts.append(f"evaluated in {model.answer_precision}")
    return ", ".join(texts)


def _recipe_of(record: Record) -> str | None:
    model = record.model
    weights = None if model.initial_weights is None else model.initial_weights.name
    numbers = {**record.method.options, **(model.recipe or {}), "encoder": model.encoder, "weights": weights}
    return recipe_name(record.method.name, numbers)


def weights_note(model: ModelPart) -> str:
    """Return the line on initial weights; capitals warn of random ones."""
    weights = model.initial_weights
    if weights is None:
        return "initial weights: " + ("not known" if model.checkpoint == "external" else "none")
    if model.name is not None:
        return f"initial weights: {weights.name} {model.name}"
    if weights.name == "random":
        return "initial weights: RANDOM, not pre-trained: not comparable with published numbers"
    return f"initial weights: {weights.name}" + (f" ({weights.sha256[:8]})" if weights.sha256 else "")


def _selection_notes(result: ConfigurationResult) -> list[str]:
    chosen = {cell: record.model.selected for cell, record in result.cells.items()}
    texts = [
        f"fold {fold} {group}: step {selected.step} of {len(selected.candidates)}, on {selected.on}"
        for (fold, group), selected in chosen.items()
        if selected
    ]
    return [f"checkpoint chosen by Dice with labels: {'; '.join(texts)}"] if texts else []


def _undefined_notes(result: ConfigurationResult) -> list[str]:
    undefined = result.undefined()
    if not undefined:
        return [f"undefined scores: 0 of {result.scores()}"]
    reasons = Counter((name, reason) for _fold, name, _scan, reason in undefined)
    texts = "; ".join(f"{name} {number}x {reason}" for (name, reason), number in sorted(reasons.items()))
    return [f"undefined scores, left out of their means: {len(undefined)} of {result.scores()} ({texts})"]


def distinct_labels(
    texts: Sequence[str], options: Sequence[Mapping[str, Any]], identities: Sequence[str]
) -> list[str]:
    """Return a label for each row.

    Rows of one text get the options whose values differ between them; if labels are equal still, they get
    `#` and their identity.

    Args:
        texts: the label of each row, perhaps equal ones.
        options: the options of each row's method.
        identities: a configuration id for each row.
    """
    named = []
    for text, own in zip(texts, options, strict=True):
        alike = [other for each, other in zip(texts, options, strict=True) if each == text]
        differ = [name for name in own if any(other.get(name) != own[name] for other in alike)]
        named.append(" ".join([text, *(f"{name}={_shown(own[name])}" for name in differ)]))
    return [
        label if named.count(label) == 1 else f"{label} #{identity}"
        for label, identity in zip(named, identities, strict=True)
    ]


def _shown(value: Any) -> str:
    """Return a value of an option as `--option` takes it; "none" for an empty one."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value) or "none"
