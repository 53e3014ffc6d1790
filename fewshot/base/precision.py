"""Named precisions of a network's forward pass; weights, feature comparison and losses stay float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fewshot.base.errors import unknown_name

PRECISIONS = ("float32", "bf16")
# a constant, because torch 2.11 cannot compile a step that calls `is_autocast_available`
AUTOCAST = frozenset(kind for kind in ("cpu", "cuda", "mps", "xpu") if torch.amp.is_autocast_available(kind))


def check_precision(name: str) -> str:
    """Return `name` if it is a known precision, else raise `UserError` with similar names."""
    if name not in PRECISIONS:
        raise unknown_name("precision", name, PRECISIONS)
    return name


def autocast_to(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return a context that runs its block in `precision` on `device`: bf16 uses autocast.

    On a CPU without instructions for bf16, torch computes a convolution in bf16 many times slower than in
    float32. There the inputs are rounded to bf16, the products and sums are those of float32, and the result
    is rounded to bf16, as the instructions do.
    """
    if precision == "float32":
        return nullcontext()
    if device.type == "cpu" and not has_bf16_instructions():
        return _round_to_bf16()
    return torch.autocast(device.type, torch.bfloat16)


def in_float32(device: torch.device) -> AbstractContextManager[object]:
    """Return a context that turns autocast off in its block, on a device that supports autocast."""
    return torch.autocast(device.type, enabled=False) if device.type in AUTOCAST else nullcontext()


@cache
def has_bf16_instructions() -> bool:
    """Return whether torch has fast kernels for bf16 on this CPU (AVX-512 or AMX)."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@contextmanager
def _round_to_bf16() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16), _RoundedProducts():
        yield


class _RoundedProducts(TorchFunctionMode):
    """Compute the products that autocast computes in bf16 in float32, from and to numbers rounded to bf16."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _PRODUCTS or not torch.is_autocast_enabled("cpu"):
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            found = func(*map(_rounded, args), **{name: _rounded(value) for name, value in kwargs.items()})
        return found.to(torch.bfloat16) if found.dtype == torch.float32 else found


def _rounded(value: Any) -> Any:
    """Return a tensor of floats as float32 with the digits of bf16, anything else (float64 too) as it is."""
    if isinstance(value, Tensor) and value.dtype in (torch.float32, torch.bfloat16, torch.float16):
        return value.to(torch.bfloat16).to(torch.float32)
    return value


_PRODUCTS = frozenset(
    (
        torch.conv1d,
        torch.conv2d,
        torch.conv3d,
        torch.conv_transpose2d,
        torch.nn.functional.linear,
        torch.matmul,
        Tensor.matmul,
        Tensor.__matmul__,
        torch.mm,
        torch.bmm,
        torch.baddbmm,
        torch.addmm,
    )
)
