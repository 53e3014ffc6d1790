"""Check that a learner computes on the device of its inputs; fake tensors make this work without a GPU.

Under torch's FakeTensorMode a tensor has a device and a shape but no values, and an operation on mixed
devices raises as on a GPU. The check puts weights, buffers and inputs on the device "meta", which needs no
driver. It so finds a tensor that the learner makes on the CPU, or keeps as a plain attribute that `.to` does
not move. It cannot follow a learner that reads values on the host, and reports that. If a GPU exists, the
check also compares the GPU's prediction with the CPU's.
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
from fewshot.contract.synthetic_inputs import Inputs, episode, segment_inputs

ELSEWHERE = torch.device("meta")
GPU_TOLERANCE = 1e-2  # of a probability: convolutions of a GPU may round to 10 bits
_MIXED = re.compile(r"different devices|same device|two devices", re.IGNORECASE)
_ON_THE_HOST = re.compile(r"numpy|data.dependent|meta tensors|local_scalar", re.IGNORECASE)


def check_device(subject: Subject) -> None:
    """Given weights, support and query on a device that is not the CPU."""
    if torch.cuda.is_available():
        _on_the_gpu(subject)
    learner = subject.build()
    inputs, example = segment_inputs("device"), episode("device")
    prepared = learner.prepare(example.support_masks[0]) if hasattr(learner, "prepare") else {}
    example = dataclasses.replace(example, prepared={name: one[None] for name, one in prepared.items()})
    with FakeTensorMode(allow_non_fake_inputs=True):
        if isinstance(learner, nn.Module):
            _move(learner)
        try:
            _compute(subject, learner, inputs, example)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise NotApplicableError(_unfollowed(error)) from None
        except (RuntimeError, TypeError, NotImplementedError) as error:
            if _MIXED.search(str(error)):
                raise ContractError(_mixed(error)) from None
            if _ON_THE_HOST.search(str(error)):
                raise NotApplicableError(_unfollowed(error)) from None
            raise


def _compute(subject: Subject, learner: Any, inputs: Inputs, example: Episode) -> None:
    """Call `segment` on the fake device and, for a learner that trains, `loss`."""
    support, query = inputs
    there = Support(_like(support.images), _like(support.masks))
    with torch.enable_grad() if subject.adapts else torch.no_grad():
        prediction = learner.segment(there, _like(query))
    if prediction.device.type != ELSEWHERE.type:
        raise ContractError(
            f"given weights, support and query on another device than the CPU; the prediction is on "
            f"{prediction.device}; allowed: the query's device (make tensors with device=query.device)"
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
    """Put every parameter and buffer on the fake device, as `.to(device)` does."""
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
    support, query = segment_inputs("device")
    learner = subject.build()
    if isinstance(learner, nn.Module):
        learner.to("cuda")
    there = Support(support.images.cuda(), support.masks.cuda())
    try:
        prediction = subject.segment((there, query.cuda()), learner)
    except RuntimeError as error:
        if _MIXED.search(str(error)):
            raise ContractError(_mixed(error)) from None
        raise
    difference = gap(prediction.cpu(), subject.segment((support, query)))
    if prediction.device.type != "cuda" or difference > GPU_TOLERANCE:
        raise ContractError(
            f"given weights and inputs on the GPU; the prediction is on {prediction.device}, up to "
            f"{difference:.2g} from the CPU's; allowed: on the GPU, within {GPU_TOLERANCE:g}"
        )


def _mixed(error: Exception) -> str:
    return (
        "given weights, support and query on another device than the CPU; a tensor of the learner stayed "
        f"behind ({_line(error)}); allowed: device=query.device, and register_buffer for kept tensors"
    )


def _unfollowed(error: Exception) -> str:
    return f"reads values on the host, so devices can't be followed without a GPU ({_line(error)})"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
