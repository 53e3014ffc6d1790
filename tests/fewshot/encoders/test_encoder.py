"""The encoder: shapes, names, dilation and seeds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fewshot.base.errors import UserError
from fewshot.encoders.encoder import TwoScaleEncoder, build_encoder


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # torchvision's published counts without the classifier, and localconv
        ("resnet18", 11_689_512 - 513_000 + 512 * 256),
        ("resnet50", 25_557_032 - 2_049_000 + 2048 * 256),
        ("resnet101", 44_549_160 - 2_049_000 + 2048 * 256),
    ],
)
def test_parameter_counts_are_torchvisions(name: str, parameters: int) -> None:
    assert sum(p.numel() for p in build_encoder(name).parameters()) == parameters


def test_stride_is_eight() -> None:
    encoder = build_encoder("resnet18").eval()
    with torch.no_grad():
        assert encoder(torch.zeros(2, 1, 64, 96)).shape == (2, 256, 8, 12)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_dilation_of_the_later_layers(name: str) -> None:
    backbone = build_encoder(name).backbone
    found = {
        layer: [
            {m.dilation[0] for m in block.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)}
            for block in getattr(backbone, layer)
        ]
        for layer in ("layer1", "layer2", "layer3", "layer4")
    }
    assert all(one == {1} for one in found["layer1"] + found["layer2"])
    assert found["layer3"][0] == {1} and all(one == {2} for one in found["layer3"][1:])
    assert found["layer4"][0] == {2} and all(one == {4} for one in found["layer4"][1:])


def test_names_are_torchvisions() -> None:
    names = set(build_encoder("resnet50").state_dict())
    assert {
        "backbone.conv1.weight",
        "backbone.bn1.running_var",
        "backbone.layer1.0.downsample.0.weight",
        "backbone.layer3.5.conv3.weight",
        "backbone.layer4.0.downsample.1.num_batches_tracked",
        "localconv.weight",
    } <= names
    assert all(name.startswith("backbone.") or name == "localconv.weight" for name in names)


def test_three_equal_channels() -> None:
    """A kernel's three channel planes see the same slice, so only their sum matters."""
    encoder = build_encoder("resnet18").eval()
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = encoder(image)
        weight = encoder.backbone.conv1.weight
        weight.copy_(weight.sum(1, keepdim=True).expand_as(weight) / 3)
        assert torch.allclose(before, encoder(image), atol=1e-4 * float(before.abs().max()))


def test_seed_fixes_the_weights_and_nothing_global_moves() -> None:
    state = torch.get_rng_state()
    first, again, other = (build_encoder("resnet18", seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["backbone.layer2.0.conv1.weight"], other["backbone.layer2.0.conv1.weight"])
    assert not torch.equal(first["localconv.weight"], other["localconv.weight"])


def test_initial_weights_are_kaiming() -> None:
    state = build_encoder("resnet18").state_dict()
    weight = state["backbone.layer4.1.conv2.weight"]  # fan out 512 * 9
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert state["localconv.weight"].abs().max().item() == pytest.approx(512**-0.5, rel=0.01)
    assert torch.equal(state["backbone.bn1.running_var"], torch.ones(64))
    assert torch.equal(state["backbone.bn1.bias"], torch.zeros(64))


def test_unknown_encoder_shows_near_names() -> None:
    with pytest.raises(UserError, match="did you mean 'resnet10"):
        build_encoder("resnet1O1")


def test_two_scales_are_strides_four_and_eight() -> None:
    encoder = TwoScaleEncoder("resnet18").eval()
    with torch.no_grad():
        fine, coarse, thresholds = encoder(torch.zeros(2, 1, 64, 96))
    assert fine.shape == (2, 512, 16, 24) and coarse.shape == (2, 512, 8, 12)
    assert thresholds.shape == (2, 1, 1, 1)
    assert encoder.out_channels == 512


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_two_scales_dilate_layer2_and_layer3_and_stride_layer4(name: str) -> None:
    """torchvision's replace_stride_with_dilation=[True, True, False]."""
    backbone = TwoScaleEncoder(name).backbone
    found = {
        layer: [
            [(m.dilation[0], m.stride[0]) for m in block.modules() if _is_3x3(m)]
            for block in getattr(backbone, layer)
        ]
        for layer in ("layer1", "layer2", "layer3", "layer4")
    }
    a_block = 2 if name == "resnet18" else 1  # 3x3 convolutions in a block
    assert all(one == [(1, 1)] * a_block for one in found["layer1"])
    for layer, first, rest in (("layer2", 1, 2), ("layer3", 2, 4)):
        assert found[layer][0] == [(first, 1)] * a_block
        assert all(one == [(rest, 1)] * a_block for one in found[layer][1:])
    assert found["layer4"][0] == [(4, 2), (4, 1)][:a_block]
    assert all(one == [(4, 1)] * a_block for one in found["layer4"][1:])


def _is_3x3(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)


def test_two_scales_share_names_and_first_weights_of_the_backbone() -> None:
    state = torch.get_rng_state()
    two, again, other = (TwoScaleEncoder("resnet18", seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    one = build_encoder("resnet18", 1).state_dict()
    assert all(torch.equal(two[name], again[name]) for name in two)
    linear = {f"{name}.{kind}" for name in ("backbone.fc", "reduce1d") for kind in ("weight", "bias")}
    assert set(two) - set(one) == {"reduce1.weight", "reduce2.weight"} | linear
    assert all(torch.equal(two[name], one[name]) for name in one if name.startswith("backbone."))
    assert not torch.equal(two["reduce1.weight"], other["reduce1.weight"])
    assert two["reduce1.weight"].shape == (512, 256, 1, 1)
    assert two["reduce2.weight"].shape == (512, 512, 1, 1)
    for name in ("reduce1.weight", "reduce2.weight"):  # Kaiming normal, fan out: 512 channels
        assert two[name].std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)
    for name in linear:  # torch's default: uniform to 1 / sqrt(inputs)
        inputs = 1000 if "reduce1d" in name else 512
        assert two[name].abs().max().item() <= inputs**-0.5 and not torch.equal(two[name], other[name])
    assert two["backbone.fc.weight"].std().item() == pytest.approx((3 * 512) ** -0.5, rel=0.02)


def test_the_threshold_is_linear_in_layer4_before_its_convolution() -> None:
    encoder = TwoScaleEncoder("resnet18").eval()
    images = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, fourth = encoder.backbone.later_maps(images.expand(-1, 3, -1, -1))
        fc = encoder.backbone.fc
        weight = encoder.reduce1d.weight @ fc.weight
        bias = encoder.reduce1d.weight @ fc.bias + encoder.reduce1d.bias
        wanted = fourth.mean(dim=(2, 3)) @ weight[0] + bias
        thresholds = encoder(images)[2]
        with torch.autocast("cpu", torch.bfloat16):
            halved = encoder(images)
    assert torch.allclose(thresholds.flatten(), wanted, atol=1e-5)
    assert halved[0].dtype == torch.bfloat16 and halved[2].dtype == torch.float32


def test_two_scales_of_an_unknown_encoder() -> None:
    with pytest.raises(UserError, match="did you mean 'resnet10"):
        TwoScaleEncoder("resnet1O1")
