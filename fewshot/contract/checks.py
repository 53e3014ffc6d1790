"""The learner contract as a list of checks for any method.

`check_method` builds the learner as the harness does, on a small encoder. It calls the learner on synthetic
slices and returns one result per check. Some checks need others: a batch is compared with single slices only
if equal inputs give equal predictions. A check whose needs failed does not run: one fault, one failure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from fewshot.base.errors import UserError
from fewshot.contract import inference as contract_inference
from fewshot.contract import training as contract_training
from fewshot.contract.device import check_device
from fewshot.contract.subject import ContractError, ContractWarning, Encoder, NotApplicableError, Subject
from fewshot.learners.learner import encoder_for

Status = Literal["ok", "warn", "FAIL", "n/a"]

# Errors in a learner's code that fail a check; any other exception ends the command with its traceback.
LEARNERS_ERRORS = (
    UserError, ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip


@dataclass(frozen=True)
class CheckResult:
    """Outcome of one check: name, status, and the reason in one line ("" if ok)."""

    name: str
    status: Status
    message: str


@dataclass(frozen=True)
class Check:
    """A check; `needs` names the checks that must pass first, else it would report their fault again."""

    name: str
    run: Callable[[Subject], None]
    needs: tuple[str, ...] = ()


SOUND = ("build", "shape", "dtype", "finite", "range")
SAME = (*SOUND, "repeatable prediction", "inputs")
TRAINED = ("build", "empty prediction")
CHECKS = (
    Check("build", contract_inference.build),
    Check("shape", contract_inference.shape, ("build",)),
    Check("dtype", contract_inference.dtype, ("build",)),
    Check("finite", contract_inference.finite, ("build",)),
    Check("range", contract_inference.in_range, ("build",)),
    Check("scores", contract_inference.scores, ("build", "shape", "finite")),
    Check("inputs", contract_inference.unchanged_inputs, ("build",)),
    Check("repeatable prediction", contract_inference.repeatable, ("build", "shape")),
    Check("stateless", contract_inference.stateless, SAME),
    Check("batch", contract_inference.batch, (*SAME, "stateless")),
    Check("support order", contract_inference.support_order, (*SAME, "stateless")),
    Check("one-pixel mask", contract_inference.odd_mask("one-pixel mask"), SOUND),
    Check("full mask", contract_inference.odd_mask("full mask"), SOUND),
    Check("no background", contract_inference.odd_mask("no background"), SOUND),
    Check("non-square", contract_inference.non_square, SOUND),
    Check("device", check_device, SOUND),
    Check("empty prediction", contract_training.empty_prediction, SOUND),
    Check("loss", contract_training.loss, TRAINED),
    Check("training", contract_training.training, (*TRAINED, "loss")),
    Check("repeatable training", contract_training.repeatable, (*TRAINED, "loss")),
    Check("save and load", contract_training.save_and_load, (*SAME, "stateless", "empty prediction", "loss")),
)


def check_method(method: type[Any], encoder: Encoder | None = None) -> list[CheckResult]:
    """Check a learner class against the contract, on the CPU with slices of 64 x 64 pixels.

    A method that trains takes 16 training steps. No file stays behind.

    Args:
        method: the learner class.
        encoder: builds the encoder from a seed; default: the method's own ResNet-18 with random weights.

    Returns:
        One result per check, in the order of `CHECKS`.
    """
    subject = Subject(method, encoder or partial(encoder_for, method, "resnet18"))
    results: dict[str, CheckResult] = {}
    for check in CHECKS:
        missing = [name for name in check.needs if results[name].status == "FAIL"]
        results[check.name] = (
            CheckResult(check.name, "n/a", f"not run while these fail: {', '.join(missing)}")
            if missing
            else _result(check, subject)
        )
    return list(results.values())


def _result(check: Check, subject: Subject) -> CheckResult:
    try:
        check.run(subject)
    except NotApplicableError as reason:
        return CheckResult(check.name, "n/a", str(reason))
    except ContractWarning as warning:
        return CheckResult(check.name, "warn", str(warning))
    except ContractError as finding:
        return CheckResult(check.name, "FAIL", str(finding))
    except LEARNERS_ERRORS as error:
        text = " ".join(str(error).split())
        given = " ".join((check.run.__doc__ or "").split())
        return CheckResult(
            check.name, "FAIL", f"{given} It raised {type(error).__name__}: {text}; allowed: no exception"
        )
    return CheckResult(check.name, "ok", "")
