"""Encoders: dilated ResNets with torchvision's parameter names, with one feature map or maps of two scales.

One map has stride 8. ResNet-50 and -101 are the backbones of torchvision's DeepLabV3 (layer3 and layer4
dilated). ResNet-18 is our own, with the same dilation in its basic blocks, for quick runs; no published
result uses it (docs/methods.md, M-ENC-1). For two scales (Q-Net family, M-ENC-3) layer2 and layer3 are
dilated and layer4 is strided: layer3 gives a map of stride 4 and layer4 one of stride 8.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor, nn

from fewshot.base.errors import UserError, unknown_name
from fewshot.base.precision import in_float32
from fewshot.base.seeds import seed_for

STRIDE = 8
DILATED = (False, True, True)  # whether layer2, layer3 and layer4 have dilation in place of stride
DILATED_FOR_TWO_SCALES = (True, True, False)
PLAIN = (False, False, False)  # stride 32, for pre-training on whole pictures
CLASSES = 1000  # ImageNet classes, the outputs of `backbone.fc`
NORMAL = ("backbone.", "reduce1", "reduce2")  # convolutions initialised Kaiming normal, fan out


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, both with the dilation, and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, width, stride, dilation)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, 1, dilation)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N,inputs,h,w) -> (N,width,h/stride,w/stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3 (strided or dilated) and 1x1 convolution to four times the width, and a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, stride, dilation)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N,inputs,h,w) -> (N,4*width,h/stride,w/stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return out


@dataclass(frozen=True)
class Architecture:
    """A ResNet's kind of block, and the number of blocks in each of its four layers."""

    block: type[BasicBlock] | type[Bottleneck]
    blocks: tuple[int, int, int, int]


ARCHITECTURES = {
    "resnet18": Architecture(BasicBlock, (2, 2, 2, 2)),
    "resnet50": Architecture(Bottleneck, (3, 4, 6, 3)),
    "resnet101": Architecture(Bottleneck, (3, 4, 23, 3)),
}


class Backbone(nn.Module):
    """A ResNet without its classifier, stride 8: (N,3,H,W) -> (N,512 or 2048,H/8,W/8).

    Only `TwoScaleEncoder` sets `fc`, which Q-Net uses. `dilated` says for layer2, layer3 and layer4 whether
    dilation replaces stride, as in torchvision's `replace_stride_with_dilation`; a layer that keeps its
    stride of 2 halves the map. `width`: channels of the stem; 64 is torchvision's.
    """

    fc: nn.Linear

    def __init__(
        self, architecture: Architecture, dilated: tuple[bool, bool, bool] = DILATED, width: int = 64
    ) -> None:
        super().__init__()
        block, blocks = architecture.block, architecture.blocks
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        stride = [1 if swapped else 2 for swapped in dilated]
        rate = list(accumulate((1, *(2 if swapped else 1 for swapped in dilated)), mul))
        wide = block.expansion
        # The first block of a layer keeps the dilation of the layer before it.
        self.layer1 = _layer(block, width, width, blocks[0], stride=1, first=1, rest=1)
        two, four, eight = 2 * width, 4 * width, 8 * width
        self.layer2 = _layer(
            block, width * wide, two, blocks[1], stride=stride[0], first=rate[0], rest=rate[1]
        )
        self.layer3 = _layer(
            block, two * wide, four, blocks[2], stride=stride[1], first=rate[1], rest=rate[2]
        )
        self.layer4 = _layer(
            block, four * wide, eight, blocks[3], stride=stride[2], first=rate[2], rest=rate[3]
        )
        self.channels = 8 * width * wide

    def forward(self, x: Tensor) -> Tensor:
        """(N,3,H,W) -> (N,channels,H/8,W/8)."""
        return self.later_maps(x)[1]

    def later_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N,3,H,W) -> the maps of layer3, (N,channels/2,h,w), and of layer4, (N,channels,H/8,W/8)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        third: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return third, self.layer4(third)


class ResNetEncoder(nn.Module):
    """Grey slices (N,1,H,W) float32 -> features (N,out_channels,H/8,W/8).

    The encoder repeats a slice to three channels (no ImageNet mean or standard deviation) and applies the
    backbone and a bias-free 1x1 convolution. Initial weights are random and depend only on `name`, `seed`
    and the parameter's name. Raises `UserError` for an unknown name.
    """

    out_channels = 256

    def __init__(self, name: str, seed: int = 0) -> None:
        super().__init__()
        self.name = name
        architecture = _architecture(name)
        with torch.device("meta"):  # no memory and no draw from the global generator yet
            self.backbone = Backbone(architecture)
            self.localconv = nn.Conv2d(self.backbone.channels, self.out_channels, 1, bias=False)
        self.to_empty(device="cpu")
        _initialise(self, name, seed)

    def forward(self, images: Tensor) -> Tensor:
        """(N,1,H,W) -> (N,out_channels,H/8,W/8)."""
        features: Tensor = self.localconv(self.backbone(images.expand(-1, 3, -1, -1)))
        return features


class TwoScaleEncoder(nn.Module):
    """Q-Net's encoder: grey slices (N,1,H,W) float32 -> a fine map, a coarse map and a threshold.

    It differs from `ResNetEncoder` in its layers: layer2 and layer3 are dilated (by 2 and 4); layer4 inherits
    the dilation of layer3 and keeps its stride, as with torchvision's
    `replace_stride_with_dilation=[True, True, False]`. Two bias-free 1x1 convolutions follow: `reduce1` on
    layer3, `reduce2` on layer4. The threshold is reduce1d(backbone.fc(mean of layer4 over positions)), with
    no activation between. Parameters have the released names (`docs/methods.md`, QNET-1 and QNET-2). Initial
    backbone weights equal those of a `ResNetEncoder` of the same name and seed. Raises `UserError` for an
    unknown name.
    """

    out_channels = 512

    def __init__(self, name: str, seed: int = 0) -> None:
        super().__init__()
        self.name = name
        architecture = _architecture(name)
        with torch.device("meta"):
            self.backbone = Backbone(architecture, DILATED_FOR_TWO_SCALES)
            channels = self.backbone.channels
            self.backbone.fc = nn.Linear(channels, CLASSES)
            self.reduce1 = nn.Conv2d(channels // 2, self.out_channels, 1, bias=False)
            self.reduce2 = nn.Conv2d(channels, self.out_channels, 1, bias=False)
            self.reduce1d = nn.Linear(CLASSES, 1)
        self.to_empty(device="cpu")
        _initialise(self, name, seed)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N,1,H,W) -> maps (N,out_channels,H/4,W/4) and (N,out_channels,H/8,W/8), thresholds (N,1,1,1)."""
        third, fourth = self.backbone.later_maps(images.expand(-1, 3, -1, -1))
        return self.reduce1(third), self.reduce2(fourth), self.thresholds(fourth)

    def thresholds(self, fourth: Tensor) -> Tensor:
        """Return the thresholds (N,1,1,1) from the maps of layer4 (N,channels,H/8,W/8), float32.

        They are float32 in every precision of the maps: bf16 values near -20 are 1/8 apart.
        """
        with in_float32(fourth.device):
            pooled = fourth.float().mean(dim=(2, 3))
            values: Tensor = self.reduce1d(self.backbone.fc(pooled))
        return values[:, :, None, None]


def feature_channels(encoder: nn.Module, size_of: str, remedy: str = "add it") -> int:
    """Return `encoder.out_channels`, the number of its features' channels.

    Args:
        encoder: of a learner with weights of that size.
        size_of: the weights, for the message.
        remedy: the end of the message.

    Raises:
        UserError: the encoder has no such attribute.
    """
    channels = getattr(encoder, "out_channels", None)
    if not isinstance(channels, int):
        raise UserError(
            f"encoder {type(encoder).__name__} has no attribute out_channels, expected the number of its "
            f"features' channels, which is the size of {size_of}; {remedy}"
        )
    return channels


def build_encoder(name: str, seed: int = 0) -> ResNetEncoder:
    """Return the encoder resnet18, resnet50 or resnet101 with random weights fixed by `name` and `seed`."""
    return ResNetEncoder(name, seed=seed)


class _Bare(nn.Module):
    """Holds a backbone under its name in an encoder, so that its initial weights are the same."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone


def build_backbone(name: str, seed: int = 0, width: int = 64) -> Backbone:
    """Return the plain backbone, stride 32: (N,3,H,W) -> (N,channels,H/32,W/32).

    `width`: channels of the stem. With 64 the random weights equal those of `build_encoder(name, seed)`.
    Raises `UserError` for an unknown name.
    """
    architecture = _architecture(name)
    with torch.device("meta"):
        bare = _Bare(Backbone(architecture, PLAIN, width))
    bare.to_empty(device="cpu")
    _initialise(bare, name, seed)
    return bare.backbone


def _architecture(name: str) -> Architecture:
    if name not in ARCHITECTURES:
        raise unknown_name("encoder", name, ARCHITECTURES)
    return ARCHITECTURES[name]


def _initialise(encoder: nn.Module, encoder_name: str, seed: int) -> None:
    """Draw initial weights: Kaiming normal (fan out) for the prefixes `NORMAL`, else torch's default.

    Every layer has its own generator, so threads draw the layers in parallel.
    """
    modules = list(encoder.named_modules())
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for _drawn in pool.map(lambda named: _draw(named[0], named[1], encoder_name, seed), modules):
            pass


@torch.no_grad()
def _draw(name: str, module: nn.Module, encoder_name: str, seed: int) -> None:
    if isinstance(module, nn.BatchNorm2d):
        module.reset_parameters()  # ones and zeros
    elif isinstance(module, nn.Conv2d | nn.Linear):
        generator = torch.Generator().manual_seed(seed_for("encoder", encoder_name, name, seed))
        if isinstance(module, nn.Conv2d) and name.startswith(NORMAL):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        else:
            nn.init.kaiming_uniform_(module.weight, a=5**0.5, generator=generator)
        if module.bias is not None:
            bound = module.weight.shape[1] ** -0.5
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)


def _layer(
    block: type[BasicBlock] | type[Bottleneck],
    inputs: int,
    width: int,
    blocks: int,
    *,
    stride: int,
    first: int,
    rest: int,
) -> nn.Sequential:
    """Return `blocks` blocks: the first has `stride` and dilation `first`, the others dilation `rest`."""
    modules: list[nn.Module] = [block(inputs, width, stride, first)]
    modules += [block(width * block.expansion, width, 1, rest) for _ in range(blocks - 1)]
    return nn.Sequential(*modules)


def _conv3x3(inputs: int, outputs: int, stride: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)


def _downsample(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """Return the projection of the shortcut if the shape changes, else None."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
