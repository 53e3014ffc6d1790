"""What stands around a table's numbers: which configuration made them and what a reader must know."""

from __future__ import annotations

from collections import Counter

from results.records.record import Record
from results.records.record_parts import ModelPart
from results.summary.comparability import prepared_by_text
from results.summary.configuration_result import ConfigurationResult
from results.summary.machines import machine_notes
from results.summary.support_sensitivity import several_supports

LABELS = {
    "none": "",
    "training-group": "uses labels of the training group",
    "target": "uses labels of the tested classes",
    "external": "uses weights trained elsewhere, with masks or in an unknown way",
}


def heading(block: ConfigurationResult) -> str:
    """Return method, dataset, setting and protocol of a block."""
    record = block.record
    protocol = f"{record.protocol.name} version {record.protocol.version}"
    trained = record.train_dataset
    data = record.dataset.name + (f" (trained on {trained.name})" if trained else "")
    return f"{record.method.name} on {data}, setting {record.setting}, {protocol}"


def subheading(block: ConfigurationResult) -> str:
    """Return model, seed, checkpoint policy, shots and parts of a block, and its short hash."""
    record, model = block.record, block.record.model
    texts = [training_text(model)]
    texts += [f"seed {model.seed}", f"checkpoint {model.checkpoint}"]
    texts += [f"{record.shots} shot" + "s" * (record.shots > 1), f"{record.parts} parts"]
    if record.method.options:
        options = (f"{name}={value}" for name, value in sorted(record.method.options.items()))
        texts.append(f"options {' '.join(options)}")
    return "; ".join([*texts, f"configuration {block.configuration_id}"])


def labels_text(record: Record) -> str:
    """Return which labels training used, for every table; "" where it used none."""
    return LABELS[record.method.labels_used]


def key_notes(block: ConfigurationResult) -> list[str]:
    """Return the line that names every cell and its model by the beginning of their keys."""
    groups: dict[int, list[str]] = {}
    for (fold, group), record in block.cells.items():
        if record.key is not None:
            model = "no model" if record.model.key is None else f"model {_short(record.model.key)}"
            groups.setdefault(fold, []).append(f"{group} {record.key[:8]} ({model})")
    folds = "; ".join(f"fold {fold} {', '.join(cells)}" for fold, cells in groups.items())
    return [f"cells: {folds}"] if folds else []


def _short(key: str) -> str:
    """Return the beginning of a model's key, as commands accept it."""
    return key[:8] if not key.startswith("external-") else key[: len("external-") + 8]


def stand_in_notes(block: ConfigurationResult) -> list[str]:
    """Return which cells learned from annotated supports of another scan than the fold's, and which scan."""
    told = []
    for (fold, group), record in block.cells.items():
        labels = record.model.labels
        if labels is not None and labels.in_place_of:
            scans, others = ", ".join(labels.support_scans), ", ".join(labels.in_place_of)
            told.append(f"fold {fold} {group}: scan {scans} for {others}")
    if not told:
        return []
    why = "no slice of the fold's shows a training class without a tested one"
    return [f"annotated episodes supported by another scan, since {why}: {'; '.join(told)}"]


def row_label(block: ConfigurationResult) -> str:
    """Return a short name of a block's configuration for a summary's row."""
    record, model = block.record, block.record.model
    texts = [record.method.name]
    if model.encoder is not None:
        texts.append(f"({training_text(model)}, seed {model.seed}, {model.checkpoint})")
    texts += [f"[{labels_text(record)}]"] if labels_text(record) else []
    marks = ["!"] if record.audits else []
    return " ".join([*texts, *marks])


def notes(block: ConfigurationResult) -> list[str]:
    """Return the lines under a block's table: units, weights, labels, excluded, undefined, missing."""
    record = block.record
    lines = ["Dice in percent, mean over query scans; ± is the standard deviation over folds (n-1)."]
    if several_supports(block):
        lines.append(
            "supports in turn: the mean is over supports, then scans; worst and spread (n-1) are over "
            "supports, mean over classes"
        )
    lines += [weights_note(record.model), prepared_by_text(block.cells.values())]
    lines.append(labels_text(record) or "labels used in training: none")
    order = "/".join(block.groups)
    split = f" ({order} where groups differ)" if len(block.groups) > 1 else ""
    lines.append(f"excluded: training slices dropped by the setting; skipped: training episodes{split}")
    lines += stand_in_notes(block)
    lines += _selection_notes(block)
    lines += _undefined_notes(block)
    lines += key_notes(block)
    fallback = sum(cell.fallback_slices for cell in block.cells.values())
    if fallback:
        lines.append(f"answered by the method's fallback: {fallback} query slices")
    lines += machine_notes(block.cells.values())
    lines += [f"MARKED: {mark}" for mark in record.audits]
    if block.missing:
        folds = {group: [str(f) for f, other in block.missing if other == group] for group in block.groups}
        names = "; ".join(f"{group}: fold {', '.join(gone)}" for group, gone in folds.items() if gone)
        lines.append(f"INCOMPLETE: {len(block.missing)} cells are missing: {names}")
    return lines


def training_text(model: ModelPart) -> str:
    """Return encoder, initial weights, name and steps of a model in words, and precisions but float32."""
    if model.encoder is None:
        return "made elsewhere" if model.checkpoint == "external" else "nothing trained"
    weights = model.initial_weights
    texts = [model.encoder, f"{weights.name} weights" if weights else "given weights"]
    if model.name is not None:
        texts[1] += f" {model.name}"
    if model.steps is not None:
        texts.append("untrained" if model.steps == 0 else f"{model.steps} steps")
    if model.precision not in (None, "float32"):
        texts.append(f"trained in {model.precision}")
    if model.compiled:
        texts.append("compiled")
    if model.answer_precision is not None:
        texts.append(f"answered in {model.answer_precision}")
    return ", ".join(texts)


def weights_note(model: ModelPart) -> str:
    """Return the line on initial weights, loud where they are random."""
    weights = model.initial_weights
    if weights is None:
        return "initial weights: " + ("not known" if model.checkpoint == "external" else "none")
    if model.name is not None:
        return f"initial weights: {weights.name} {model.name}"
    if weights.name == "random":
        return "initial weights: RANDOM, not pre-trained: not comparable with published numbers"
    return f"initial weights: {weights.name}" + (f" ({weights.sha256[:8]})" if weights.sha256 else "")


def _selection_notes(block: ConfigurationResult) -> list[str]:
    chosen = {cell: record.model.selected for cell, record in block.cells.items()}
    told = [
        f"fold {fold} {group}: step {one.step} of {len(one.candidates)}, on {one.on}"
        for (fold, group), one in chosen.items()
        if one
    ]
    return [f"checkpoint chosen by Dice with labels: {'; '.join(told)}"] if told else []


def _undefined_notes(block: ConfigurationResult) -> list[str]:
    undefined = block.undefined()
    if not undefined:
        return [f"undefined scores: 0 of {block.scores()}"]
    reasons = Counter((name, reason) for _fold, name, _scan, reason in undefined)
    told = "; ".join(f"{name} {number}x {reason}" for (name, reason), number in sorted(reasons.items()))
    return [f"undefined scores, left out of their means: {len(undefined)} of {block.scores()} ({told})"]
