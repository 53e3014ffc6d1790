"""Does a learner compute where its inputs are? Found out without a GPU, by tensors that only pretend.

Under torch's FakeTensorMode tensors carry a device, a shape and no values, and an operation that mixes
devices raises as it would on a GPU. Weights, buffers and question are put on such a device ("meta", for which
no driver is needed); a tensor that the learner makes on the CPU, or keeps as a plain attribute that `.to`
does not reach, then meets them and is found. A learner that reads values on the host can't be followed this
way, and the check says so. Where there is a GPU, the answer there is compared with the CPU's as well.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from fewshot.base.types import Episode, Support
from fewshot.contract.subject import ContractError, NotApplicableError, Subject, gap
from fewshot.contract.synthetic_inputs import Question, episode, question

ELSEWHERE = torch.device("meta")
GPU_TOLERANCE = 1e-2  # of a probability: convolutions of a GPU may round to 10 bits
_MIXED = re.compile(r"different devices|same device|two devices", re.IGNORECASE)
_ON_THE_HOST = re.compile(r"numpy|data.dependent|meta tensors|local_scalar", re.IGNORECASE)


def check_device(subject: Subject) -> None:
    """Given weights, support and query on a device that is not the CPU."""
    if torch.cuda.is_available():
        _on_the_gpu(subject)
    learner = subject.build()
    asked, example = question("device"), episode("device")
    prepared = learner.prepare(example.support_masks[0]) if hasattr(learner, "prepare") else {}
    example = dataclasses.replace(example, prepared={name: one[None] for name, one in prepared.items()})
    with FakeTensorMode(allow_non_fake_inputs=True):
        if isinstance(learner, nn.Module):
            _move(learner)
        try:
            _compute(subject, learner, asked, example)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise NotApplicableError(_unfollowed(error)) from None
        except (RuntimeError, TypeError, NotImplementedError) as error:
            if _MIXED.search(str(error)):
                raise ContractError(_mixed(error)) from None
            if _ON_THE_HOST.search(str(error)):
                raise NotApplicableError(_unfollowed(error)) from None
            raise


def _compute(subject: Subject, learner: Any, asked: Question, example: Episode) -> None:
    """Answer and, where it trains, take the loss elsewhere."""
    support, query = asked
    there = Support(_like(support.images), _like(support.masks))
    with torch.enable_grad() if subject.adapts else torch.no_grad():
        answer = learner.segment(there, _like(query))
    if answer.device.type != ELSEWHERE.type:
        raise ContractError(
            f"given weights, support and query on another device than the CPU; the answer came back on "
            f"{answer.device}; allowed: the query's device (make tensors with device=query.device)"
        )
    if subject.trains:
        learner.train()
        learner.loss(
            Episode(
                _like(example.support_images), _like(example.support_masks), _like(example.query_images),
                _like(example.query_masks),
                {name: _like(value) for name, value in example.prepared.items()},
            )
        )  # fmt: skip


def _move(learner: nn.Module) -> None:
    """Put every parameter and buffer elsewhere, as `.to(device)` would."""
    for module in learner.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(_like(parameter), parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = _like(buffer)


def _like(value: torch.Tensor) -> torch.Tensor:
    return torch.empty(tuple(value.shape), dtype=value.dtype, device=ELSEWHERE)


def _on_the_gpu(subject: Subject) -> None:
    support, query = question("device")
    learner = subject.build()
    if isinstance(learner, nn.Module):
        learner.to("cuda")
    there = Support(support.images.cuda(), support.masks.cuda())
    try:
        answer = subject.ask((there, query.cuda()), learner)
    except RuntimeError as error:
        if _MIXED.search(str(error)):
            raise ContractError(_mixed(error)) from None
        raise
    difference = gap(answer.cpu(), subject.ask((support, query)))
    if answer.device.type != "cuda" or difference > GPU_TOLERANCE:
        raise ContractError(
            f"given weights and question on the GPU; the answer came back on {answer.device}, up to "
            f"{difference:.2g} from the CPU's; allowed: on the GPU, within {GPU_TOLERANCE:g}"
        )


def _mixed(error: Exception) -> str:
    return (
        "given weights, support and query on another device than the CPU; a tensor of the learner stayed "
        f"behind ({_line(error)}); allowed: device=query.device, and register_buffer for what is kept"
    )


def _unfollowed(error: Exception) -> str:
    return f"reads values on the host, so devices can't be followed without a GPU ({_line(error)})"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
