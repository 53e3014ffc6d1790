"""The encoder of Q-Net's descendants: one map of stride 4 and a threshold for every slice.

Q-Net's encoder (Shen et al., IntelliSys 2023, arXiv 2208.11451) with the parameter names of its released
checkpoints. RPT and GMRD use only the fine map; `reduce2`, for the coarse map, exists but is never used.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fewshot.base.precision import in_float32
from fewshot.base.seeds import seed_for
from fewshot.encoders.encoder import TwoScaleEncoder
from fewshot.encoders.foundation import FoundationThresholdEncoder, is_foundation

CLASSES = 1000  # outputs of ImageNet's classifier, through which the threshold is computed


class ThresholdEncoder(nn.Module):
    """Encode grey slices (N,1,H,W) float32 to a map (N,512,H/4,W/4) and thresholds (N,1,1,1).

    The ResNet has dilation in place of stride in layer2 and layer3. The map is layer3 after the bias-free
    1x1 convolution `reduce1`. The threshold is T = reduce1d(fc(g)), g the mean of layer4 over positions; both
    layers are linear, without an activation between them.

    Initial weights depend only on `name`, `seed` and the parameter's name. The backbone's equal those of
    `TwoScaleEncoder`, `reduce1` and `reduce2` are Kaiming normal (fan out), `fc` and `reduce1d` have torch's
    default. A backbone file contains neither of the last two, so T starts near 0.

    Raises:
        UserError: no encoder has this name.
    """

    def __init__(self, name: str, out_channels: int = 512, seed: int = 0) -> None:
        super().__init__()
        self.name = name
        self.out_channels = out_channels
        self.backbone = TwoScaleEncoder(name, seed=seed).backbone
        channels = self.backbone.channels
        with torch.device("meta"):
            self.backbone.add_module("fc", nn.Linear(channels, CLASSES))
            self.reduce1 = nn.Conv2d(channels // 2, out_channels, 1, bias=False)
            self.reduce2 = nn.Conv2d(channels, out_channels, 1, bias=False)
            self.reduce1d = nn.Linear(CLASSES, 1)
        for part in ("backbone.fc", "reduce1", "reduce2", "reduce1d"):
            layer = self.get_submodule(part).to_empty(device="cpu")
            generator = torch.Generator().manual_seed(seed_for("encoder", name, part, seed))
            _initialise(layer, generator)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fine map (N,out_channels,H/4,W/4) and the thresholds (N,1,1,1) float32."""
        third, fourth = self.backbone.later_maps(images.expand(-1, 3, -1, -1))
        fine: Tensor = self.reduce1(third)
        with in_float32(images.device):  # T is near -10: bf16 would round it to 1/16
            pooled = fourth.float().mean(dim=(2, 3))
            thresholds: Tensor = self.reduce1d(self.backbone.get_submodule("fc")(pooled))
        return fine, thresholds[:, :, None, None]


def threshold_encoder(name: str, seed: int = 0) -> nn.Module:
    """Return the encoder of this name with a map of stride 4 and a threshold for every slice."""
    if is_foundation(name):
        return FoundationThresholdEncoder(name, seed)
    return ThresholdEncoder(name, seed=seed)


@torch.no_grad()
def _initialise(layer: nn.Module, generator: torch.Generator) -> None:
    """Draw a convolution's weights (Kaiming normal, fan out) or a linear layer's (torch's default)."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
    elif isinstance(layer, nn.Linear):
        nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
        bound = layer.in_features**-0.5
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
