"""Evaluation of a learner object from Python: `fewshot.evaluate`, `fewshot.headline`. It writes no file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from episodes.plan.plan import CellPlan, EvaluationPlan
from episodes.store.dataset import known_datasets
from episodes.store.slices import SliceReader, normalisation
from episodes.store.store import Store
from fewshot.base.errors import UserError, unknown_name
from fewshot.base.progress import progress
from fewshot.base.types import ScanScore
from fewshot.files.names import is_name, path_in
from fewshot.learners.learner import Learner
from protocols.cells.evaluate import evaluate as evaluate_plans
from protocols.cells.spot_check import spot_check
from protocols.request import Request, default_batch
from protocols.rules.audits import audit_evaluation
from protocols.rules.spec import load_protocol
from protocols.runs.runner import plan_cells
from results.summary.frame import SCORE, Means, Spread, scan_means, score_frame, spread_of_folds

CELL = ("dataset", "protocol", "setting", "fold", "group")
COLUMNS = (*CELL, *SCORE)
SCORE_KEY = ("fold", "group", "class", "scan", "supports")  # a frame has one row for each
SHARED = ("dataset", "protocol", "setting", "configuration", "seed")  # one value in a frame, where present


def evaluate(
    learner: Learner,
    dataset: str | Path,
    protocol: str | Path = "alpnet-ep1",
    setting: int = 1,
    folds: Sequence[int] | None = None,
    groups: Sequence[str] | None = None,
    work: str | Path = "work",
    device: str | torch.device = "auto",
    batch: int = 0,
) -> pd.DataFrame:
    """Evaluate a learner on a prepared dataset and return one row per score; no training, no file.

    The audits of folds, supports and scans and the spot check of single slices run as in `fewshot run`. The
    training of the learner is unknown, so no audit covers it: keep the scans of a fold out of it yourself.

    Args:
        learner: an object with `segment(support, query)`, or a `PrototypeLearner` with its weights. An
            `nn.Module` must be in evaluation mode.
        dataset: a name under WORK/stores, or the folder of a prepared dataset.
        protocol: a name of `fewshot protocols`, or a `.toml` file.
        setting: 1 or 2.
        folds: numbers of the folds, from 0; None: all.
        groups: names of the class groups; None: all.
        work: the folder that holds `stores`.
        device: "auto", "cpu", "cuda" or "cuda:N". "auto" is the device of the learner's weights; for a
            learner without weights it is the GPU if there is one.
        batch: most slices in one call of the encoder; 0: 64 on a GPU, 2 on a CPU. It changes no score.

    Returns:
        Columns dataset, protocol, setting, fold, group, class, scan, supports (scans joined by commas),
        slices, tp, fp, fn (pixels), dice (in [0, 1]) and undefined. An undefined Dice is NaN with its reason
        in `undefined`, which else is None. Rows follow folds, groups, classes and scans.

    Raises:
        UserError: an unknown name, fold or device, a learner that does not fit, a failed audit, or a score
            that is NaN or infinite.
    """
    _check_learner(learner)
    if setting not in (1, 2):
        raise UserError(f"setting={setting!r}: expected 1 or 2")
    if batch < 0:
        raise UserError(f"batch={batch}: expected 1 or more, or 0 to choose by device")
    target = _choose_device(learner, device)
    rules, store = load_protocol(protocol), _open_store(dataset, Path(work))
    request = Request(
        store=store,
        protocol=rules,
        setting=setting,
        folds=_choose_folds(folds, len(rules.fold_borders_for(store.spec)) - 1),
        groups=_choose_groups(groups, tuple(rules.groups_for(store.spec))),
        work=Path(work),
        device=target,
        batch=batch or default_batch(target),
    )
    cells = plan_cells(request)
    for plan in chain.from_iterable(cells.values()):
        audit_evaluation(plan.evaluation, store, rules)
    with torch.cuda.device(target) if target.type == "cuda" else contextlib.nullcontext():
        scores = [pair for plans in cells.values() for pair in _evaluate_fold(learner, request, plans)]
    return _frame(request, scores)


def headline(frame: pd.DataFrame) -> Spread | None:
    """Return the mean Dice over the folds of a frame, and its standard deviation (n-1).

    The Dice of a fold is the mean over its classes of the mean over scans. Undefined scores are left out.

    Args:
        frame: the frame of `evaluate`, or of several calls for different folds or groups, concatenated.

    Returns:
        `mean` and `std` in [0, 1]; `std` is None for a single fold. None if no Dice is defined.

    Raises:
        UserError: a column is missing, the frame mixes evaluations, a score is there twice, or the folds have
            different classes.
    """
    missing = [name for name in (*SCORE_KEY, "dice") if name not in frame.columns]
    if missing:
        raise UserError(f"frame has no column {', '.join(missing)}; give the frame of fewshot.evaluate")
    for name in SHARED:
        values = frame[name].unique().tolist() if name in frame.columns else []
        if len(values) > 1:
            raise UserError(f"frame has {name} {_text(values)}, expected one; select one of them first")
    repeated = frame[frame.duplicated(list(SCORE_KEY))]
    if len(repeated):
        fold, _group, class_name, scan = repeated.iloc[0][list(SCORE_KEY[:4])].tolist()
        raise UserError(
            f"frame has class {class_name}, scan {scan}, fold {fold} twice; give the scores of one learner"
        )
    classes = {
        fold: set(zip(of_fold["group"], of_fold["class"], strict=True)) for fold, of_fold in _folds(frame)
    }
    every = set[tuple[str, str]]().union(*classes.values())
    for fold, present in classes.items():
        if present != every:
            absent = [f"{group} {name}" for group, name in sorted(every - present)]
            raise UserError(
                f"fold {fold} lacks {', '.join(absent)}, which other folds have; evaluate it, or leave it out"
            )
    return spread_of_folds(Means(scan_means(frame)).of_all(sorted(classes)))


def _evaluate_fold(
    learner: Learner, request: Request, plans: Sequence[CellPlan]
) -> list[tuple[EvaluationPlan, ScanScore]]:
    """Return every score of a fold with its plan; the learner encodes each slice once for all groups."""
    store, evaluated = request.store, [plan.evaluation for plan in plans]
    rule = request.protocol.training.normalisation[store.spec.modality]
    reader = SliceReader(store, normalisation(store, rule, plans[0].training.scans))
    spot_check(learner, evaluated[0], reader, device=request.device, batch=request.batch)
    scans = {scan for plan in evaluated for scan in plan.query_scans}
    with progress(len(scans), f"fold {evaluated[0].fold} evaluation", unit="scan") as bar:
        evaluations = evaluate_plans(
            learner, evaluated, reader, device=request.device, batch=request.batch, on_progress=bar.update
        )
    pairs = zip(evaluated, evaluations, strict=True)
    return [(plan, score) for plan, evaluation in pairs for score in evaluation.scores]


def _frame(request: Request, scores: Sequence[tuple[EvaluationPlan, ScanScore]]) -> pd.DataFrame:
    """Return the scores as a frame with the columns `COLUMNS`."""
    frame = score_frame([score for _plan, score in scores])
    facts = {
        "dataset": request.store.spec.name,
        "protocol": request.protocol.name,
        "setting": request.setting,
    }
    texts = {name: pd.Series([value] * len(frame), dtype=object) for name, value in facts.items()}
    texts["fold"] = pd.Series([plan.fold for plan, _score in scores], dtype=object)
    texts["group"] = pd.Series([plan.group for plan, _score in scores], dtype=object)
    cells = pd.DataFrame(texts).astype({"setting": "int64", "fold": "int64"})
    return pd.concat([cells, frame], axis=1)[list(COLUMNS)]


def _check_learner(learner: object) -> None:
    """Raise `UserError` for a class, an object without `segment`, or a module in training mode."""
    name = learner.__name__ if isinstance(learner, type) else type(learner).__name__
    if isinstance(learner, type):
        raise UserError(f"learner is the class {name}, expected an object; give {name}(...)")
    if not callable(getattr(learner, "segment", None)):
        raise UserError(
            f"learner is of type {name} without a method segment, expected one with segment(support, query)"
        )
    if isinstance(learner, nn.Module) and learner.training:
        raise UserError(f"the learner {name} is in training mode; call learner.eval() first")


def _choose_device(learner: object, device: str | torch.device) -> torch.device:
    """Return the device: "auto" is that of the weights; another than theirs raises `UserError`."""
    tensors = chain(learner.parameters(), learner.buffers()) if isinstance(learner, nn.Module) else iter(())
    home = next((tensor.device for tensor in tensors), None)
    if device == "auto":
        return home or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except RuntimeError:
        raise UserError(f"device={device!r}: expected auto, cpu, cuda or cuda:N") from None
    if target.type == "cuda" and (target.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device={device!r}: torch finds {torch.cuda.device_count()} GPUs; use another device"
        )
    if home is not None and (home.type != target.type or target.index not in (None, home.index)):
        raise UserError(
            f"the learner is on {home}, device={device!r}; call learner.to({str(target)!r}) first"
        )
    return target if home is None else home


def _open_store(dataset: str | Path, work: Path) -> Store:
    """Open a dataset by its name under WORK/stores or by its folder; `UserError` with the near names."""
    name = str(dataset)
    if is_name(name) and (work / "stores" / name).is_dir():
        return Store.open(path_in(work / "stores", "dataset", name))
    if (Path(dataset) / "index.json").is_file() or len(Path(dataset).parts) > 1:
        return Store.open(Path(dataset))
    known = {path.parent.name for path in (work / "stores").glob("*/index.json")} | set(known_datasets())
    if name not in known:
        raise unknown_name(f"dataset in {work / 'stores'}", name, known)
    raise UserError(
        f"dataset {name!r} is not prepared in {work}; run: fewshot prepare {name} FOLDER "
        "(a phantom needs no FOLDER)"
    )


def _choose_folds(folds: Sequence[int] | None, count: int) -> tuple[int, ...]:
    chosen = tuple(range(count)) if folds is None else tuple(dict.fromkeys(folds))
    if not chosen or not set(chosen) <= set(range(count)):
        raise UserError(f"folds={folds!r}: expected numbers from 0 to {count - 1}, or None for all")
    return chosen


def _choose_groups(groups: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    """Return the groups; `plan_cells` refuses an unknown one."""
    if isinstance(groups, str) or (groups is not None and not groups):
        raise UserError(f"groups={groups!r}: expected names such as ({known[0]!r},), or None for all")
    return tuple(known) if groups is None else tuple(dict.fromkeys(groups))


def _folds(frame: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
    for fold in frame["fold"].unique().tolist():
        yield fold, frame[frame["fold"] == fold]


def _text(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
