"""What the record of a cell says of the images that its model's backbone was pre-trained on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from fewshot.encoders.backbone_file import from_json, image_hash
from protocols.cells.evaluate_cells import EvaluationCell
from protocols.rules.audits import BACKBONE, audit_backbone
from protocols.training.models import PRETRAINING

DROPPED = "pre-training saw (without labels) slices that setting 2 drops"


def with_backbone_audit(cell: EvaluationCell, folder: Path | None) -> EvaluationCell:
    """Return the cell with what its record must say of the backbone that the model in `folder` began with.

    A model without a known pre-training leaves it as it is. Raises `AuditError` as `audit_backbone` does.
    """
    if folder is None or not (folder / PRETRAINING).is_file():
        return cell
    about = from_json(json.loads((folder / PRETRAINING).read_text()), folder / PRETRAINING)
    request, plan = cell.request, cell.plan
    audit_backbone(plan, request.store, about)
    seen = frozenset(about.images)
    home = request.train_store or request.store
    dropped = sum(image_hash(home.scan(ref.scan).image[ref.z]) in seen for ref in plan.excluded)
    # the mark is the same for every cell, lest a table fall into as many as there are counts
    marks = (*cell.marks, DROPPED) if dropped else cell.marks
    return dataclasses.replace(cell, marks=marks, checks=(*cell.checks, BACKBONE), excluded_seen=dropped)
