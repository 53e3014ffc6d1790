"""bf16 on a CPU without instructions for it: the same numbers, types and gradients as torch's own bf16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fewshot.base import precision
from fewshot.base.precision import autocast_to, in_float32

CPU = torch.device("cpu")
STEP = 2**-8  # relative, of bf16


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "conv2d": lambda image, weight: functional.conv2d(image[None, :3], weight[:6, :27].reshape(6, 3, 3, 3)),
    "a strided conv2d": lambda image, weight: functional.conv2d(
        image[None], weight[:6, :8, None, None], weight[0, :6], stride=2
    ),
    "conv_transpose2d": lambda image, weight: functional.conv_transpose2d(
        image[None], weight[:8, :24].reshape(8, 6, 2, 2)
    ),
    "linear": lambda image, weight: functional.linear(image[0, :, :32], weight[:, :32], bias=weight[:, 0]),
    "@": lambda image, weight: image[0, :, :32] @ weight[:32],
    "bmm": lambda image, weight: torch.bmm(image, image.transpose(1, 2)) * weight[0, 0],
}


@pytest.fixture
def without_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16_instructions", lambda: False)


def product_and_gradients(product: Callable[[Tensor, Tensor], Tensor], context: Any) -> list[Tensor]:
    image, weight = numbers(8, 32, 32).requires_grad_(), numbers(32, 32, seed=1).requires_grad_()
    with context:
        found = product(image, weight)
    found.float().square().mean().backward()  # type: ignore[no-untyped-call]
    assert found.dtype == torch.bfloat16
    assert image.grad is not None and weight.grad is not None
    return [found.detach().float(), image.grad, weight.grad]


@pytest.mark.usefixtures("without_instructions")
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_and_gradients_are_those_of_torchs_bf16(name: str) -> None:
    ours = product_and_gradients(PRODUCTS[name], autocast_to("bf16", CPU))
    theirs = product_and_gradients(PRODUCTS[name], torch.autocast("cpu", torch.bfloat16))
    in_full = product_and_gradients(
        lambda image, weight: PRODUCTS[name](image, weight).to(torch.bfloat16), autocast_to("float32", CPU)
    )
    for found, expected, full in zip(ours, theirs, in_full, strict=True):
        scale = float(expected.abs().max())
        assert float((found - expected).abs().max()) <= 2 * STEP * scale
        assert not torch.equal(found, full), "nothing was rounded"


@pytest.mark.usefixtures("without_instructions")
def test_what_stays_in_float32_is_not_rounded() -> None:
    image = numbers(8, 8)
    with autocast_to("bf16", CPU):
        assert (image @ image).dtype == torch.bfloat16
        with in_float32(CPU):
            inner = image @ image
        assert (image.double() @ image.double()).dtype == torch.float64
        assert torch.softmax(image, -1).dtype == torch.float32
    torch.testing.assert_close(inner, image @ image, rtol=0, atol=0)
    assert (image @ image).dtype == torch.float32


def test_a_cpu_with_instructions_uses_torchs_own_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16_instructions", lambda: True)
    assert isinstance(autocast_to("bf16", CPU), torch.autocast)
