"""Audit of the images on which a model's backbone was pre-trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fewshot.encoders.backbone_file import from_json, image_hash
from fewshot.files.seals import read_sealed
from protocols.cells.evaluate_cells import EvaluationCell
from protocols.rules.audits import BACKBONE, audit_backbone
from protocols.training.models import PRETRAINING
from protocols.training.spec_file import REMEDY

DROPPED = "pre-training saw (without labels) slices that setting 2 drops"


def with_backbone_audit(cell: EvaluationCell, folder: Path | None) -> EvaluationCell:
    """Return the cell with the mark and the check of the backbone's pre-training; `folder`: of the model.

    A cell whose model has no known pre-training stays as it is. Raises `AuditError` if the pre-training saw a
    query slice.
    """
    if folder is None or not (folder / PRETRAINING).is_file():
        return cell
    about = from_json(read_sealed(folder / PRETRAINING, REMEDY), folder / PRETRAINING)
    request, plan = cell.request, cell.plan
    audit_backbone(plan.evaluation, request.store, about)
    seen = frozenset(about.images)
    home = request.train_store or request.store
    dropped = sum(image_hash(home.scan(ref.scan).image[ref.z]) in seen for ref in plan.training.excluded)
    # equal in every cell: a mark with the count would split a table into one table per count
    marks = (*cell.marks, DROPPED) if dropped else cell.marks
    return dataclasses.replace(cell, marks=marks, checks=(*cell.checks, BACKBONE), excluded_seen=dropped)
