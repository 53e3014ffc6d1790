"""UniverSeg: the released vectors, the convolution that is shared, and what a weights file must be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.universeg import CrossBlock, UniverSeg, UniverSegNetwork, scale_to_unit, small_masks
from fewshot.base.errors import UserError
from fewshot.base.types import Support
from fewshot.files.atomic_io import sha256_of
from protocols.conformance.parts import universeg


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def question(shots: int = 2) -> tuple[Support, Tensor]:
    masks = noise(shots, 64, 96, seed=1) > 0.5
    return Support(noise(shots, 1, 64, 96), masks), noise(2, 1, 64, 96, seed=2)


def test_every_vector(golden: Path) -> None:
    found = list(universeg.check(golden / "universeg"))
    assert len(found) == 9 and all(quantity.ok for quantity in found), found


def test_a_cross_block_is_a_convolution_of_every_pair() -> None:
    torch.manual_seed(0)
    block, target, support = CrossBlock(3, 2), noise(2, 3, 8, 8), noise(2, 4, 2, 8, 8, seed=1)
    new_target, new_support = block(target, support)
    for q in range(2):
        pairs = torch.cat([target[q].expand(4, -1, -1, -1), support[q]], dim=1)
        mixed = block.cross["cross_conv"](pairs)
        wanted = F.leaky_relu(block.get_submodule("target.vmapped.conv")(mixed.mean(dim=0, keepdim=True)))
        assert torch.allclose(new_target[q], wanted[0], atol=1e-5)
        wanted = F.leaky_relu(block.get_submodule("support.vmapped.conv")(mixed))
        assert torch.allclose(new_support[q], wanted, atol=1e-5)


def test_inputs_are_scaled_and_resized() -> None:
    images = torch.cat([noise(1, 1, 64, 64), torch.full((1, 1, 64, 64), 3.0)])
    found = scale_to_unit(images)
    assert found.shape == (2, 1, 128, 128) and found[0].min() == 0 and found[0].max() == 1
    assert not bool(found[1].any())
    masks = torch.zeros(1, 256, 256, dtype=torch.bool)
    masks[0, 0, 0] = True
    assert small_masks(masks)[0, 0, 0, 0] == 0.25 and small_masks(masks).sum() == 0.25


def test_the_order_and_number_of_shots() -> None:
    learner, (support, query) = UniverSeg(), question(3)
    with torch.inference_mode():
        answer = learner.segment(support, query)
        turned = learner.segment(Support(support.images.flip(0), support.masks.flip(0)), query)
        twice = learner.segment(
            Support(support.images.repeat(2, 1, 1, 1), support.masks.repeat(2, 1, 1)), query
        )
    assert answer.shape == (2, 64, 96)
    assert torch.allclose(answer, turned, atol=1e-5) and torch.allclose(answer, twice, atol=1e-5)


def test_weights_are_the_users_own_file(tmp_path: Path) -> None:
    network, path = UniverSegNetwork(), tmp_path / "universeg_v1_nf64_ss64_STA.pt"
    torch.save(network.state_dict(), path)
    options = UniverSeg.Options(weights=str(path))
    assert options.weights_sha256 == sha256_of(path)
    loaded = UniverSeg(options).network.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in network.state_dict().items())
    with pytest.raises(UserError, match="expected 0000"):
        UniverSeg.Options(weights=str(path), weights_sha256="0000")
    with pytest.raises(UserError, match="no file"):
        UniverSeg.Options(weights=str(tmp_path / "absent.pt"))
    torch.save({"out_conv.conv.bias": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="does not fit"):
        UniverSeg(UniverSeg.Options(weights=str(path)))
