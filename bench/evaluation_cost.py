"""What evaluation costs: a CHAOS fold of both groups, another protocol beside it, every support in turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measuring import Row, Sizes, best, row

from episodes.store.slices import normalisation
from episodes.store.store import Store
from protocols.cells.evaluate_cells import EvaluationCell, evaluate_cells
from protocols.request import Request
from protocols.rules.audits import audit_evaluation
from protocols.rules.spec import load_protocol
from protocols.runs.runner import plan_cells
from protocols.training.method_config import build_method_config
from protocols.training.models import Model, build_learner


class Fold:
    """Fold 0 of a store, evaluated with an untrained SSL-ALPNet: from the opened store to records."""

    def __init__(self, store: Store, work: Path, sizes: Sizes, device: str = "cpu", batch: int = 2) -> None:
        self._store, self._work, self._batch = store, work, batch
        self.device = torch.device(device)
        self.method = build_method_config("ssl-alpnet", {}, encoder=sizes.encoder, weights="random", steps=0)
        description = {
            "key": f"external-{0:016x}", "encoder": sizes.encoder, "initial_weights": None, "steps": 0,
            "seed": 0, "checkpoint": "last", "skipped_episodes": 0,
        }  # fmt: skip
        self.learner = build_learner(self.method).to(self.device).eval()
        self.model = Model(self.learner, description, None)

    def cells(self, *protocols: str, precision: str = "float32") -> list[EvaluationCell]:
        """Return the cells of every group under these protocols, audited as `fewshot run` does."""
        return [
            EvaluationCell(
                request, plan, (), audit_evaluation(plan.evaluation, self._store, request.protocol)
            )
            for request in (self._request(name, precision) for name in protocols)
            for plan in plan_cells(request)[0]
        ]

    def evaluate(self, *protocols: str, precision: str = "float32") -> list[Path]:
        """Plan, evaluate and write the records; return their paths."""
        cells = self.cells(*protocols, precision=precision)
        scans = cells[0].plan.training.scans
        intensities = normalisation(self._store, "per-scan", scans)
        return evaluate_cells(cells, self.method, self.model, intensities)

    def counts(self, *protocols: str) -> tuple[int, int, int]:
        """Return slices of the query volumes, distinct slices encoded, and scored masks."""
        plans = [cell.plan.evaluation for cell in self.cells(*protocols)]
        tasks = [task for plan in plans for task in plan.tasks]
        pairs = [
            (task, ref)
            for task in tasks
            for ref, scored in zip(task.queries, task.scored, strict=True)
            if scored
        ]
        distinct = {ref for task in tasks for ref in task.support} | {ref for _task, ref in pairs}
        depths = self._store.index.depths
        return sum(depths[scan] for scan in plans[0].query_scans), len(distinct), len(pairs)

    def _request(self, protocol: str, precision: str) -> Request:
        loaded = load_protocol(protocol)
        return Request(
            self._store, loaded, 1, (0,), tuple(loaded.groups_for(self._store.spec)), self._work, self.device,
            self._batch, overwrite=True, eval_precision=precision,
        )  # fmt: skip


def evaluation_rows(fold: Fold, unit: Callable[[], Any], sizes: Sizes) -> list[Row]:
    """Return the costs of evaluation in U; `unit` is one U."""
    volumes, distinct, _ = fold.counts("alpnet-ep1")
    assert fold.counts("alpnet-ep1", "adnet-ep1")[1] == distinct, "the second protocol needs new slices"
    _, every, masks = fold.counts("open-ep")
    calls = {
        "unit": unit,
        "one": lambda: fold.evaluate("alpnet-ep1"),
        "bf16": lambda: fold.evaluate("alpnet-ep1", precision="bf16"),
        "two": lambda: fold.evaluate("alpnet-ep1", "adnet-ep1"),
        "open": lambda: fold.evaluate("open-ep"),
    }
    seconds = best(calls, sizes.rounds)
    one, bf16, two, every_support = (seconds[name] / seconds["unit"] for name in list(calls)[1:])
    allowed = every + 0.02 * masks
    whole = f"evaluation of a fold, per query slice ({volumes} slices, {distinct} encoded; U)"
    open_ep = f"open-ep, {every} slices and {masks} masks, of what is allowed (share)"
    return [
        row(whole, one / volumes, 0.8),
        row("the same, per encoded slice (U)", one / distinct),
        row("the same, evaluated in bf16, per encoded slice (U)", bf16 / distinct),
        row("another protocol over encoded slices adds (share)", two / one - 1, 0.10),
        row(open_ep, every_support / allowed, 1.0),
        row("open-ep, per mask beyond 1 U a slice (U)", (every_support - every) / masks),
    ]
