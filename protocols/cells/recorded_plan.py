"""The plan of a record, rebuilt from its store and protocol."""

from __future__ import annotations

from episodes.plan.plan import EvaluationPlan, make_plan
from episodes.store.store import Store
from fewshot.base.errors import UserError
from protocols.rules.spec import load_protocol
from results.records.record import Record


def recorded_plan(record: Record, store: Store) -> EvaluationPlan:
    """Return the evaluation plan of a record.

    Raises:
        UserError: the present store or protocol gives a plan with another hash.
    """
    protocol = load_protocol(record.protocol.name).with_shots_and_parts(record.shots, record.parts)
    classes = protocol.groups_for(store.spec)[record.group]
    plan = make_plan(
        store.index, store.spec, store.hash, protocol.evaluation, record.setting, record.fold,
        record.group, classes,
    ).evaluation  # fmt: skip
    if plan.hash != record.plan_hash:
        raise UserError(
            f"the record's plan is {record.plan_hash}, store and protocol here give {plan.hash}; "
            "prepare the dataset as it was, or run the cell again"
        )
    return plan
