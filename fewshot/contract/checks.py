"""The learner contract as a list of checks that any method can be held to.

`check_method` builds the learner as the harness does, on a small encoder, asks it synthetic questions and
returns one result a check. A check that stands on another (a batch is compared with single slices only where
equal questions get equal answers) is not run where that one failed: one fault, one failure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from fewshot.base.errors import UserError
from fewshot.contract import inference as contract_answers
from fewshot.contract import training as contract_training
from fewshot.contract.device import check_device
from fewshot.contract.subject import ContractError, Encoder, NotApplicableError, Subject
from fewshot.learners.learner import encoder_for

Status = Literal["ok", "FAIL", "n/a"]

# What a learner's code may raise; whatever else it raises is shown with its trace.
LEARNERS_ERRORS = (
    UserError, ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip


@dataclass(frozen=True)
class CheckResult:
    """One check: its name, what it came to, and why, in one line ("" where it is ok)."""

    name: str
    status: Status
    message: str


@dataclass(frozen=True)
class Check:
    """A check by name; `needs` names the checks without which it would report another's fault."""

    name: str
    run: Callable[[Subject], None]
    needs: tuple[str, ...] = ()


SOUND = ("build", "shape", "dtype", "finite", "range")
SAME = (*SOUND, "repeatable answer", "inputs")
TRAINED = ("build", "empty prediction")
CHECKS = (
    Check("build", contract_answers.build),
    Check("shape", contract_answers.shape, ("build",)),
    Check("dtype", contract_answers.dtype, ("build",)),
    Check("finite", contract_answers.finite, ("build",)),
    Check("range", contract_answers.in_range, ("build",)),
    Check("inputs", contract_answers.inputs, ("build",)),
    Check("repeatable answer", contract_answers.repeatable, ("build", "shape")),
    Check("stateless", contract_answers.stateless, SAME),
    Check("batch", contract_answers.batch, (*SAME, "stateless")),
    Check("support order", contract_answers.support_order, (*SAME, "stateless")),
    Check("one-pixel mask", contract_answers.odd_mask("one-pixel mask"), SOUND),
    Check("full mask", contract_answers.odd_mask("full mask"), SOUND),
    Check("no background", contract_answers.odd_mask("no background"), SOUND),
    Check("non-square", contract_answers.non_square, SOUND),
    Check("device", check_device, SOUND),
    Check("empty prediction", contract_training.empty_prediction, SOUND),
    Check("loss", contract_training.loss, TRAINED),
    Check("training", contract_training.training, (*TRAINED, "loss")),
    Check("repeatable training", contract_training.repeatable, (*TRAINED, "loss")),
    Check("save and load", contract_training.save_and_load, (*SAME, "stateless", "empty prediction", "loss")),
)


def check_method(method: type[Any], encoder: Encoder | None = None) -> list[CheckResult]:
    """Hold a learner class to the contract; return one result a check, in the order of `CHECKS`.

    `encoder` makes the encoder from a seed (default: the method's own, ResNet-18 with random weights).
    Everything runs on the CPU with slices of 64 x 64; a method that trains takes 16 training steps.
    Nothing is written.
    """
    subject = Subject(method, encoder or partial(encoder_for, method, "resnet18"))
    results: dict[str, CheckResult] = {}
    for check in CHECKS:
        missing = [name for name in check.needs if results[name].status == "FAIL"]
        results[check.name] = (
            CheckResult(check.name, "n/a", f"not looked at while these fail: {', '.join(missing)}")
            if missing
            else _result(check, subject)
        )
    return list(results.values())


def _result(check: Check, subject: Subject) -> CheckResult:
    try:
        check.run(subject)
    except NotApplicableError as reason:
        return CheckResult(check.name, "n/a", str(reason))
    except ContractError as finding:
        return CheckResult(check.name, "FAIL", str(finding))
    except LEARNERS_ERRORS as error:
        text = " ".join(str(error).split())
        asked = " ".join((check.run.__doc__ or "").split())
        return CheckResult(
            check.name, "FAIL", f"{asked} It raised {type(error).__name__}: {text}; allowed: an answer"
        )
    return CheckResult(check.name, "ok", "")
