"""Reproduction: a record's cell run again from what the record holds, in another work folder.

The record gives dataset, protocol, method, options, recipe, seed, checkpoint policy and number of threads.
Files stay with the user: the store is found by its hash, a file of weights and a user's method by its name on
the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.encoders.checkpoints import NAMED
from fewshot.encoders.foundation import base_name, is_foundation
from fewshot.learners.method_identity import method_name
from fewshot.learners.recipe import Recipe
from fewshot.learners.registry import known_methods, resolve_method
from protocols.request import Request, default_batch
from protocols.rules.spec import load_protocol
from protocols.runs.runner import run
from protocols.training.method import MethodConfig
from results.records.files import read_record
from results.records.record import HYBRID, Record
from results.records.record_parts import DatasetPart


@dataclass(frozen=True)
class Typed:
    """What a user types beside the record.

    Attributes:
        method: the file and class of a user's own method.
        weights: the file, or pattern of files, of the initial weights.
        files: option -> path, for options that name files.
        protocol: a protocol's file; None: the shipped one of the record's name.
    """

    method: str | None = None
    weights: str | None = None
    files: dict[str, str] | None = None
    protocol: str | None = None


def remake(
    record: Record,
    typed: Typed,
    work: Path,
    out: Path,
    device: torch.device,
    open_store: Callable[[str], Store],
) -> Record:
    """Run a record's cell again and return the new record.

    Args:
        record: says what to run.
        typed: files that a record names by their content alone.
        work: holds the stores, and `weights` with the files of named weights.
        out: the work folder of the second run.
        device: where it computes.
        open_store: returns the store of a dataset's name, for a dataset without a store of the record's hash.

    Raises:
        UserError: the record's masks or weights come from elsewhere, or a file or store is missing.
    """
    check_remakable(record)
    method = remade_method(record, typed)
    protocol = load_protocol(typed.protocol or record.protocol.name)
    model, home = record.model, record.train_dataset
    request = Request(
        store=find_store(work, record.dataset, open_store),
        protocol=protocol.with_shots_and_parts(record.shots, record.parts),
        setting=record.setting,
        folds=(record.fold,),
        groups=(record.group,),
        work=out,
        device=device,
        batch=default_batch(device),
        overwrite=True,  # a second run reads no record of a first one
        train_store=None if home is None else find_store(work, home, open_store),
        eval_precision=model.answer_precision or "float32",
        checkpoint_policy="last" if model.checkpoint == "none" else model.checkpoint,
    )
    _link_weights(work, out)
    with use_threads(threads_of(record)):
        (path,) = run(request, method)
    return read_record(path)


def check_remakable(record: Record) -> None:
    """Raise `UserError` for a record that `fewshot run` did not make."""
    remedy = None
    if record.method.regime == "external":
        remedy = "another program made its masks; score them again with fewshot score"
    elif record.model.checkpoint == "external":
        remedy = "its weights are a checkpoint file; evaluate it again with fewshot evaluate --checkpoint"
    elif any(mark.startswith(HYBRID) for mark in record.audits):
        remedy = "it is a hybrid; evaluate its model again with fewshot evaluate --allow-mismatch"
    if remedy is not None:
        raise UserError(f"record of {record.method.name} cannot be made from its own content: {remedy}")


def find_store(work: Path, part: DatasetPart, open_store: Callable[[str], Store]) -> Store:
    """Return the store under WORK/stores with a dataset's hash, whatever its name; else that of its name."""
    folders = sorted(path.parent for path in (work / "stores").glob("*/index.json"))
    for folder in sorted(folders, key=lambda folder: folder.name != part.name):
        store = Store.open(folder)
        if store.hash == part.hash:
            return store
    return open_store(part.name)


def remade_method(record: Record, typed: Typed) -> MethodConfig:
    """Return the method as a record configures it; `UserError` if it needs a file that the user must name."""
    part, model = record.method, record.model
    name = part.name
    if name not in known_methods():
        if typed.method is None:
            raise UserError(
                f"record of the user's method {name}: its code runs only by name; add --method FILE.py:CLASS"
            )
        name = typed.method
    elif typed.method is not None:
        raise UserError(f"record of {name}, which needs no --method; leave it out")
    learner = resolve_method(name)
    if method_name(name, learner) != part.name:
        raise UserError(f"--method {name}: the record is of {part.name}; give its file and class")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in part.options.items()}
    try:
        options = learner.Options(**values | _option_files(record, typed))
    except TypeError as error:
        raise UserError(
            f"record of {part.name} version {part.version} has options that version "
            f"{getattr(learner, 'version', None)} lacks ({error}); use the program that made it"
        ) from None
    if model.encoder is None:
        return MethodConfig(name, learner, options, None, model.seed)
    recipe = _recipe(record, typed)
    return MethodConfig(
        name, learner, options, recipe, model.seed, model.precision or "float32", bool(model.compiled)
    )


def _option_files(record: Record, typed: Typed) -> dict[str, Any]:
    """Return option -> path of the options that name files; the record's own path if the user gives none."""
    given = typed.files or {}
    unknown = sorted(given.keys() - record.method.files.keys())
    if unknown:
        known = ", ".join(sorted(record.method.files)) or "no option"
        raise UserError(
            f"--option {unknown[0]}: the record fixes it; {known} may name another place of a file"
        )
    missing = [
        name
        for name in record.method.files
        if name not in given and not Path(str(record.method.options[name])).exists()
    ]
    if missing:
        raise UserError(
            f"record of {record.method.name}: no file {record.method.options[missing[0]]!r} here; give its "
            f"place with --option {missing[0]}=PATH"
        )
    return dict(given)


def _recipe(record: Record, typed: Typed) -> Recipe:
    model = record.model
    if model.recipe is None or model.initial_weights is None or model.encoder is None:
        raise UserError(
            f"record of {record.method.name} lacks the recipe or the initial weights, expected both of a "
            "trained model; run the cell again"
        )
    weights = model.initial_weights.name
    backbones = {stage.name for stage in model.stages or () if stage.images is not None}
    named = weights in NAMED or weights in backbones
    if named or (is_foundation(model.encoder) and weights == base_name(model.encoder)):
        if typed.weights is not None:
            raise UserError(
                f"record with {weights} weights, which are no file of the user's; leave --weights out"
            )
    elif typed.weights is None:
        raise UserError(f"record whose training began from the file {weights!r}; give it with --weights FILE")
    else:
        weights = typed.weights
    return Recipe(**model.recipe, encoder=model.encoder, weights=weights)


def threads_of(record: Record) -> int | None:
    """Return the threads of torch that the training used, else the evaluation; None if not recorded."""
    trained = {machine.threads for machine in record.model.trained_on}
    return trained.pop() if len(trained) == 1 else record.environment.threads


@contextmanager
def use_threads(threads: int | None) -> Iterator[None]:
    """Let torch use this number of threads inside the block; None leaves it."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _link_weights(work: Path, out: Path) -> None:
    """Let the second run read the weights files of the work folder."""
    weights, link = work / "weights", out / "weights"
    if weights.is_dir() and not link.exists():
        out.mkdir(parents=True, exist_ok=True)
        link.symlink_to(weights.resolve(), target_is_directory=True)


def cell_text(record: Record) -> str:
    """Return what a record is of, in words."""
    parts = f"{record.protocol.name}, setting {record.setting}, fold {record.fold}, group {record.group}"
    seed = f", seed {record.model.seed}" if record.model.encoder is not None else ""
    return f"{record.method.name} on {record.dataset.name}, {parts}{seed}"
