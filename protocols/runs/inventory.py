"""Lists of stores, models, cells, methods, recipes, protocols and datasets, one row each.

Rows come from JSON and TOML files alone, so a list of thousands of entries does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from episodes.store.dataset import known_datasets, load_dataset_spec
from episodes.store.store import Store
from fewshot.learners.registry import METHODS, known_methods
from fewshot.recipes.named_recipe import PUBLISHED, named_recipes
from fewshot.training.log import LOSSES, last_step
from protocols.training.spec_file import read_model_spec
from results.records.configuration import configuration_id
from results.records.record import Record

Row = dict[str, Any]


def list_stores(work: Path) -> list[Row]:
    """Return a row per prepared dataset under WORK/stores."""
    rows = []
    for file in sorted((work / "stores").glob("*/index.json")):
        store = Store.open(file.parent)
        rows.append(
            {
                "name": file.parent.name,
                "hash": store.hash,
                "scans": len(store.index.scans),
                "slices": sum(store.index.depths.values()),
                "image_size": store.spec.image_size,
                "prepared_by": store.prepared_by,
            }
        )
    return rows


def list_models(work: Path) -> list[Row]:
    """Return a row per training under WORK/models, finished or not; `step` is the last logged step."""
    rows = []
    for file in sorted((work / "models").glob("*/spec.json")):
        spec = read_model_spec(file.parent)
        rows.append(
            {
                "key": file.parent.name,
                "method": spec["method"]["name"],
                "dataset": spec["dataset"],
                "encoder": spec["encoder"],
                "initial_weights": spec["initial_weights"]["name"],
                "step": last_step(file.with_name(LOSSES)),
                "steps": spec["recipe"]["steps"],
                "seed": spec["seed"],
                "training_scans": len(spec["training_scans"]),
            }
        )
    return rows


def list_cells(work: Path) -> list[Row]:
    """Return a row per record under WORK/records: key, configuration and mean Dice in [0,1]."""
    from results.records.files import parse_record, record_files, record_texts

    folder = work / "records"
    if not folder.is_dir():
        return []
    return [
        _cell_row(path.stem, parse_record(text))
        for path in record_files(folder)
        for text in record_texts(path)
    ]


def list_methods(_work: Path) -> list[Row]:
    """Return a row per method that `--method` accepts by name; `origin` is the class."""
    names = known_methods()
    order = [*METHODS, *sorted(set(names) - set(METHODS))]
    return [{"name": name, "origin": names[name], "built_in": name in METHODS} for name in order]


def list_recipes(_work: Path) -> list[Row]:
    """Return a row per recipe that `--recipe` accepts, with the numbers that every method shares."""
    rows: list[Row] = [{"name": PUBLISHED, "title": "each method's own", "numbers": "fewshot methods NAME"}]
    for recipe in named_recipes().values():
        numbers = " ".join(f"{name}={value}" for name, value in recipe.recipe.items())
        rows.append({"name": recipe.name, "title": recipe.title, "numbers": numbers})
    return rows


def list_protocols(_work: Path) -> list[Row]:
    """Return a row per shipped protocol."""
    from protocols.rules.spec import known_protocols, load_protocol

    protocols = [load_protocol(name) for name in known_protocols()]
    return [
        {"name": one.name, "version": one.version, "hash": one.hash[:16], "summary": one.summary}
        for one in protocols
    ]


def list_datasets(work: Path) -> list[Row]:
    """Return a row per shipped dataset; `prepared`: whether WORK holds its store."""
    rows = []
    for name in known_datasets():
        spec = load_dataset_spec(name)
        rows.append(
            {
                "name": name,
                "title": spec.title,
                "modality": spec.modality,
                "tested": list(spec.tested),
                "folds": max(len(spec.fold_borders) - 1, 0),
                "prepared": (work / "stores" / name / "index.json").is_file(),
            }
        )
    return rows


LISTS: dict[str, Callable[[Path], list[Row]]] = {
    "stores": list_stores,
    "models": list_models,
    "cells": list_cells,
    "methods": list_methods,
    "recipes": list_recipes,
    "protocols": list_protocols,
    "datasets": list_datasets,
}


def _cell_row(name: str, record: Record) -> Row:
    dices = [score.dice for score in record.scores if score.dice is not None]
    return {
        "key": record.key or name,
        "configuration": configuration_id(record),
        "method": record.method.name,
        "dataset": record.dataset.name,
        "protocol": record.protocol.name,
        "setting": record.setting,
        "fold": record.fold,
        "group": record.group,
        "seed": record.model.seed,
        "model": record.model.key,
        "mean_dice": sum(dices) / len(dices) if dices else None,
    }
